//! What is said on a connection, for whoever wonders later why a mail was not taken.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hedwig_envelope::{Conversation, Reply};

/// How much of the beginning is kept, in bytes: greetings, what is offered, TLS.
const BEGIN_BYTES_MAX: usize = 1536;
/// How much of the end is kept, in bytes: what went wrong.
const END_BYTES_MAX: usize = 2560;
/// How much of one line is kept, in bytes.
const LINE_BYTES_MAX: usize = 400;
/// What stands for a secret.
const MASK: &str = "****";

/// Takes down what is said, on one connection or on several in turn. A cheap handle; clones write the same one.
///
/// It keeps the first and the last lines, about 4 KiB in all, and counts the others. Of a content it has the
/// length only, and of AUTH the mechanism and the refusal.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    /// Each with a line feed.
    begin: String,
    end: VecDeque<String>,
    end_bytes: usize,
    left_out: u64,
}

impl Transcript {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes down what we have to say of it.
    pub fn note(&self, text: impl fmt::Display) {
        self.lock().push("* ", &text.to_string());
    }

    /// All that was kept; where lines were left out, one says how many.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        let taken = self.lock();
        let mut lines: Vec<String> = taken.begin.lines().map(str::to_owned).collect();
        if taken.left_out > 0 {
            lines.push(format!("* ... {} lines left out ...", taken.left_out));
        }
        lines.extend(taken.end.iter().cloned());
        Conversation { lines }
    }

    /// Takes down a command line as it is sent. Of AUTH only the mechanism is for everybody.
    pub(super) fn sent(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("AUTH"), Some(mechanism), Some(_)) => {
                self.lock().push("> ", &format!("AUTH {mechanism} {MASK}"));
            }
            _ => self.lock().push("> ", line),
        }
    }

    /// Takes down that a secret was sent.
    pub(super) fn sent_secret(&self) {
        self.lock().push("> ", MASK);
    }

    /// Takes down that a content of so many bytes was sent.
    pub(super) fn sent_content(&self, bytes: usize) {
        self.lock().push("> ", &format!("[the content, {bytes} bytes]"));
    }

    /// Takes down a reply. A challenge and a proof are secrets too: who has them can try passwords.
    pub(super) fn received(&self, reply: &Reply, is_authentication: bool) {
        let mut lines = self.lock();
        let code = reply.code();
        if is_authentication && code < 400 {
            return lines.push("< ", &format!("{code} {MASK}"));
        }
        let status = reply.status().map_or_else(String::new, |status| format!("{status} "));
        let mut texts = reply.text().lines().peekable();
        if texts.peek().is_none() {
            return lines.push("< ", format!("{code} {status}").trim_end());
        }
        while let Some(text) = texts.next() {
            let separator = if texts.peek().is_some() { '-' } else { ' ' };
            lines.push("< ", &format!("{code}{separator}{status}{text}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, mark: &str, text: &str) {
        let cut = text.floor_char_boundary(LINE_BYTES_MAX);
        let more = if cut < text.len() { " ..." } else { "" };
        let mut line = String::with_capacity(mark.len() + cut + more.len());
        line.push_str(mark);
        line.extend(text[..cut].chars().map(|c| if c.is_control() { '?' } else { c }));
        line.push_str(more);
        if self.end.is_empty() && self.begin.len() + line.len() < BEGIN_BYTES_MAX {
            self.begin.push_str(&line);
            self.begin.push('\n');
            return;
        }
        self.end_bytes += line.len();
        self.end.push_back(line);
        while self.end_bytes > END_BYTES_MAX
            && let Some(oldest) = self.end.pop_front()
        {
            self.end_bytes -= oldest.len();
            self.left_out += 1;
        }
    }
}

/// Without what was said.
impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript").finish_non_exhaustive()
    }
}

/// The same one, not one that says the same.
impl PartialEq for Transcript {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Transcript {}

#[cfg(test)]
mod tests {
    use hedwig_envelope::Status;

    use super::*;

    fn kept(record: impl FnOnce(&Transcript)) -> Vec<String> {
        let transcript = Transcript::new();
        record(&transcript);
        transcript.conversation().lines
    }

    #[test]
    fn a_reply_is_kept_as_it_was_sent() {
        let status = Status::permanent(1, 1);
        let two = Reply::with_status(550, status, "No such user\nTry another");
        assert_eq!(
            kept(|transcript| {
                transcript.sent(b"RCPT TO:<bob@example.net>\r\n");
                transcript.received(&two, false);
                transcript.received(&Reply::new(250, None, ""), false);
            }),
            [
                "> RCPT TO:<bob@example.net>",
                "< 550-5.1.1 No such user",
                "< 550 5.1.1 Try another",
                "< 250"
            ]
        );
    }

    #[test]
    fn nothing_of_an_authentication_is_kept_but_mechanism_and_refusal() {
        let lines = kept(|transcript| {
            transcript.sent(b"AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\r\n");
            transcript.received(&Reply::new(334, None, "cj1ub25jZQ=="), true);
            transcript.sent_secret();
            transcript.received(&Reply::new(235, None, "dj1wcm9vZg=="), true);
            transcript.received(&Reply::new(535, None, "Wrong"), true);
        });
        assert_eq!(
            lines,
            ["> AUTH PLAIN ****", "< 334 ****", "> ****", "< 235 ****", "< 535 Wrong"]
        );
    }

    #[test]
    fn of_a_long_one_the_beginning_and_the_end_are_kept_and_the_rest_is_counted() {
        let lines = kept(|transcript| {
            (0..1000).for_each(|n| transcript.note(format_args!("line {n}, {}", "x".repeat(60))));
        });
        assert!(lines[0].starts_with("* line 0,"), "{}", lines[0]);
        assert!(lines.last().unwrap().starts_with("* line 999,"));
        let told = lines.iter().find_map(|line| {
            let number = line.strip_prefix("* ... ")?.strip_suffix(" lines left out ...")?;
            number.parse::<usize>().ok()
        });
        assert_eq!(told.unwrap() + lines.len() - 1, 1000);
        assert!(lines.iter().map(String::len).sum::<usize>() < 4200);
    }

    #[test]
    fn one_line_does_not_take_all_the_room_and_has_no_control_characters() {
        let lines = kept(|transcript| transcript.note("é\u{1b}".repeat(1000)));
        assert!(lines[0].len() <= LINE_BYTES_MAX + 6 && lines[0].ends_with(" ..."));
        assert!(!lines[0].contains('\u{1b}'));
    }
}
