#![doc = include_str!("../README.md")]

pub mod dns;

pub use dns::{Dns, Fault};
