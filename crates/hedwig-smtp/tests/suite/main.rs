//! Servers and clients with their drivers, over pipes and loopback.
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test is to stop it")]

mod authentication;
mod loopback;
mod memory;
mod proxies;
mod support;
mod time_limits;
