//! Whether a mail can be sent to a server, and what is said of it then: parameters go only to a server
//! that offered their extension (RFC 5321 §2.2.1).

use std::borrow::Cow;

use hedwig_envelope::{
    Answer, Body, ByMode, Content, Envelope, MailParameters, Outcome, Reply, ReversePath, Status,
    lines,
};

use crate::{Capabilities, ClientOptions};

/// Up to this size a content is sent along with MAIL and RCPT; a larger one waits for a recipient that
/// is taken.
const EAGER_BYTES_MAX: usize = 64 * 1024;

/// How a mail is sent.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sender: String,
    pub(super) parameters: MailParameters,
    /// Whether RCPT has NOTIFY and ORCPT.
    pub(super) dsn: bool,
    /// Whether domains must go as A-labels.
    pub(super) ascii_domains: bool,
    /// Whether the content goes by BDAT.
    pub(super) by_chunks: bool,
    /// Whether commands go out before the reply to the one before.
    pub(super) pipelining: bool,
    /// Whether a BDAT goes out with the other commands.
    pub(super) eager: bool,
}

impl Plan {
    /// The plan for this mail, or why it cannot be sent when the server cannot take it.
    pub(super) fn of(
        envelope: &Envelope,
        content: &Content,
        offered: &Capabilities,
        options: &ClientOptions,
        is_secure: bool,
    ) -> Result<Self, Unsendable> {
        let body = body(envelope, content, offered, options)?;
        check_size(content, offered)?;
        if envelope.parameters.require_tls && !(is_secure && offered.require_tls) {
            return Err(failed(7, 30, "The next server does not offer REQUIRETLS"));
        }
        check_deadline(envelope, offered, options)?;
        if envelope.needs_utf8() && !offered.smtputf8 {
            return Err(failed(6, 7, "The next server does not offer SMTPUTF8"));
        }
        let is_binary = body == Some(Body::BinaryMime);
        let mut strays = content.chunks().into_iter().filter_map(|part| lines::first_stray(part));
        if !is_binary && let Some(stray) = strays.next() {
            // Passing it on would let its author smuggle mails past the next server.
            return Err(Unsendable { status: stray.status(), text: stray.words().into() });
        }
        let has_utf8 = envelope.needs_utf8() || has_utf8_address(envelope);
        // LMTP's replies to a chunk are told apart from those to the content only by LAST: DATA is
        // plainer there, and the server is near.
        let is_lmtp = options.protocol == crate::Dialect::Lmtp;
        let by_chunks = offered.chunking && (is_binary || !is_lmtp);
        Ok(Self {
            sender: path(&envelope.sender, !offered.smtputf8)?,
            parameters: parameters(envelope, content, offered, body, has_utf8),
            dsn: offered.dsn,
            ascii_domains: has_utf8 && !offered.smtputf8,
            by_chunks,
            pipelining: offered.pipelining,
            eager: by_chunks && offered.pipelining && content.len() <= EAGER_BYTES_MAX,
        })
    }
}

fn parameters(
    envelope: &Envelope,
    content: &Content,
    offered: &Capabilities,
    body: Option<Body>,
    has_utf8: bool,
) -> MailParameters {
    let asked = &envelope.parameters;
    MailParameters {
        body: body.filter(|_| offered.eight_bit_mime || offered.binary_mime),
        smtputf8: offered.smtputf8 && has_utf8,
        // RFC 1870 §3: the size of what is sent, not what some client estimated once.
        size: offered.size.map(|_| content.len() as u64),
        ret: asked.ret.filter(|_| offered.dsn),
        envid: asked.envid.clone().filter(|_| offered.dsn),
        require_tls: asked.require_tls,
        priority: asked.priority.filter(|_| offered.mt_priority),
        deliver_by: asked.deliver_by.filter(|_| offered.deliver_by),
        hold: asked.hold.filter(|_| offered.future_release),
    }
}

/// What `BODY` says, by what the content is rather than by what was said of it.
fn body(
    envelope: &Envelope,
    content: &Content,
    offered: &Capabilities,
    options: &ClientOptions,
) -> Result<Option<Body>, Unsendable> {
    if envelope.parameters.body == Some(Body::BinaryMime) {
        return if offered.binary_mime && offered.chunking {
            Ok(Some(Body::BinaryMime))
        } else {
            Err(failed(6, 3, "The next server does not offer BINARYMIME"))
        };
    }
    if content.is_7bit() {
        return Ok(envelope.parameters.body.map(|_| Body::SevenBit));
    }
    // RFC 6152 §3 leaves two ways: convert the content, which breaks its signatures, or return it. A
    // server that takes octets without offering it is an operator's to know, so that is an option.
    if !offered.eight_bit_mime && !options.eight_bit_without_8bitmime {
        return Err(failed(6, 3, "The next server does not offer 8BITMIME"));
    }
    Ok(Some(Body::EightBitMime).filter(|_| offered.eight_bit_mime))
}

fn check_size(content: &Content, offered: &Capabilities) -> Result<(), Unsendable> {
    match offered.size {
        Some(max) if max > 0 && content.len() as u64 > max => {
            Err(failed(3, 4, format!("The next server takes no more than {max} bytes")))
        }
        _ => Ok(()),
    }
}

/// RFC 2852 §4.1.4: a mail that is to be returned when its time is over must not go to a relay that would not
/// return it. A server that speaks LMTP is no relay.
fn check_deadline(
    envelope: &Envelope,
    offered: &Capabilities,
    options: &ClientOptions,
) -> Result<(), Unsendable> {
    let returns = envelope.parameters.deliver_by.is_some_and(|by| by.mode == ByMode::Return);
    if returns && !offered.deliver_by && options.protocol != crate::Dialect::Lmtp {
        return Err(failed(3, 3, "The next server does not offer DELIVERBY"));
    }
    Ok(())
}

fn has_utf8_address(envelope: &Envelope) -> bool {
    let is_utf8 = |address: &hedwig_envelope::Address| !address.as_str().is_ascii();
    envelope.sender.address().is_some_and(is_utf8)
        || envelope.recipients.iter().any(|recipient| is_utf8(&recipient.address))
}

fn path(sender: &ReversePath, is_ascii: bool) -> Result<String, Unsendable> {
    match sender.address() {
        None => Ok(String::new()),
        Some(address) if is_ascii => address
            .to_ascii()
            .map(Cow::into_owned)
            .ok_or_else(|| failed(1, 7, "The sender's domain has no ASCII form")),
        Some(address) => Ok(address.as_str().to_owned()),
    }
}

/// Why a mail, or a recipient, cannot even be offered: our own word, nothing was said to the server.
#[derive(Debug)]
pub(super) struct Unsendable {
    status: Status,
    text: Cow<'static, str>,
}

pub(super) fn failed(subject: u16, detail: u16, text: impl Into<Cow<'static, str>>) -> Unsendable {
    Unsendable { status: Status::permanent(subject, detail), text: text.into() }
}

impl From<Unsendable> for Outcome {
    fn from(Unsendable { status, text }: Unsendable) -> Self {
        let reply = Reply::with_status(554, status, text);
        Self::Failed(Answer::new(status, reply, None))
    }
}
