//! What is to be sent: small things gathered, large things by reference.

use std::{collections::VecDeque, fmt};

use bytes::{Bytes, BytesMut};
use hedwig_envelope::Content;
use memchr::memmem;

use super::Transcript;

/// A piece up to this size is cheaper copied than sent on its own.
const GATHERED_BYTES_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Outbox {
    whole: VecDeque<Bytes>,
    gathered: BytesMut,
    pushed: u64,
    /// Where to take down what is appended, and what comes back.
    pub(super) transcript: Option<Transcript>,
}

impl fmt::Debug for Outbox {
    /// Without what is in it: a password may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("pushed", &self.pushed).finish_non_exhaustive()
    }
}

impl Outbox {
    pub(super) fn recorded(transcript: Option<Transcript>) -> Self {
        Self { transcript, ..Self::default() }
    }

    /// Appends the command line that `write` writes.
    pub(super) fn write<E>(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.gathered.len();
        let result = write(&mut self.gathered);
        self.pushed += (self.gathered.len() - before) as u64;
        if let (Some(transcript), Ok(_)) = (&self.transcript, &result) {
            transcript.sent(&self.gathered[before..]);
        }
        result
    }

    /// Appends a line that nobody else may see.
    pub(super) fn write_secret(&mut self, line: &str) {
        let before = self.gathered.len();
        self.gathered.extend_from_slice(line.as_bytes());
        self.gathered.extend_from_slice(b"\r\n");
        self.pushed += (self.gathered.len() - before) as u64;
        if let Some(transcript) = &self.transcript {
            transcript.sent_secret();
        }
    }

    /// Appends a content as it goes after BDAT.
    pub(super) fn push_chunk(&mut self, content: &Content) {
        self.note_content(content);
        content.chunks().into_iter().for_each(|part| self.push(part.clone()));
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.pushed += bytes.len() as u64;
        if bytes.len() <= GATHERED_BYTES_MAX {
            self.gathered.extend_from_slice(&bytes);
        } else {
            self.close_gathered();
            self.whole.push_back(bytes);
        }
    }

    /// Appends a content as it goes after DATA: dots stuffed, and the end (RFC 5321 §4.5.2).
    pub(super) fn push_stuffed(&mut self, content: &Content) {
        self.note_content(content);
        let mut is_at_line_start = true;
        for part in content.chunks() {
            if is_at_line_start && part.first() == Some(&b'.') {
                self.push(Bytes::from_static(b"."));
            }
            let mut begin = 0;
            for line_feed in memmem::find_iter(part, b"\n.") {
                self.push(part.slice(begin..=line_feed));
                self.push(Bytes::from_static(b"."));
                begin = line_feed + 1;
            }
            self.push(part.slice(begin..));
            is_at_line_start = part.last().map_or(is_at_line_start, |last| *last == b'\n');
        }
        self.push(Bytes::from_static(if is_at_line_start { b".\r\n" } else { b"\r\n.\r\n" }));
    }

    /// How many bytes have been appended in all.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            self.close_gathered();
        }
        self.whole.pop_front()
    }

    /// Puts back what was popped and not sent.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.whole.push_front(bytes);
        }
    }

    pub(super) fn clear(&mut self) {
        self.whole.clear();
        self.gathered.clear();
    }

    fn note_content(&self, content: &Content) {
        if let Some(transcript) = &self.transcript {
            transcript.sent_content(content.len());
        }
    }

    fn close_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.whole.push_back(self.gathered.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(added: &'static str, message: &'static str) -> String {
        let mut outbox = Outbox::default();
        let content = Content::with_added(Bytes::from(added), Bytes::from(message));
        outbox.push_stuffed(&content);
        let mut sent = Vec::new();
        while let Some(bytes) = outbox.pop() {
            sent.extend_from_slice(&bytes);
        }
        assert_eq!(sent.len() as u64, outbox.pushed());
        String::from_utf8(sent).unwrap()
    }

    #[test]
    fn a_dot_that_begins_a_line_is_doubled() {
        for (added, message, expected) in [
            ("", "", ".\r\n"),
            ("", "a\r\n", "a\r\n.\r\n"),
            ("", "a", "a\r\n.\r\n"),
            ("", ".\r\n", "..\r\n.\r\n"),
            ("", "..a.b\r\n.\r\n.c", "...a.b\r\n..\r\n..c\r\n.\r\n"),
            ("A: b\r\n", ".a\r\n", "A: b\r\n..a\r\n.\r\n"),
            ("A: b\r\n", "", "A: b\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(added, message), expected);
        }
    }

    #[test]
    fn a_large_content_is_not_copied() {
        let message = Bytes::from(vec![b'x'; 100_000]);
        let mut outbox = Outbox::default();
        outbox.push_stuffed(&Content::new(message.clone()));
        assert_eq!(outbox.pop().unwrap().as_ptr(), message.as_ptr());
    }
}
