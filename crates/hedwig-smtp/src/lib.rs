#![cfg_attr(feature = "tokio", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "tokio"), doc = "SMTP and LMTP: grammar and sans-IO sessions.")]

mod capabilities;
mod peer;
mod session;
#[cfg(feature = "tokio")]
mod stream;

pub mod batch;
pub mod client;
pub mod command;
pub mod policy;
pub mod reply;
pub mod sasl;
pub mod server;

pub use capabilities::Capabilities;
pub use client::ClientOptions;
pub use command::{Command, CommandError};
pub use peer::{Peer, site};
pub use policy::{Policy, Question};
pub use reply::{ReplyError, ReplyReader};
pub use server::{Dialect, LineEndings, ServerOptions};
pub use session::Session;

#[cfg(feature = "tokio")]
pub use server::serve;
#[cfg(feature = "tokio")]
pub use stream::{BoxStream, Stream};
