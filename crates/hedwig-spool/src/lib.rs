#![doc = include_str!("../README.md")]

mod cache;
mod clock;
mod courier;
mod cut_through;
mod driver;
mod due;
mod ending;
mod engine;
mod errand;
mod error;
mod finding;
mod housekeeping;
mod index;
mod lease;
mod leases;
mod load;
mod log;
mod operate;
mod options;
mod pace;
mod paced;
mod prepare;
mod rate;
mod record;
mod recovery;
mod schedule;
mod selection;
mod spool;
mod standing;
mod state;
mod under_way;
mod window;

pub mod disk;

pub use clock::Clock;
pub use courier::{Courier, CourierOptions, Event, Reporter};
pub use cut_through::CutThrough;
pub use error::SpoolError;
pub use lease::{Claim, Claimed, Lease};
pub use options::{Grouping, SpoolOptions};
pub use pace::Sharing;
pub use rate::{Domains, DomainsError, Rate, Rates};
pub use schedule::Schedule;
pub use selection::{Counts, Filter, Selection};
pub use spool::Spool;
