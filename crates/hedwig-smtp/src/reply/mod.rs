//! Replies on the wire (RFC 5321 §4.2, RFC 2034).

mod reader;
mod writer;

pub use reader::{ReplyError, ReplyReader};
pub use writer::write;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use hedwig_envelope::{Reply, Status};

    use super::*;

    fn read(text: &str) -> Result<Vec<String>, ReplyError> {
        let mut input = BytesMut::from(text);
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        while let Some(reply) = reader.read(&mut input)? {
            let status = reply.status().map_or("-".into(), |status| status.to_string());
            replies.push(format!("{} {status} {:?}", reply.code(), reply.text()));
        }
        Ok(replies)
    }

    #[test]
    fn replies_of_one_and_more_lines_are_read() {
        for (text, expected) in [
            ("220 hi\r\n", r#"220 - "hi""#),
            ("250\r\n", r#"250 - """#),
            ("250 \r\n", r#"250 - """#),
            ("250 2.1.0\r\n", r#"250 2.1.0 """#),
            ("250-a\r\n250-b\r\n250 c\r\n", r#"250 - "a\nb\nc""#),
            ("550-5.7.509 no\r\n550 5.7.509 way\r\n", r#"550 5.7.509 "no\nway""#),
            ("550 4.7.1 classes disagree\r\n", r#"550 - "4.7.1 classes disagree""#),
            ("250 2.0.0x\r\n", r#"250 - "2.0.0x""#),
            ("250 bare LF\n", r#"250 - "bare LF""#),
            ("354 go\u{7}\r\n", r#"354 - "go?""#),
        ] {
            assert_eq!(read(text).unwrap(), [expected], "{text:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for text in [
            "\r\n",
            "25 x\r\n",
            "2500 x\r\n",
            "199 x\r\n",
            "600 x\r\n",
            "+OK\r\n",
            "25\u{e9} x\r\n",
        ] {
            assert!(matches!(read(text), Err(ReplyError::Malformed(_))), "{text:?}");
        }
        let mixed = ReplyError::MixedCodes { first: 250, then: 550 };
        assert_eq!(read("250-a\r\n550 b\r\n"), Err(mixed));
    }

    #[test]
    fn endless_replies_are_an_error() {
        assert_eq!(read(&"x".repeat(2 << 20)), Err(ReplyError::TooLong));
        assert_eq!(read(&"250-x\r\n".repeat(1 << 18)), Err(ReplyError::TooLong));
    }

    #[test]
    fn of_a_long_reply_the_beginning_is_kept_and_the_next_one_is_found() {
        let long_line = format!("250 {}\r\n221 bye\r\n", "x".repeat(200_000));
        let many_lines = format!("{}250 z\r\n221 bye\r\n", "250-so long\r\n".repeat(20_000));
        for text in [long_line, many_lines] {
            for piece in [1, 1000, text.len()] {
                let (mut reader, mut input, mut replies) =
                    (ReplyReader::default(), BytesMut::new(), Vec::new());
                for bytes in text.as_bytes().chunks(piece) {
                    input.extend_from_slice(bytes);
                    while let Some(reply) = reader.read(&mut input).unwrap() {
                        replies.push(reply);
                    }
                }
                let codes: Vec<u16> = replies.iter().map(Reply::code).collect();
                assert_eq!(codes, [250, 221]);
                assert!((4000..9000).contains(&replies[0].text().len()));
            }
        }
    }

    #[test]
    fn a_reply_may_come_byte_by_byte() {
        let mut reader = ReplyReader::default();
        let mut input = BytesMut::new();
        let text = b"250-2.0.0 a\r\n250 2.0.0 b\r\n";
        for byte in &text[..text.len() - 1] {
            input.extend_from_slice(&[*byte]);
            assert_eq!(reader.read(&mut input), Ok(None));
        }
        input.extend_from_slice(b"\n221 bye");
        let reply = reader.read(&mut input).unwrap().unwrap();
        assert_eq!(reply, Reply::with_status(250, Status::OK, "a\nb"));
        assert_eq!(&input[..], b"221 bye");
    }

    #[test]
    fn what_is_written_is_short_lines_of_ascii() {
        let mut out = BytesMut::new();
        let text = format!("{}\n\nü", "x".repeat(900));
        write(&Reply::with_status(550, Status::permanent(1, 1), text), &mut out);
        let lines: Vec<_> = std::str::from_utf8(&out).unwrap().split_inclusive("\r\n").collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.len() <= 512 && line.is_ascii()));
        assert!(lines[..3].iter().all(|line| line.starts_with("550-5.1.1")));
        assert_eq!(lines[3], "550 5.1.1 ?\r\n");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for reply in [
            Reply::new(250, None, "a\nb"),
            Reply::with_status(450, Status::transient(7, 509), "later"),
            Reply::new(221, None, ""),
        ] {
            let mut out = BytesMut::new();
            write(&reply, &mut out);
            assert_eq!(ReplyReader::default().read(&mut out), Ok(Some(reply)));
            assert!(out.is_empty());
        }
    }
}
