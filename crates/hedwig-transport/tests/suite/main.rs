//! The hop, between a client and a server that are ours or play a part.
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test is to stop it")]

mod batch;
mod batching;
mod bounds;
mod common;
mod connections;
mod early_answers;
mod failover;
mod hop;
mod hostile_answers;
mod keys;
mod message;
mod router;
mod shutdown;
mod statuses;
mod tls;
