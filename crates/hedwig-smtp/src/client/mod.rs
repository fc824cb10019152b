//! The client's side: a [`Session`] without a socket, and a [`Connection`] that drives it.
//!
//! One mail is one transaction: MAIL, a RCPT for each recipient, the content. Where the server offers
//! PIPELINING all commands go out at once; where it offers CHUNKING the content goes as one BDAT. Each
//! recipient gets its own [`Outcome`](hedwig_envelope::Outcome), whatever the others got.

mod authentication;
#[cfg(feature = "tokio")]
mod connection;
mod ending;
mod error;
mod event;
#[cfg(feature = "tokio")]
mod exchange;
mod options;
mod outbox;
mod plan;
mod replies;
mod session;
mod transaction;
mod transcript;

#[cfg(feature = "tokio")]
pub use connection::{Connection, ConnectionError, SendError};
pub use error::{Cause, Failure, Phase, Unfinished};
pub use event::{Event, NotReady};
pub use options::{ClientOptions, TimeLimits};
pub use session::Session;
pub use transcript::Transcript;
