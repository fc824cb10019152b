//! From a request to the mails in it.

use std::borrow::Cow;

use bytes::Bytes;
use hedwig_envelope::{
    Address, Body, Content, Envelope, MailParameters, Notify, Recipient, ReversePath, Status,
    lines::{self, Stray},
};
use hedwig_smtp::batch::{self, BatchError, BatchLimits, BatchMail};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;

use super::{MessagesOptions, receive::too_large};
use crate::{BATCH_SMTP, MESSAGE_RFC822, Problem};

/// How mails are written in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One message; its envelope stands in the query.
    Message,
    /// Envelopes and messages, as the client's side of an ESMTP session.
    Batch,
}

impl Format {
    /// The format that a request's header names.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            let detail = "Content codings are not understood; send the body as it is.";
            return Err(unsupported(detail)
                .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        }
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = value.and_then(|value| value.split(';').next()).unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case(MESSAGE_RFC822) {
            Ok(Self::Message)
        } else if media_type.eq_ignore_ascii_case(BATCH_SMTP) {
            Ok(Self::Batch)
        } else {
            const TAKEN: HeaderValue =
                HeaderValue::from_static("message/rfc822, application/batch-smtp");
            let detail = format!("The Content-Type must be {MESSAGE_RFC822} or {BATCH_SMTP}.");
            Err(unsupported(detail)
                .header(HeaderName::from_static("accept-post"), TAKEN)
                .header(header::ACCEPT, TAKEN))
        }
    }

    /// The largest body that may hold it, in bytes.
    pub(super) fn body_bytes_max(self, options: &MessagesOptions) -> usize {
        match self {
            Self::Message => options.content_bytes_max.min(options.request_bytes_max),
            Self::Batch => options.request_bytes_max,
        }
    }
}

/// The mails in a request of this format. Their contents are slices of the body, unless line ends had
/// to be mended.
pub(super) fn read(
    format: Format,
    uri: &Uri,
    body: Bytes,
    options: &MessagesOptions,
) -> Result<Vec<BatchMail>, Problem> {
    if body.is_empty() {
        return Err(bad_request(
            "Empty body",
            "There is no mail in the request: its body is empty.",
        ));
    }
    let query = uri.query().unwrap_or("");
    match format {
        Format::Message => {
            let mut envelope = read_envelope(query, options.recipients_max)?;
            let message = clean(body)?;
            if message.len() > options.content_bytes_max {
                return Err(too_large(options.content_bytes_max));
            }
            if !message.is_ascii() {
                envelope.parameters.body = Some(Body::EightBitMime);
            }
            Ok(vec![BatchMail { key: None, envelope, content: Content::new(message) }])
        }
        Format::Batch if !query.is_empty() => {
            Err(bad_request("Unknown parameter", "The envelopes of a batch stand in its body."))
        }
        Format::Batch => read_batch(body, options),
    }
}

fn read_batch(body: Bytes, options: &MessagesOptions) -> Result<Vec<BatchMail>, Problem> {
    let limits = BatchLimits {
        mails_max: options.mails_max,
        recipients_max: options.recipients_max,
        content_bytes_max: options.content_bytes_max as u64,
    };
    let mut mails = batch::decode(body, &limits).map_err(|error| of_batch_error(&error))?;
    if mails.is_empty() {
        return Err(bad_request("Empty batch", "There is no mail in the batch."));
    }
    // What has no place in lines has been refused by the parser already.
    let text = |mail: &&mut BatchMail| mail.envelope.parameters.body != Some(Body::BinaryMime);
    for mail in mails.iter_mut().filter(text) {
        mail.content = Content::new(ended(mail.content.to_bytes()));
    }
    Ok(mails)
}

/// The message with its line ends mended, unless it has a NUL, which only binary mails may have.
fn clean(message: Bytes) -> Result<Bytes, Problem> {
    let mended = lines::mend(message, |stray| match stray {
        Stray::LineEnd => Ok(&b"\r\n"[..]),
        Stray::Nul => Err(bad_request("Malformed mail", format!("{}.", stray.words()))
            .reply(format!("554 {} {}", stray.status(), stray.words()))),
    })?;
    Ok(ended(mended))
}

/// The message with its last line ended; not copied when it is.
fn ended(message: Bytes) -> Bytes {
    match message.is_empty() || message.ends_with(b"\r\n") {
        true => message,
        false => [&message[..], b"\r\n"].concat().into(),
    }
}

fn of_batch_error(error: &BatchError) -> Problem {
    let too_large = error.reply.status().is_some_and(|s| (s.subject, s.detail) == (3, 4))
        || error.reply.code() == 552;
    let problem = if too_large {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Mail too large", error.to_string())
    } else {
        bad_request("Malformed batch", error.to_string())
    };
    problem.reply(error.reply.to_string())
}

/// The envelope in a query: `from` once, `to` for each recipient, perhaps `envid`, `ret` and `notify`
/// (RFC 3461). `+` is a `+`: it is common in addresses, and this is no form.
fn read_envelope(query: &str, recipients_max: usize) -> Result<Envelope, Problem> {
    let mut sender: Option<ReversePath> = None;
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut parameters = MailParameters::default();
    let mut notify: Option<Notify> = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(name, value)?;
        match name {
            "from" => once(name, &mut sender, without_brackets(&value).parse())?,
            "to" if recipients.len() == recipients_max => {
                let detail = format!("A mail may have {recipients_max} recipients at most.");
                return Err(bad_request("Too many recipients", detail)
                    .reply("554 5.5.3 Too many recipients".to_owned()));
            }
            "to" => recipients.push(read_recipient(&value)?),
            "envid" => once(name, &mut parameters.envid, read_envid(&value))?,
            "ret" => once(name, &mut parameters.ret, value.parse())?,
            "notify" => once(name, &mut notify, value.parse())?,
            _ => {
                let detail = format!("There is no parameter {name:.64?} here.");
                return Err(bad_request("Unknown parameter", detail));
            }
        }
    }
    let sender = sender.ok_or_else(|| {
        missing(
            "from",
            "an address, or nothing after the = for a mail whose failure nobody is told",
        )
    })?;
    if recipients.is_empty() {
        return Err(missing("to", "an address, once for each recipient"));
    }
    recipients.iter_mut().for_each(|recipient| recipient.notify = notify);
    let mut envelope = Envelope { sender, parameters, recipients };
    envelope.parameters.smtputf8 = envelope.needs_utf8();
    Ok(envelope)
}

fn decode<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, Problem> {
    percent_decode_str(value).decode_utf8().map_err(|_| {
        bad_request("Malformed parameter", format!("The value of {name:.64?} is not UTF-8."))
    })
}

fn once<T, E: std::fmt::Display>(
    name: &str,
    place: &mut Option<T>,
    value: Result<T, E>,
) -> Result<(), Problem> {
    if place.is_some() {
        return Err(bad_request("Malformed parameter", format!("{name:?} may stand once only.")));
    }
    let value = value.map_err(|error| malformed(name, &error))?;
    *place = Some(value);
    Ok(())
}

fn read_recipient(value: &str) -> Result<Recipient, Problem> {
    let address = without_brackets(value).parse::<Address>();
    address.map(Recipient::from).map_err(|error| malformed("to", &error))
}

fn without_brackets(value: &str) -> &str {
    value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(value)
}

/// RFC 3461 §4.4 allows 100 characters.
fn read_envid(value: &str) -> Result<String, &'static str> {
    let valid = (1..=100).contains(&value.len()) && !value.contains(char::is_control);
    if valid { Ok(value.to_owned()) } else { Err("it should be 1 to 100 printable characters") }
}

fn malformed(name: &str, error: &dyn std::fmt::Display) -> Problem {
    let title =
        if matches!(name, "from" | "to") { "Malformed address" } else { "Malformed parameter" };
    let status = Status::permanent(if name == "from" { 5 } else { 1 }, 3);
    bad_request(title, format!("{name}: {error}.")).reply(format!("553 {status} {error}"))
}

fn missing(name: &str, expected: &str) -> Problem {
    bad_request("Missing parameter", format!("The query needs {name}=: {expected}."))
}

fn bad_request(title: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, title, detail)
}

fn unsupported(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type", detail)
}
