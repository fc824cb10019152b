//! The commands of SMTP and LMTP (RFC 5321 §4.1, RFC 2033, RFC 3030, RFC 3207, RFC 4954), read from a
//! line and written to one.

mod error;
mod parameters;
mod parse;
mod path;
mod write;
mod xclient;

pub use error::CommandError;
pub(crate) use parse::parse_mail_in_batch;
pub(crate) use write::{MailLine, RecipientLine};
pub(crate) use xclient::ATTRIBUTES;
pub use xclient::{Told, Xclient};

use hedwig_envelope::{MailParameters, Recipient, ReversePath};

use crate::sasl::Secret;

/// A command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `HELO` and the client's name.
    Helo(String),
    /// `EHLO` and the client's name.
    Ehlo(String),
    /// `LHLO` and the client's name (RFC 2033).
    Lhlo(String),
    /// `MAIL FROM:`.
    Mail {
        /// The sender.
        sender: ReversePath,
        /// What was asked for.
        parameters: MailParameters,
    },
    /// `RCPT TO:`.
    Rcpt(Recipient),
    /// `DATA`.
    Data,
    /// `BDAT` (RFC 3030).
    Bdat {
        /// The size of the chunk that follows, in bytes.
        size: u64,
        /// Whether it is the last one.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`, whose argument means nothing.
    Noop,
    /// `VRFY` and what it asks for.
    Vrfy(String),
    /// `EXPN` and what it asks for.
    Expn(String),
    /// `HELP`, whose argument is not looked at.
    Help,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH`, its mechanism and its initial response (RFC 4954).
    Auth {
        /// The mechanism, in upper case.
        mechanism: String,
        /// The initial response, still in base64.
        initial_response: Option<Secret>,
    },
    /// `XCLIENT`: for whom a front end speaks.
    Xclient(Box<Xclient>),
    /// `QUIT`.
    Quit,
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn code(line: &str) -> String {
        match Command::parse(line.as_bytes()) {
            Ok(command) => format!("taken: {command:?}"),
            Err(error) => {
                format!("{} {}", error.reply().code(), error.reply().status().unwrap())
            }
        }
    }

    fn rewritten(line: &str) -> String {
        let command = Command::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
        let mut out = BytesMut::new();
        command.write(&mut out).unwrap();
        let text = String::from_utf8(out.to_vec()).unwrap();
        text.strip_suffix("\r\n").unwrap().to_owned()
    }

    #[test]
    fn an_envelope_id_that_would_be_too_long_for_the_next_server_is_refused_here() {
        let line = format!("MAIL FROM:<a@b> ENVID={}", "\u{e9}".repeat(40));
        let error = Command::parse(line.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more than 100 characters"), "{error}");
    }

    #[test]
    fn commands_are_written_as_they_were_read() {
        for line in [
            "HELO a.example",
            "EHLO [192.0.2.1]",
            "LHLO a.example",
            "MAIL FROM:<>",
            "MAIL FROM:<a@example.org> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb",
            "MAIL FROM:<a@example.org> REQUIRETLS MT-PRIORITY=-3 BY=120;RT HOLDFOR=60",
            "MAIL FROM:<a@example.org> HOLDUNTIL=2027-01-01T00:00:00Z",
            r#"MAIL FROM:<"a b>"@example.org>"#,
            "RCPT TO:<b@example.net>",
            "RCPT TO:<b@[IPv6:2001:db8::1]>",
            "RCPT TO:<postmaster>",
            "RCPT TO:<b@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@example.net",
            "RCPT TO:<grüße@example.net>",
            "DATA",
            "BDAT 1000",
            "BDAT 0 LAST",
            "RSET",
            "NOOP",
            "VRFY bob",
            "EXPN list",
            "HELP",
            "STARTTLS",
            "AUTH PLAIN AGEAYg==",
            "AUTH LOGIN",
            "XCLIENT ADDR=192.0.2.1 PORT=4711 HELO=a.example LOGIN=alice+2Bx",
            "XCLIENT ADDR=IPV6:2001:db8::1 HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]",
            "QUIT",
        ] {
            assert_eq!(rewritten(line), line);
        }
    }

    #[test]
    fn case_trailing_space_and_source_routes_do_not_matter() {
        for (line, canonical) in [
            ("mail from:<A@EXAMPLE.org>  body=7bit ", "MAIL FROM:<A@example.org> BODY=7BIT"),
            ("Rcpt To: <b@example.net>", "RCPT TO:<b@example.net>"),
            ("RCPT TO:<@x.example,@y.example:b@example.net>", "RCPT TO:<b@example.net>"),
            ("MAIL FROM:<a@example.org> AUTH=<>", "MAIL FROM:<a@example.org>"),
            ("MAIL FROM:<a@example.org> AUTH=e+3Dmc2@example.com", "MAIL FROM:<a@example.org>"),
            ("noop anything at all", "NOOP"),
            ("bdat 5 last", "BDAT 5 LAST"),
            (
                "xclient name=a.example addr=IPv6:::1  port=[tempunavail] proto=ESMTP destaddr=192.0.2.9 destport=25",
                "XCLIENT ADDR=IPV6:::1 PORT=[UNAVAILABLE]",
            ),
        ] {
            assert_eq!(rewritten(line), canonical);
        }
    }

    #[test]
    fn what_is_malformed_is_named_by_its_code() {
        for (line, expected) in [
            ("", "500 5.5.2"),
            ("XYZZY", "500 5.5.1"),
            ("GET / HTTP/1.1", "500 5.5.1"),
            ("NOOP a\0b", "500 5.5.2"),
            ("NOOP a\rb", "500 5.5.2"),
            ("NOOP a\nRSET", "500 5.5.2"),
            ("HELO", "501 5.5.4"),
            ("EHLO a b", "501 5.5.4"),
            ("DATA now", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL TO:<a@b>", "501 5.5.4"),
            ("MAIL FROM:a@b", "501 5.1.7"),
            ("MAIL FROM:<a@b", "501 5.1.7"),
            ("MAIL FROM:<a@-b>", "501 5.1.7"),
            ("MAIL FROM:<@x:>", "501 5.1.7"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a b@c>", "501 5.1.3"),
            ("RCPT TO:<@x b@c>", "501 5.1.3"),
            ("RCPT TO:<a@b>NOTIFY=NEVER", "501 5.5.4"),
            ("RCPT TO:<a@b> NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("RCPT TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", "501 5.5.4"),
            ("RCPT TO:<a@b> SIZE=5", "555 5.5.4"),
            ("MAIL FROM:<a@b> FUN=1", "555 5.5.4"),
            ("MAIL FROM:<a@b> XKEY=1", "555 5.5.4"),
            ("MAIL FROM:<a@b> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=x", "501 5.5.4"),
            ("MAIL FROM:<a@b> SMTPUTF8=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> ENVID=a+0Db", "501 5.5.4"),
            ("MAIL FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2027-01-01T00:00:00Z", "501 5.5.4"),
            ("MAIL FROM:<a@b> HOLDUNTIL=tomorrow", "501 5.5.4"),
            ("BDAT", "501 5.5.4"),
            ("BDAT -1", "501 5.5.4"),
            ("BDAT 1 FIRST", "501 5.5.4"),
            ("BDAT 18446744073709551616", "501 5.5.4"),
            ("AUTH", "501 5.5.4"),
            ("XCLIENT", "501 5.5.4"),
            ("XCLIENT ADDR", "501 5.5.4"),
            ("XCLIENT ADDR=", "501 5.5.4"),
            ("XCLIENT ADDR=[UNAVAILABLE]", "501 5.5.4"),
            ("XCLIENT ADDR=IPV6:192.0.2.1", "501 5.5.4"),
            ("XCLIENT ADDR=192.0.2.1 PORT=+25", "501 5.5.4"),
            ("XCLIENT ADDR=192.0.2.1 LOGIN=a+0D+0Ab", "501 5.5.4"),
            ("XCLIENT ADDR=192.0.2.1 HELO=a+20b", "501 5.5.4"),
            ("XCLIENT ADDR=192.0.2.1 SESSION=1", "501 5.5.4"),
        ] {
            assert_eq!(code(line), expected, "{line:?}");
        }
        assert_eq!(code("NOOP \u{85}"), "500 5.5.2");
        assert!(Command::parse(b"NOOP \xff").is_err());
    }

    #[test]
    fn what_cannot_be_said_on_one_line_is_not_written() {
        let mut out = BytesMut::new();
        for name in ["", "a b", "a\r\nQUIT", "gr\u{fc}n"] {
            assert!(Command::Ehlo(name.into()).write(&mut out).is_err(), "{name:?}");
        }
        let parameters = MailParameters { envid: Some("a\r\nb".into()), ..Default::default() };
        let mail = Command::Mail { sender: ReversePath::Null, parameters };
        assert!(mail.write(&mut out).is_err());
        assert!(Command::Vrfy("a\r\nQUIT".into()).write(&mut out).is_err());
        assert!(out.is_empty(), "nothing of a refused command is left behind");
    }
}
