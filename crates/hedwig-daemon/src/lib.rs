#![doc = include_str!("../README.md")]

mod accepting;
mod attempts;
mod command;
mod daemon;
mod exit;
mod hops;
mod hostname;
mod listen;
mod metrics;
mod parts;
mod reports;
mod stop;
mod unix_socket;

pub mod admin;
pub mod control;
pub mod delivery;
pub mod log;
pub mod queue;
pub mod service_manager;
pub mod settings;
pub mod spool;

pub use accepting::{Accepting, AcceptingLayer};
pub use attempts::{Attempts, AttemptsLayer};
pub use daemon::{Configured, Daemon, Extra, Failure, configure, report, run};
pub use exit::Exit;
pub use hops::{HOPS_MAX, HopLimit, HopLimitLayer};
pub use hostname::{HOSTNAME, Hostname, HostnameError};
pub use listen::{AddressError, ListenAddress, ListenError, listen};
pub use metrics::Metrics;
pub use parts::{GRACE, Parts, http_options};
pub use reports::reporter;
pub use service_manager::ServiceManager;
pub use stop::Stop;
pub use unix_socket::{RemoveOnDrop, listen_unix};
