#![doc = include_str!("../README.md")]

mod clock;
mod disk;
mod fragile;
mod house;
mod load;
mod outcome;
mod proxy;
mod rounds;
mod servers;

pub use outcome::{Mails, Outcome, Plan, Troubles};
pub use rounds::run;
