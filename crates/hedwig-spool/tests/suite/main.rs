//! The spool, on disks that fail, lie and lose power, and on those that do not.
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test is to stop it")]

mod common;
mod content_memory;
mod courier;
mod cut_through;
mod damage;
mod explanations;
mod fairness;
mod faults;
mod index;
mod power_cuts;
mod queue;
mod recovery;
mod reserve;
mod telling;
