//! Mailman at work: alone with a postoffice that a test plays, and together with the real one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod extensions;
mod listening;
mod mailman_alone;
mod support;
mod two_halves;
