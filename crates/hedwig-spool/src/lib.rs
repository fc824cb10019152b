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
mod explain;
mod finding;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod holding;
mod housekeeping;
mod index;
mod inspection;
mod lease;
mod leases;
mod load;
mod log;
mod opening;
mod operate;
mod options;
mod owner;
mod pace;
mod paced;
mod prepare;
mod rate;
mod record;
mod recovery;
mod report;
mod reserve;
mod schedule;
mod selection;
mod spool;
mod standing;
mod state;
mod suppression;
mod suppressions;
mod telling;
mod under_way;
mod window;

pub mod disk;

pub use clock::Clock;
pub use courier::{Courier, CourierOptions};
pub use cut_through::CutThrough;
pub use error::SpoolError;
pub use explain::{Explained, ExplainedUnit, Waits};
pub use inspection::Inspection;
pub use lease::{Claim, Claimed, Lease};
pub use options::{Grouping, SpoolOptions};
pub use pace::{DestinationState, Sharing};
pub use rate::{Domains, DomainsError, Rate, Rates};
pub use recovery::is_spool;
pub use report::{Event, Owed, Reporter};
pub use schedule::Schedule;
pub use selection::{Counts, Filter, Selection};
pub use spool::Spool;
pub use suppression::{Suppression, SuppressionOrigin};
pub use suppressions::{SuppressionError, Suppressions};
pub use telling::Untold;
