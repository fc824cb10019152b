//! The server's side: a [`Session`] without a socket, and a driver for it, [`serve()`].
//!
//! ```text
//!            Question(Connect)     Question(Hello)      Question(Mail, Recipient)
//!  connect ────────────────▶ 220 ────────────────▶ 250 ──────────────────────────▶ envelope
//!                                                   ▲                                │ Question(Data)
//!                                                   │            Mail                ▼
//!                                                  250 ◀─────────────────────── content
//! ```
//!
//! Every command gets one reply, so the reply is the decision: an event that awaits its reply stops
//! the session, however much a pipelining client has sent already.

mod authentication;
mod chunks;
mod commands;
mod content;
mod event;
mod fault;
mod forwarding;
mod framing;
mod options;
mod patience;
mod replies;
#[cfg(feature = "tokio")]
mod serve;
mod session;
mod transfer;

pub(crate) use chunks::Assembly;
pub(crate) use content::DataReader;
pub use event::{CloseReason, Event, NothingToAnswer};
pub(crate) use fault::ContentFault;
pub use options::{LineEndings, ServerOptions};
pub use replies::replies_for;
#[cfg(feature = "tokio")]
pub use serve::{DecoySecret, FailedAuthentications, Listener, Serve, serve, serve_connection};
pub use session::Session;
pub use transfer::Incoming;

/// SMTP, or LMTP with its reply for each recipient (RFC 2033).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// HELO and EHLO; one reply after the content.
    #[default]
    Smtp,
    /// LHLO; a reply for each recipient after the content.
    Lmtp,
}
