#![doc = include_str!("../README.md")]

mod disk;
mod house;
mod load;
mod proxy;
mod rounds;
mod servers;

pub use rounds::{Outcome, Plan, run};
