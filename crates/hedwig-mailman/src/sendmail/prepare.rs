//! From a message as a program wrote it to a mail: envelope and content (RFC 6409 §6, §8).

use bytes::{Bytes, BytesMut};
use hedwig_daemon::HOPS_MAX;
use hedwig_envelope::{
    Address, AddressError, Body, Content, Envelope, MailId, MailParameters, Recipient, ReversePath,
    Timestamp, header::HeaderScan,
};
use hedwig_transport::RECIPIENTS_MAX;

use super::{
    address_list::{AddressListError, addresses},
    caller::Caller,
    header,
    invocation::Submission,
    message::Message,
};
use crate::submission::missing_fields;

/// The envelope and the content of what is submitted, complete and with full addresses.
///
/// `domain` goes behind a bare local part; `id` and `now` into fields that are missing.
///
/// # Errors
/// When there is no recipient, an address is none, the message has a NUL, or the mail goes in circles.
pub(crate) fn prepare(
    submission: &Submission,
    caller: &Caller,
    domain: &str,
    written: &[u8],
    (id, now): (MailId, Timestamp),
) -> Result<(Envelope, Content), PrepareError> {
    if submission.body != Some(Body::BinaryMime) {
        refuse_nul(written)?;
    }
    let message = Message::of(written);
    let hops = HeaderScan::of(&message.header).received_count;
    if hops > HOPS_MAX {
        return Err(PrepareError::Loop { hops });
    }
    let envelope = envelope(submission, caller, domain, &message)?;
    let header = if submission.recipients_from_header {
        header::without_bcc(&message.header)
    } else {
        message.header.to_vec()
    };
    let header = header::qualified(&header, domain);
    let author = match &envelope.sender {
        ReversePath::Address(address) => address.clone(),
        ReversePath::Null => qualify("MAILER-DAEMON", domain)?,
    };
    let name = submission.full_name.as_deref().or(caller.full_name.as_deref());
    let from = || header::from(&author, name.filter(|_| envelope.sender != ReversePath::Null));
    let missing = missing_fields(&HeaderScan::of(&header), (id, now), domain, Some(&from));
    let content = joined(&[missing.as_bytes(), &header, b"\r\n", &message.body]);
    Ok((envelope, Content::new(content)))
}

/// Refuses a mail that would not be picked up from the drop: the caller is to know, for nobody could be told later.
///
/// # Errors
/// When the completed content is larger than `bytes_max`, or there are more recipients than a postoffice takes.
pub(crate) fn refuse_excess(
    envelope: &Envelope,
    content: &Content,
    bytes_max: u64,
) -> Result<(), PrepareError> {
    let (bytes, recipients) = (content.len() as u64, envelope.recipients.len());
    if bytes > bytes_max {
        return Err(PrepareError::TooLarge { bytes, bytes_max });
    }
    if recipients > RECIPIENTS_MAX {
        return Err(PrepareError::TooMany { recipients });
    }
    Ok(())
}

/// Why a mail cannot be made of what was submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("no recipients: name them as arguments, or say -t and name them in To, Cc or Bcc")]
    NobodyNamed,
    #[error("no recipients in the To, Cc and Bcc of the message")]
    NobodyInHeader,
    #[error(transparent)]
    List(#[from] AddressListError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("the sender must be one address, and not {0}")]
    Senders(usize),
    #[error("line {line} of the message has a NUL in it: encode what is no text, as in base64")]
    Nul { line: usize },
    #[error(
        "the message has {bytes} bytes with its CRLFs and the fields that it lacked; \
         [smtp] size_max takes {bytes_max}"
    )]
    TooLarge { bytes: u64, bytes_max: u64 },
    #[error(
        "the mail has {recipients} recipients, and may have {RECIPIENTS_MAX}: send it in parts"
    )]
    TooMany { recipients: usize },
    #[error("this mail has been through {hops} hosts: it goes in circles")]
    Loop { hops: usize },
}

/// The next server would refuse it for good, when the caller has long gone.
fn refuse_nul(written: &[u8]) -> Result<(), PrepareError> {
    let Some(position) = written.iter().position(|octet| *octet == 0) else { return Ok(()) };
    let ends = written[..position].iter().filter(|octet| **octet == b'\n').count();
    Err(PrepareError::Nul { line: ends + 1 })
}

fn envelope(
    submission: &Submission,
    caller: &Caller,
    domain: &str,
    message: &Message,
) -> Result<Envelope, PrepareError> {
    let mut recipients: Vec<Recipient> = Vec::new();
    for text in named(submission, message)? {
        let address = qualify(&text, domain)?;
        if !recipients.iter().any(|recipient| recipient.address == address) {
            recipients.push(Recipient { notify: submission.notify, ..address.into() });
        }
    }
    let sender = match &submission.sender {
        Some(text) => reverse_path(text, domain)?,
        None => qualify(&caller.login, domain)?.into(),
    };
    let parameters = MailParameters {
        body: submission.body,
        ret: submission.ret,
        envid: submission.envid.clone(),
        ..MailParameters::default()
    };
    Ok(Envelope { sender, parameters, recipients })
}

/// Whoever is named as a recipient, as argument and in the header; perhaps by a bare local part.
fn named(submission: &Submission, message: &Message) -> Result<Vec<String>, PrepareError> {
    let mut named = Vec::new();
    for argument in &submission.recipients {
        named.extend(addresses(argument.as_bytes())?.into_iter().map(|mention| mention.text));
    }
    if submission.recipients_from_header {
        named.extend(header::recipients(&message.header)?);
    }
    match (named.is_empty(), submission.recipients_from_header) {
        (false, _) => Ok(named),
        (true, true) => Err(PrepareError::NobodyInHeader),
        (true, false) => Err(PrepareError::NobodyNamed),
    }
}

fn reverse_path(text: &str, domain: &str) -> Result<ReversePath, PrepareError> {
    match addresses(text.as_bytes())?.as_slice() {
        [] => Ok(ReversePath::Null),
        [one] => Ok(qualify(&one.text, domain)?.into()),
        several => Err(PrepareError::Senders(several.len())),
    }
}

/// The address with its domain: a local part that stands alone is at home here.
fn qualify(text: &str, domain: &str) -> Result<Address, AddressError> {
    match text.parse::<Address>() {
        Ok(address) if address.domain().is_some() => Ok(address),
        whole => match format!("{text}@{domain}").parse() {
            Ok(qualified) => Ok(qualified),
            // The text as it was given tells more than what was made of it.
            Err(error) => whole.and(Err(error)),
        },
    }
}

fn joined(parts: &[&[u8]]) -> Bytes {
    let mut joined = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| joined.extend_from_slice(part));
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Notify, Ret};

    use super::*;

    const DOMAIN: &str = "example.org";

    fn try_prepare(
        submission: Submission,
        written: &str,
    ) -> Result<(Envelope, String), PrepareError> {
        let caller = Caller { login: "alice".into(), full_name: Some("Alice Doe".into()) };
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let id = MailId::new(now, 7);
        let (envelope, content) =
            prepare(&submission, &caller, DOMAIN, written.as_bytes(), (id, now))?;
        Ok((envelope, String::from_utf8(content.to_bytes().into()).unwrap()))
    }

    fn to(recipients: &[&str]) -> Submission {
        let recipients = recipients.iter().map(ToString::to_string).collect();
        Submission { recipients, ..Submission::default() }
    }

    fn recipients(envelope: &Envelope) -> Vec<&str> {
        envelope.recipients.iter().map(|recipient| recipient.address.as_str()).collect()
    }

    #[test]
    fn what_is_missing_is_completed() {
        let (envelope, content) = try_prepare(to(&["bob"]), "hello\n").unwrap();
        assert_eq!(envelope.sender.to_string(), "alice@example.org");
        assert_eq!(recipients(&envelope), ["bob@example.org"]);
        let id = MailId::new(Timestamp::from_second(1_795_000_000).unwrap(), 7);
        assert_eq!(
            content,
            format!(
                "Date: Wed, 18 Nov 2026 11:06:40 +0000\r\nMessage-ID: <{id}@example.org>\r\n\
                 From: Alice Doe <alice@example.org>\r\n\r\nhello\r\n"
            )
        );
    }

    #[test]
    fn what_is_there_is_left() {
        let message = "Date: then\nMessage-ID: <a@b>\nFrom: Me <me@example.com>\n\nhello\n";
        let (_, content) = try_prepare(to(&["bob@example.net"]), message).unwrap();
        assert_eq!(content, message.replace('\n', "\r\n"));
    }

    #[test]
    fn cron_is_understood() {
        let message = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> true\n\nout\n";
        let submission = Submission {
            dot_ends_message: false,
            full_name: Some("CronDaemon".into()),
            ..to(&["root"])
        };
        let (envelope, content) = try_prepare(submission, message).unwrap();
        assert_eq!(recipients(&envelope), ["root@example.org"]);
        assert!(content.contains(
            "From: root@example.org (Cron Daemon)\r\nTo: root@example.org\r\n\
             Subject: Cron <root@host> true\r\n\r\nout\r\n"
        ));
    }

    #[test]
    fn with_t_bcc_gets_the_mail_and_is_not_seen() {
        let submission = Submission { recipients_from_header: true, ..to(&["arg@example.net"]) };
        let message =
            "To: a@example.net, A@example.net\nBcc: hidden@example.net\nCc: a@example.net\n\nx\n";
        let (envelope, content) = try_prepare(submission, message).unwrap();
        assert_eq!(
            recipients(&envelope),
            ["arg@example.net", "a@example.net", "A@example.net", "hidden@example.net"]
        );
        assert!(!content.contains("hidden") && !content.contains("Bcc"));
        let (_, kept) = try_prepare(to(&["a@example.net"]), message).unwrap();
        assert!(kept.contains("Bcc: hidden@example.net"), "without -t the header is the caller's");
    }

    #[test]
    fn the_sender_is_whom_f_names() {
        for (given, expected, from) in [
            ("", "", "From: MAILER-DAEMON@example.org\r\n"),
            ("<>", "", "From: MAILER-DAEMON@example.org\r\n"),
            ("www-data", "www-data@example.org", "From: Alice Doe <www-data@example.org>\r\n"),
            ("App <app@example.net>", "app@example.net", "From: Alice Doe <app@example.net>\r\n"),
        ] {
            let submission = Submission { sender: Some(given.into()), ..to(&["bob"]) };
            let (envelope, content) = try_prepare(submission, "\nx").unwrap();
            assert_eq!(envelope.sender.to_string(), expected);
            assert!(content.contains(from), "{content}");
        }
        let two = Submission { sender: Some("a@b, c@d".into()), ..to(&["bob"]) };
        assert_eq!(try_prepare(two, "x").unwrap_err(), PrepareError::Senders(2));
    }

    #[test]
    fn dsn_parameters_go_into_the_envelope() {
        let submission = Submission {
            notify: Some(Notify::NEVER),
            ret: Some(Ret::Hdrs),
            envid: Some("QQ314159".into()),
            ..to(&["bob"])
        };
        let (envelope, _) = try_prepare(submission, "x").unwrap();
        assert_eq!(envelope.recipients[0].notify, Some(Notify::NEVER));
        assert_eq!(envelope.parameters.ret, Some(Ret::Hdrs));
        assert_eq!(envelope.parameters.envid.as_deref(), Some("QQ314159"));
    }

    #[test]
    fn a_mail_without_recipients_or_with_what_is_none_is_refused() {
        assert_eq!(try_prepare(to(&[]), "x").unwrap_err(), PrepareError::NobodyNamed);
        let from_header = Submission { recipients_from_header: true, ..to(&[]) };
        let error = try_prepare(from_header, "To: undisclosed-recipients:;\n\nx").unwrap_err();
        assert_eq!(error, PrepareError::NobodyInHeader);
        for bad in ["two words", "a@b..c", "a@b\r\nRSET", "<a", "a@"] {
            assert!(try_prepare(to(&[bad]), "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_nul_is_refused_wherever_it_stands_unless_the_mail_is_binary() {
        for (message, line) in [("\0", 1), ("A: \0b\n\nx\n", 1), ("A: b\n\nx\ny\0\n", 4)] {
            let error = try_prepare(to(&["bob"]), message).unwrap_err();
            assert_eq!(error, PrepareError::Nul { line }, "{message:?}");
            let binary = Submission { body: Some(Body::BinaryMime), ..to(&["bob"]) };
            assert!(try_prepare(binary, message).unwrap().1.contains('\0'));
        }
    }

    #[test]
    fn a_loop_is_found() {
        let message = |hops| "Received: by a; b\n".repeat(hops) + "\nx\n";
        assert!(try_prepare(to(&["bob"]), &message(HOPS_MAX)).is_ok());
        let hops = HOPS_MAX + 1;
        assert_eq!(
            try_prepare(to(&["bob"]), &message(hops)).unwrap_err(),
            PrepareError::Loop { hops }
        );
    }

    #[test]
    fn several_recipients_may_stand_in_one_argument() {
        let (envelope, _) = try_prepare(to(&["a@example.net, Bob <b@example.net>"]), "x").unwrap();
        assert_eq!(recipients(&envelope), ["a@example.net", "b@example.net"]);
    }
}
