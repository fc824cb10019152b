#![doc = include_str!("../README.md")]

mod clock;
mod courier;
mod cut_through;
mod error;
mod lease;
mod options;
mod schedule;
mod selection;
mod spool;

pub use clock::Clock;
pub use courier::{Courier, CourierOptions, Event, Reporter};
pub use cut_through::CutThrough;
pub use error::SpoolError;
pub use lease::{Claim, Claimed, Lease};
pub use options::{Grouping, SpoolOptions};
pub use schedule::Schedule;
pub use selection::{Counts, Filter, Selection};
pub use spool::Spool;
