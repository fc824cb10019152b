//! Another project's parser, for what it is good at: plain commands.

use hedwig_envelope::{MailParameters, Notify, Recipient, ReversePath};
use hedwig_smtp::Command;
use smtp_proto::{
    MAIL_SMTPUTF8, RCPT_NOTIFY_DELAY, RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_NEVER, RCPT_NOTIFY_SUCCESS,
    Request,
};

/// What it makes of a line, in our words.
pub(crate) fn parse(line: &[u8]) -> Option<Command> {
    Some(match Request::parse(&mut line.iter()).ok()? {
        Request::Helo { host } => Command::Helo(host.into_owned()),
        Request::Ehlo { host } => Command::Ehlo(host.into_owned()),
        Request::Lhlo { host } => Command::Lhlo(host.into_owned()),
        Request::Mail { from } => Command::Mail {
            sender: from.address.parse::<ReversePath>().ok()?,
            parameters: MailParameters {
                size: (from.size > 0 || line.windows(6).any(|word| word == b"SIZE=0"))
                    .then_some(from.size as u64),
                smtputf8: from.flags & MAIL_SMTPUTF8 != 0,
                envid: from.env_id.map(|envid| envid.into_owned()),
                ..MailParameters::default()
            },
        },
        Request::Rcpt { to } => {
            let mut recipient =
                Recipient::from(to.address.parse::<hedwig_envelope::Address>().ok()?);
            let is_set = |flag| to.flags & flag != 0;
            let notify = Notify {
                success: is_set(RCPT_NOTIFY_SUCCESS),
                failure: is_set(RCPT_NOTIFY_FAILURE),
                delay: is_set(RCPT_NOTIFY_DELAY),
            };
            let is_given = notify != Notify::NEVER || is_set(RCPT_NOTIFY_NEVER);
            recipient.notify = is_given.then_some(notify);
            Command::Rcpt(recipient)
        }
        Request::Bdat { chunk_size, is_last } => {
            Command::Bdat { size: chunk_size as u64, last: is_last }
        }
        Request::Data => Command::Data,
        Request::Rset => Command::Rset,
        Request::StartTls => Command::StartTls,
        Request::Quit => Command::Quit,
        _ => return None,
    })
}
