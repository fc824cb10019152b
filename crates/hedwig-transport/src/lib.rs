#![doc = include_str!("../README.md")]

mod body;
mod json;
mod problem;
mod reloading;
mod text;
mod token;
mod wire;

pub mod client;
pub mod server;
pub mod tls;

pub use body::{Body, empty, full};
pub use client::{Client, ClientOptions};
pub use json::json;
pub use problem::{PROBLEM_JSON, Problem, problem};
pub use reloading::Reloading;
pub use server::{
    ConnectionInfo, Messages, MessagesOptions, Router, Serve, ServerOptions, messages, serve,
};
pub use token::{Token, TokenError};
pub use wire::{AcceptedMail, AcceptedMails, AcceptedRecipient};

/// The content type of a bare message (RFC 2046 §5.2.1); its envelope stands in the query.
pub const MESSAGE_RFC822: &str = "message/rfc822";
/// The content type of mails with their envelopes, as the client's side of an ESMTP session
/// (RFC 2442).
pub const BATCH_SMTP: &str = "application/batch-smtp";
/// The most recipients that a mail may have on the hop. A client's side takes no mail with more, for its postoffice would
/// refuse it as a whole.
pub const RECIPIENTS_MAX: usize = 10_000;
/// The path that takes mails.
pub const MESSAGES_PATH: &str = "/v1/messages";
