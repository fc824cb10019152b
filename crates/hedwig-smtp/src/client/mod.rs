//! The client's side.

#[cfg(feature = "tokio")]
mod connection;
mod options;

#[cfg(feature = "tokio")]
pub use connection::{Connection, ConnectionError, Phase, SendError};
pub use options::{ClientOptions, TimeLimits};
