//! A transcript, read.

use std::path::Path;

pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// One command of a transcript, or the lines of one side that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line_number: usize,
    /// `C`, `S`, or the word that begins the line.
    pub(crate) verb: String,
    /// What follows it; the bytes of `C` and `S` lines.
    pub(crate) text: Vec<u8>,
}

impl Script {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut steps: Vec<Step> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let Some(side) = verb.strip_suffix(':').filter(|side| side.len() == 1) else {
                steps.push(Step::new(index, verb, unescape(rest)));
                continue;
            };
            let bytes = match rest.strip_suffix('\\') {
                Some(part) => unescape(part),
                None => [unescape(rest), b"\r\n".to_vec()].concat(),
            };
            match steps.last_mut().filter(|step| step.verb == side) {
                Some(step) => step.text.extend(bytes),
                None => steps.push(Step::new(index, side, bytes)),
            }
        }
        Self { name: path.display().to_string(), steps }
    }
}

impl Step {
    fn new(index: usize, verb: &str, text: Vec<u8>) -> Self {
        Self { line_number: index + 1, verb: verb.to_owned(), text }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap()
    }
}

pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            bytes.extend(character.to_string().bytes());
            continue;
        }
        bytes.push(match characters.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = characters.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            other => panic!("what is \\{other:?}?"),
        });
    }
    bytes
}

pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes
        .escape_ascii()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
        .replace("\\x00", "\\0")
}
