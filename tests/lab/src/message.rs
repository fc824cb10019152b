//! Messages to send, and how to tell whether they arrived as they were sent.

/// What is handed to a client: who, to whom, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The envelope's sender; empty for the null sender.
    pub sender: String,
    /// The envelope's recipients.
    pub recipients: Vec<String>,
    /// The message with CRLF line ends, its header complete so that no client adds to it.
    pub message: Vec<u8>,
}

impl Submission {
    /// A mail whose header names its sender and recipients, with this body.
    #[must_use]
    pub fn new(sender: &str, recipients: &[&str], body: impl AsRef<[u8]>) -> Self {
        let header = format!(
            "From: <{sender}>\r\nTo: <{}>\r\nSubject: A letter\r\n\
             Date: Sat, 21 Nov 2026 03:00:00 +0000\r\nMessage-ID: <{:016x}@lab.example>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n",
            recipients.join(">,\r\n <"),
            fastrand::u64(..)
        );
        Self {
            sender: sender.to_owned(),
            recipients: recipients.iter().map(|&recipient| recipient.to_owned()).collect(),
            message: [header.as_bytes(), body.as_ref()].concat(),
        }
    }
}

/// The fields that servers on the way write above what they got.
const TRACE_FIELDS: [&str; 5] =
    ["Return-Path", "Delivered-To", "X-Original-To", "Received", "DKIM-Signature"];

/// A message without the trace and signature fields at its top.
#[must_use]
pub fn below_trace(message: &[u8]) -> &[u8] {
    let mut rest = message;
    while let Some(length) = trace_field_length(rest) {
        rest = &rest[length..];
    }
    rest
}

/// A message's header, with the line end of its last field, and its body.
#[must_use]
pub fn header_and_body(message: &[u8]) -> (&[u8], &[u8]) {
    match message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
        Some(at) => (&message[..at + 2], &message[at + 4..]),
        None => (message, b""),
    }
}

/// Fails unless a message arrived as it was sent, but for the trace fields at its top.
///
/// # Panics
/// When it did not; the first difference is shown.
#[track_caller]
pub fn assert_unchanged(received: &[u8], sent: &[u8]) {
    let (received, sent) = (below_trace(received), below_trace(sent));
    if received == sent {
        return;
    }
    let at = received.iter().zip(sent).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let from = at.saturating_sub(40).min(bytes.len());
        bytes[from..bytes.len().min(at + 40)].escape_ascii().to_string()
    };
    panic!(
        "a message of {} bytes arrived with {}; they differ at byte {at}:\n  sent     {}\n  received {}",
        sent.len(),
        received.len(),
        around(sent),
        around(received)
    );
}

fn trace_field_length(message: &[u8]) -> Option<usize> {
    let colon = message.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&message[..colon]).ok()?;
    if !TRACE_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name)) {
        return None;
    }
    let mut end = 0;
    loop {
        end += message[end..].iter().position(|&byte| byte == b'\n')? + 1;
        if !matches!(message.get(end), Some(b' ' | b'\t')) {
            return Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trace_fields_at_the_top_are_left_out() {
        let message = b"Return-Path: <a@b>\r\nReceived: from x\r\n\tby y; z\r\nFrom: a\r\n\
            Received: old\r\n\r\nReceived: body\r\n";
        assert_eq!(below_trace(message), b"From: a\r\nReceived: old\r\n\r\nReceived: body\r\n");
    }

    #[test]
    #[should_panic(expected = "differ at byte 8")]
    fn a_changed_byte_is_seen() {
        assert_unchanged(b"Received: x\r\nA: b\r\n\r\nD\r\n", b"A: b\r\n\r\nC\r\n");
    }

    #[test]
    #[should_panic(expected = "differ at byte 11")]
    fn a_line_more_at_the_end_is_seen() {
        assert_unchanged(b"A: b\r\n\r\nC\r\n\r\n", b"A: b\r\n\r\nC\r\n");
    }
}
