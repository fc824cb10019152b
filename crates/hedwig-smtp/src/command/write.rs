use std::fmt::{self, Write};

use bytes::BytesMut;
use hedwig_envelope::{
    Address, Hold, IdempotencyKey, MailParameters, Notify, OriginalRecipient, Recipient, xtext,
};

use super::{Command, CommandError};
use crate::sasl::Secret;

impl Command {
    /// Appends the command line with its CRLF.
    ///
    /// # Errors
    /// When a text in it cannot go over the wire; then nothing is appended.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), CommandError> {
        match self {
            Self::Helo(name) => write_line(out, format_args!("HELO {}", host(name)?)),
            Self::Ehlo(name) => write_line(out, format_args!("EHLO {}", host(name)?)),
            Self::Lhlo(name) => write_line(out, format_args!("LHLO {}", host(name)?)),
            Self::Mail { sender, parameters } => {
                let sender = sender.address().map_or("", Address::as_str);
                return MailLine { sender, parameters, key: None }.write(out);
            }
            Self::Rcpt(recipient) => return RecipientLine::of(recipient).write(out),
            Self::Data => write_line(out, format_args!("DATA")),
            Self::Bdat { size, last: false } => write_line(out, format_args!("BDAT {size}")),
            Self::Bdat { size, last: true } => write_line(out, format_args!("BDAT {size} LAST")),
            Self::Rset => write_line(out, format_args!("RSET")),
            Self::Noop => write_line(out, format_args!("NOOP")),
            Self::Vrfy(what) => write_line(out, format_args!("VRFY {}", printable(what)?)),
            Self::Expn(what) => write_line(out, format_args!("EXPN {}", printable(what)?)),
            Self::Help => write_line(out, format_args!("HELP")),
            Self::StartTls => write_line(out, format_args!("STARTTLS")),
            Self::Auth { mechanism, initial_response } => {
                write_auth(out, mechanism, initial_response.as_ref())?;
            }
            Self::Xclient(told) => write_line(out, format_args!("{told}")),
            Self::Quit => write_line(out, format_args!("QUIT")),
        }
        Ok(())
    }
}

/// What a MAIL line says.
pub(crate) struct MailLine<'a> {
    /// An address, or nothing.
    pub(crate) sender: &'a str,
    pub(crate) parameters: &'a MailParameters,
    /// In a batch only.
    pub(crate) key: Option<&'a IdempotencyKey>,
}

impl MailLine<'_> {
    pub(crate) fn write(&self, out: &mut BytesMut) -> Result<(), CommandError> {
        self.parameters.envid.as_deref().map(decoded).transpose()?;
        self.write_unchecked(out);
        Ok(())
    }

    /// Appends the line even if its reader will refuse it.
    pub(crate) fn write_unchecked(&self, out: &mut BytesMut) {
        write_line(out, format_args!("{self}"));
    }
}

/// What a RCPT line says.
pub(crate) struct RecipientLine<'a> {
    pub(crate) address: &'a str,
    pub(crate) notify: Option<&'a Notify>,
    pub(crate) original: Option<&'a OriginalRecipient>,
}

impl<'a> RecipientLine<'a> {
    pub(crate) fn of(recipient: &'a Recipient) -> Self {
        Self {
            address: recipient.address.as_str(),
            notify: recipient.notify.as_ref(),
            original: recipient.original.as_ref(),
        }
    }

    pub(crate) fn write(&self, out: &mut BytesMut) -> Result<(), CommandError> {
        if let Some(original) = self.original {
            let is_kind = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if original.kind.is_empty() || !original.kind.bytes().all(is_kind) {
                return Err(unwritable(&original.kind));
            }
            decoded(&original.address)?;
        }
        self.write_unchecked(out);
        Ok(())
    }

    /// Appends the line even if its reader will refuse it.
    pub(crate) fn write_unchecked(&self, out: &mut BytesMut) {
        write_line(out, format_args!("{self}"));
    }
}

impl fmt::Display for MailLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters = self.parameters;
        write!(f, "MAIL FROM:<{}>", self.sender)?;
        write_some(f, "SIZE", parameters.size.as_ref())?;
        write_some(f, "BODY", parameters.body.as_ref())?;
        write_flag(f, "SMTPUTF8", parameters.smtputf8)?;
        write_some(f, "RET", parameters.ret.as_ref())?;
        write_some(f, "ENVID", parameters.envid.as_deref().map(xtext::encode).as_ref())?;
        write_flag(f, "REQUIRETLS", parameters.require_tls)?;
        write_some(f, "MT-PRIORITY", parameters.priority.as_ref())?;
        write_some(f, "BY", parameters.deliver_by.as_ref())?;
        match parameters.hold {
            Some(Hold::For(seconds)) => write!(f, " HOLDFOR={seconds}")?,
            Some(Hold::Until(time)) => write!(f, " HOLDUNTIL={time}")?,
            None => {}
        }
        write_some(f, "XKEY", self.key.map(|key| xtext::encode(key.as_str())).as_ref())
    }
}

impl fmt::Display for RecipientLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RCPT TO:<{}>", self.address)?;
        write_some(f, "NOTIFY", self.notify)?;
        match self.original {
            Some(original) => write_original(f, original),
            None => Ok(()),
        }
    }
}

/// The kind is the one text here that no encoding makes harmless.
fn write_original(f: &mut fmt::Formatter<'_>, original: &OriginalRecipient) -> fmt::Result {
    f.write_str(" ORCPT=")?;
    for character in original.kind.chars() {
        f.write_char(if character.is_ascii_graphic() { character } else { '?' })?;
    }
    write!(f, ";{}", xtext::encode(&original.address))
}

fn write_some(
    f: &mut fmt::Formatter<'_>,
    keyword: &str,
    value: Option<&impl fmt::Display>,
) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {keyword}={value}"))
}

fn write_flag(f: &mut fmt::Formatter<'_>, keyword: &str, is_up: bool) -> fmt::Result {
    if is_up { write!(f, " {keyword}") } else { Ok(()) }
}

fn write_auth(
    out: &mut BytesMut,
    mechanism: &str,
    response: Option<&Secret>,
) -> Result<(), CommandError> {
    let mechanism = word(mechanism)?;
    match response {
        None => write_line(out, format_args!("AUTH {mechanism}")),
        Some(response) => {
            // The error must not tell what it is.
            let response = word(response.reveal()).map_err(|_| unwritable("The response"))?;
            write_line(out, format_args!("AUTH {mechanism} {response}"));
        }
    }
    Ok(())
}

fn write_line(out: &mut BytesMut, line: fmt::Arguments<'_>) {
    // A BytesMut grows; writing to it cannot fail.
    let _ = out.write_fmt(line);
    out.extend_from_slice(b"\r\n");
}

/// RFC 5321 §4.1.1.1: a domain or an address literal, and RFC 6531 §3.7.1: in ASCII.
fn host(name: &str) -> Result<&str, CommandError> {
    if name.len() > 255 { Err(unwritable(name)) } else { word(name) }
}

fn word(text: &str) -> Result<&str, CommandError> {
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_word { Ok(text) } else { Err(unwritable(text)) }
}

fn printable(text: &str) -> Result<&str, CommandError> {
    let is_printable = !text.trim().is_empty() && !text.contains(char::is_control);
    if is_printable { Ok(text) } else { Err(unwritable(text)) }
}

/// What goes as xtext, which makes anything harmless: whatever [`xtext::decode`] gives of a value can be written, blanks
/// alone as well. Our reader refuses the rest.
fn decoded(text: &str) -> Result<&str, CommandError> {
    let is_readable = !text.is_empty() && !text.contains(char::is_control);
    if is_readable { Ok(text) } else { Err(unwritable(text)) }
}

fn unwritable(text: &str) -> CommandError {
    let text: String = text.chars().take(128).collect();
    CommandError::arguments(format!("{text:?} cannot be said in a command"))
}
