use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Content, Envelope, MailId};

/// A mail on its way: what every [`MailService`](crate::MailService) is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its name here.
    pub id: MailId,
    /// Who sends to whom.
    pub envelope: Envelope,
    /// Header and body.
    pub content: Content,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a mail came from, for the trace field, the log and the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When the last byte was received.
    pub received_at: Timestamp,
    /// How it came.
    pub protocol: Protocol,
    /// The client's address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// What the client called itself with HELO, EHLO or LHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// As whom the client was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<String>,
    /// The TLS version and cipher suite, when it came over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The key under which the client may send this mail again without making a second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,
    /// The W3C `traceparent` to pass along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Origin {
    /// A mail that came to be on this host at this time.
    #[must_use]
    pub fn local(received_at: Timestamp) -> Self {
        Self {
            received_at,
            protocol: Protocol::Local,
            client: None,
            hello: None,
            authenticated: None,
            tls: None,
            idempotency_key: None,
            traceparent: None,
        }
    }
}

/// The protocol of the last hop. With TLS and authentication it gives the `with` clause of a trace
/// field (RFC 3848).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SMTP after HELO.
    Smtp,
    /// SMTP after EHLO.
    Esmtp,
    /// LMTP (RFC 2033).
    Lmtp,
    /// The hop between two halves of Hedwig, or an application's HTTP request.
    Http,
    /// A program on this host.
    Local,
}

/// A client's name for a request that it may repeat: 1 to 255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// The key as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<MailId> for IdempotencyKey {
    fn from(id: MailId) -> Self {
        Self(id.to_string().into())
    }
}

impl FromStr for IdempotencyKey {
    type Err = IdempotencyKeyError;

    fn from_str(text: &str) -> Result<Self, IdempotencyKeyError> {
        let valid = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if valid { Ok(Self(text.into())) } else { Err(IdempotencyKeyError) }
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = IdempotencyKeyError;

    fn try_from(text: String) -> Result<Self, IdempotencyKeyError> {
        text.parse()
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.as_str().to_owned()
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text that is no [`IdempotencyKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 255 visible ASCII characters")]
pub struct IdempotencyKeyError;
