//! The commands of SMTP and LMTP (RFC 5321 §4.1, RFC 2033, RFC 3030, RFC 3207, RFC 4954).

mod error;

pub use error::CommandError;

use hedwig_envelope::{MailParameters, Recipient, ReversePath};

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
    /// `NOOP`.
    Noop,
    /// `VRFY` and what it asks for.
    Vrfy(String),
    /// `EXPN` and what it asks for.
    Expn(String),
    /// `HELP`.
    Help,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH`, its mechanism and its initial response (RFC 4954).
    Auth {
        /// The mechanism, in upper case.
        mechanism: String,
        /// The initial response, still in base64.
        initial_response: Option<String>,
    },
    /// `QUIT`.
    Quit,
}

impl Command {
    /// Reads one command line without its CRLF.
    ///
    /// # Errors
    /// Names what is wrong, and knows the reply for it.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let _ = line;
        todo!()
    }

    /// Appends the command line with its CRLF.
    ///
    /// # Errors
    /// When a text in it cannot go over the wire.
    pub fn write(&self, out: &mut bytes::BytesMut) -> Result<(), CommandError> {
        let _ = out;
        todo!()
    }
}
