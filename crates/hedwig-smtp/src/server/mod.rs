//! The server's side.

mod options;
#[cfg(feature = "tokio")]
mod serve;
mod session;

pub use options::{LineEndings, ServerOptions};
#[cfg(feature = "tokio")]
pub use serve::{Serve, serve};
pub use session::{CloseReason, Event, NothingToAnswer, Session, replies_for};

/// SMTP, or LMTP with its reply for each recipient (RFC 2033).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// HELO and EHLO; one reply after the content.
    #[default]
    Smtp,
    /// LHLO; a reply for each recipient after the content.
    Lmtp,
}
