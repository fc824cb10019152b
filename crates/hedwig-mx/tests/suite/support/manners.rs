//! How a receiving server of a test behaves.

use tokio_rustls::TlsAcceptor;

use super::acts::{Act, At};

/// What a server does at its stations. A reply is a line without CRLF; an empty one hangs up.
#[derive(Clone)]
pub(crate) struct Manners {
    pub(crate) greeting: String,
    /// Instead of the usual reply to EHLO or LHLO.
    pub(crate) hello: Option<String>,
    pub(crate) mail: String,
    /// For recipients that begin with the text, another reply than 250; the first that fits.
    pub(crate) recipients: Vec<(&'static str, String)>,
    pub(crate) data: String,
    /// After the final dot.
    pub(crate) content: String,
    /// In LMTP, after the final dot, for recipients that begin with the text.
    pub(crate) contents: Vec<(&'static str, String)>,
    pub(crate) tls: Tls,
    /// Whether it offers REQUIRETLS, over TLS (RFC 8689 §4.1).
    pub(crate) require_tls: bool,
    /// Hangs up after so many mails, without having been asked.
    pub(crate) mails_max: usize,
    /// What it says then, if anything.
    pub(crate) goodbye: Option<String>,
    /// Whether it waits for the next MAIL before it says so.
    pub(crate) waits_with_goodbye: bool,
    /// What it does at stations instead of what it should do there, every time.
    pub(crate) acts: Vec<(At, Act)>,
}

#[derive(Clone)]
pub(crate) enum Tls {
    NotOffered,
    Works(TlsAcceptor),
    /// Offers it, says 220, and then talks nonsense.
    Broken,
    /// Offers it, and says this instead of 220.
    Refused(String),
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            greeting: "220 server.example ESMTP".into(),
            hello: None,
            mail: "250 2.1.0 sender ok".into(),
            recipients: Vec::new(),
            data: "354 go on".into(),
            content: "250 2.0.0 taken".into(),
            contents: Vec::new(),
            tls: Tls::NotOffered,
            require_tls: true,
            mails_max: usize::MAX,
            goodbye: None,
            waits_with_goodbye: false,
            acts: Vec::new(),
        }
    }
}

impl Manners {
    pub(crate) fn greeting(text: &str) -> Self {
        Self { greeting: text.into(), ..Self::default() }
    }

    /// A server that misbehaves at one station.
    pub(crate) fn at(station: At, act: Act) -> Self {
        Self { acts: vec![(station, act)], ..Self::default() }
    }
}
