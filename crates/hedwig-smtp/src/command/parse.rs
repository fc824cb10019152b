use std::borrow::Cow;

use hedwig_envelope::{Address, IdempotencyKey, MailParameters, Recipient, ReversePath};

use super::{Command, CommandError, Xclient, parameters, path};
use crate::sasl::Secret;

/// RFC 5321 §4.5.3.1.2.
const NAME_BYTES_MAX: usize = 255;

impl Command {
    /// Reads one command line without its CRLF.
    ///
    /// # Errors
    /// Names what is wrong, and knows the reply for it.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        Self::parse_at(line, None)
    }

    /// Reads one command line as [`parse`](Self::parse) does. A local part that stands alone gets this
    /// domain (RFC 6409 §4.2).
    pub(crate) fn parse_at(line: &[u8], home: Option<&str>) -> Result<Self, CommandError> {
        let (verb, arguments) = split_verb(line)?;
        Ok(match verb.as_str() {
            "HELO" => Self::Helo(name(arguments)?),
            "EHLO" => Self::Ehlo(name(arguments)?),
            "LHLO" => Self::Lhlo(name(arguments)?),
            "MAIL" => {
                let (sender, parameters, _) = mail(arguments, home, false)?;
                Self::Mail { sender, parameters }
            }
            "RCPT" => Self::Rcpt(recipient(arguments, home)?),
            "DATA" => alone(Self::Data, arguments)?,
            "BDAT" => chunk(arguments)?,
            "RSET" => alone(Self::Rset, arguments)?,
            "NOOP" => Self::Noop,
            "VRFY" => Self::Vrfy(some(arguments, "VRFY")?),
            "EXPN" => Self::Expn(some(arguments, "EXPN")?),
            "HELP" => Self::Help,
            "STARTTLS" => alone(Self::StartTls, arguments)?,
            "AUTH" => auth(arguments)?,
            "XCLIENT" => Self::Xclient(Box::new(Xclient::parse(arguments)?)),
            "QUIT" => alone(Self::Quit, arguments)?,
            _ => return Err(CommandError::unknown_command()),
        })
    }
}

/// A MAIL line of a batch, where the parameter `XKEY` is known.
pub(crate) fn parse_mail_in_batch(
    line: &[u8],
) -> Result<(ReversePath, MailParameters, Option<IdempotencyKey>), CommandError> {
    match split_verb(line)? {
        (verb, arguments) if verb == "MAIL" => mail(arguments, None, true),
        _ => Err(CommandError::unknown_command()),
    }
}

/// The verb in upper case, and what follows without the white space around it.
fn split_verb(line: &[u8]) -> Result<(String, &str), CommandError> {
    let line = std::str::from_utf8(line)
        .map_err(|_| CommandError::unreadable("The command is not in UTF-8"))?;
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err(CommandError::unreadable("The command has a control character in it"));
    }
    let line = line.trim_end_matches([' ', '\t']);
    let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
    if verb.is_empty() {
        return Err(CommandError::unreadable("The line has no command in it"));
    }
    Ok((verb.to_ascii_uppercase(), arguments.trim_start_matches(' ')))
}

fn alone(command: Command, arguments: &str) -> Result<Command, CommandError> {
    if arguments.is_empty() {
        Ok(command)
    } else {
        Err(CommandError::arguments("This command takes no argument"))
    }
}

fn some(arguments: &str, verb: &str) -> Result<String, CommandError> {
    if arguments.is_empty() {
        return Err(CommandError::arguments(format!("{verb} needs an argument")));
    }
    Ok(arguments.to_owned())
}

/// What a client calls itself. RFC 5321 §4.1.4: a server may look at it, but must not refuse a mail
/// for it; so anything that is one word is taken.
fn name(arguments: &str) -> Result<String, CommandError> {
    if arguments.is_empty() {
        return Err(CommandError::arguments("A domain name or an address literal is missing"));
    }
    if arguments.len() > NAME_BYTES_MAX || arguments.contains([' ', '\t']) {
        return Err(CommandError::arguments("This is no domain name and no address literal"));
    }
    Ok(arguments.to_owned())
}

fn mail(
    arguments: &str,
    home: Option<&str>,
    in_batch: bool,
) -> Result<(ReversePath, MailParameters, Option<IdempotencyKey>), CommandError> {
    let path = after_keyword(arguments, "FROM:")
        .ok_or_else(|| CommandError::arguments("MAIL needs FROM:<address>"))?;
    let (mailbox, rest) = path::split(path).map_err(CommandError::sender)?;
    let sender = completed(mailbox, home)
        .parse()
        .map_err(|error| CommandError::sender(format!("{error}")))?;
    let (parameters, key) = parameters::of_mail(rest, in_batch)?;
    Ok((sender, parameters, key))
}

fn recipient(arguments: &str, home: Option<&str>) -> Result<Recipient, CommandError> {
    let path = after_keyword(arguments, "TO:")
        .ok_or_else(|| CommandError::arguments("RCPT needs TO:<address>"))?;
    let (mailbox, rest) = path::split(path).map_err(CommandError::recipient)?;
    let address: Address = completed(mailbox, home)
        .parse()
        .map_err(|error| CommandError::recipient(format!("{error}")))?;
    parameters::of_recipient(rest, address)
}

fn completed<'a>(mailbox: &'a str, home: Option<&str>) -> Cow<'a, str> {
    // An @ within quotes does not count.
    let unquoted = mailbox.rsplit_once('"').map_or(mailbox, |(_, rest)| rest);
    match home {
        Some(home) if !mailbox.is_empty() && !unquoted.contains('@') => {
            format!("{mailbox}@{home}").into()
        }
        _ => mailbox.into(),
    }
}

/// What stands after `FROM:` or `TO:`. RFC 5321 §3.3 allows no space there; many clients put one.
fn after_keyword<'a>(arguments: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = arguments.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

fn chunk(arguments: &str) -> Result<Command, CommandError> {
    let wrong = || CommandError::arguments("BDAT needs a size in bytes, and perhaps LAST");
    let (size, rest) = arguments.split_once(' ').unwrap_or((arguments, ""));
    if !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let size = size.parse().map_err(|_| wrong())?;
    let rest = rest.trim_start_matches(' ');
    let last = rest.eq_ignore_ascii_case("LAST");
    if last || rest.is_empty() { Ok(Command::Bdat { size, last }) } else { Err(wrong()) }
}

fn auth(arguments: &str) -> Result<Command, CommandError> {
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), response, None) => Ok(Command::Auth {
            mechanism: mechanism.to_ascii_uppercase(),
            initial_response: response.map(Secret::new),
        }),
        _ => Err(CommandError::arguments("AUTH needs a mechanism, and perhaps a response")),
    }
}
