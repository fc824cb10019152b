//! `hedwig-mailman`: the program, its daemon and its sendmail.
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test is to stop it")]

mod daemon;
mod halves;
mod listeners;
mod program;
mod sendmail;
mod sendmail_crash;
mod sendmail_delivery;
mod sendmail_programs;
mod sendmail_support;
mod sendmail_users;
