//! The making of a `DKIM-Signature` field (RFC 6376 §5).

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use hedwig_envelope::{
    Content, Timestamp,
    header::{Field, fields, header_length},
};

use super::{BodyForm, SigningKey, canonical::push_relaxed_field};

/// Signed as often as they are there and once more, so that nobody can add another (RFC 6376 §8.15).
const OVERSIGNED: [&str; 12] = [
    "from",
    "reply-to",
    "subject",
    "date",
    "to",
    "cc",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];
/// Signed where they are (RFC 6376 §5.4.1, RFC 8058 §4). Forwarders and lists may add theirs.
const SIGNED: [&str; 14] = [
    "sender",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
];
/// A line of the field is folded before it grows beyond this (RFC 5322 §2.1.1).
const LINE_BYTES: usize = 76;

/// A message prepared for signing: what all keys sign alike.
pub(super) struct Prepared {
    /// The chosen fields in canonical form, each with its CRLF.
    fields: Vec<u8>,
    /// Their names, in that order.
    names: Vec<&'static str>,
    body_hash: String,
    body_form: BodyForm,
}

impl Prepared {
    pub(super) fn new(content: &Content, body_form: BodyForm) -> Self {
        let mut prepared = Self {
            fields: Vec::with_capacity(2048),
            names: Vec::new(),
            body_hash: BASE64_STANDARD.encode(body_form.hash(body(content.message()))),
            body_form,
        };
        let header: Vec<Field<'_>> = header(content).collect();
        OVERSIGNED.into_iter().for_each(|name| prepared.add(&header, name, true));
        SIGNED.into_iter().for_each(|name| prepared.add(&header, name, false));
        prepared
    }

    /// Chooses all fields of a name, the lowest first (RFC 6376 §5.4.2).
    fn add(&mut self, header: &[Field<'_>], name: &'static str, oversigned: bool) {
        for field in header.iter().rev().filter(|field| field.is_named(name)) {
            push_relaxed_field(&mut self.fields, name.as_bytes(), field.value);
            self.fields.extend_from_slice(b"\r\n");
            self.names.push(name);
        }
        if oversigned {
            self.names.push(name);
        }
    }

    /// The `DKIM-Signature` field that this key makes, with its CRLF.
    pub(super) fn sign(&self, key: &SigningKey, now: Timestamp) -> Result<String, SignError> {
        let mut value = self.unsigned_value(key, now);
        let mut message = Vec::with_capacity(self.fields.len() + value.len());
        message.extend_from_slice(&self.fields);
        push_relaxed_field(&mut message, b"dkim-signature", value.as_bytes());
        let signature = key.sign(&message).ok_or_else(|| SignError::new(key))?;
        push_folded(&mut value, &BASE64_STANDARD.encode(signature));
        Ok(format!("DKIM-Signature:{value}\r\n"))
    }

    /// The value up to and with `b=`, which is what the signature covers of it.
    fn unsigned_value(&self, key: &SigningKey, now: Timestamp) -> String {
        let mut value = String::with_capacity(1024);
        // Writing to a String cannot fail.
        let _ = write!(
            value,
            " v=1; a={}; c=relaxed/{};\r\n\td={};\r\n\ts={}; t={};\r\n\th=",
            key.algorithm(),
            self.body_form.name(),
            key.domain(),
            key.selector(),
            now.as_second(),
        );
        let mut line = 3;
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                value.push(':');
                line += 1;
            }
            if line + name.len() > LINE_BYTES {
                value.push_str("\r\n\t");
                line = 1;
            }
            value.push_str(name);
            line += name.len();
        }
        let _ = write!(value, ";\r\n\tbh={};\r\n\tb=", self.body_hash);
        value
    }
}

fn push_folded(value: &mut String, base64: &str) {
    let mut rest = base64;
    let mut room = LINE_BYTES - 4;
    while rest.len() > room {
        let (line, after) = rest.split_at(room);
        value.push_str(line);
        value.push_str("\r\n\t");
        rest = after;
        room = LINE_BYTES - 1;
    }
    value.push_str(rest);
}

fn header(content: &Content) -> impl Iterator<Item = Field<'_>> {
    fields(content.added()).chain(fields(content.message()))
}

/// What stands after the empty line.
fn body(message: &[u8]) -> &[u8] {
    let rest = &message[header_length(message)..];
    rest.strip_prefix(b"\r\n").unwrap_or(rest)
}

/// The domain of the first author (RFC 5322 §3.6.2), as it is written.
pub(super) fn author_domain(content: &Content) -> Option<String> {
    let from = header(content).find(|field| field.is_named("From"))?;
    let mailbox = bare_mailbox(&String::from_utf8_lossy(from.value));
    let (_, domain) = mailbox.rsplit_once('@')?;
    let domain: String = domain.chars().filter(|c| !c.is_whitespace()).collect();
    (!domain.is_empty()).then_some(domain)
}

/// The first mailbox of a From field without its display name, comments and quoted strings.
fn bare_mailbox(value: &str) -> String {
    let mut bare = String::new();
    let (mut in_quotes, mut comment_depth) = (false, 0_usize);
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_quotes || comment_depth > 0 => drop(characters.next()),
            '"' if comment_depth == 0 => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '(' => comment_depth += 1,
            ')' => comment_depth = comment_depth.saturating_sub(1),
            _ if comment_depth > 0 => {}
            // What came before was a display name, or the name of a group.
            '<' | ':' => bare.clear(),
            '>' | ',' | ';' => break,
            other => bare.push(other),
        }
    }
    bare
}

/// A signature could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the DKIM key {selector} of {domain} gave no signature")]
pub struct SignError {
    domain: String,
    selector: String,
}

impl SignError {
    fn new(key: &SigningKey) -> Self {
        Self { domain: key.domain().to_owned(), selector: key.selector().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(from: &'static str) -> Option<String> {
        author_domain(&Content::new(format!("From:{from}\r\n\r\n").into()))
    }

    #[test]
    fn the_author_is_found_behind_names_and_comments() {
        for from in [
            " a@example.org",
            " <a@example.org>",
            " Alice <a@example.org>",
            " \"Alice <x@evil.example>\" <a@example.org>",
            " Alice (at x@evil.example \\) <y@evil.example>) <a@example.org>",
            " \"a@evil.example\"@example.org",
            "\r\n\tAlice\r\n <a@example.org>, b@other.example",
            " a@example.org (Alice)",
            " Team: a@example.org, b@other.example;",
            " a @ example.org",
        ] {
            assert_eq!(domain(from).as_deref(), Some("example.org"), "{from}");
        }
        assert_eq!(domain(" nobody"), None);
        assert_eq!(domain(" a@"), None);
        assert_eq!(author_domain(&Content::from("Subject: x\r\n\r\nFrom: a@b.example\r\n")), None);
    }

    #[test]
    fn fields_are_chosen_from_below_and_once_too_often() {
        let content = Content::from("From: a@b\r\nSubject: 1\r\nSubject: 2\r\nList-Id: l\r\n\r\n");
        let prepared = Prepared::new(&content, BodyForm::Relaxed);
        let count = |name| prepared.names.iter().filter(|signed| **signed == name).count();
        assert_eq!((count("from"), count("subject"), count("cc"), count("list-id")), (2, 3, 1, 1));
        let text = String::from_utf8(prepared.fields).unwrap();
        assert_eq!(text, "from:a@b\r\nsubject:2\r\nsubject:1\r\nlist-id:l\r\n");
    }
}
