#![doc = include_str!("../README.md")]

mod certificate;
mod enclosure;
mod error;
#[cfg(feature = "daemons")]
mod house;
mod mail_server;
mod maildir;
mod network;
mod policy_web;
mod process;
mod report;
mod wait;
mod withholding;
#[cfg(feature = "daemons")]
mod world;
mod zone;

pub mod clients;
#[cfg(feature = "daemons")]
pub mod daemon;
pub mod dkim;
pub mod dns;
pub mod dovecot;
pub mod exim;
pub mod message;
pub mod opensmtpd;
pub mod postfix;
#[cfg(feature = "daemons")]
pub mod program;
pub mod receiver;

pub use certificate::write_certificate;
pub use clients::{Client, HttpResponse, curl};
#[cfg(feature = "daemons")]
pub use daemon::{Daemon, DaemonOptions, TOKEN};
pub use dns::{Delegation, Dns, Fault};
pub use dovecot::start_dovecot;
pub use error::{BoxError, LabError, Result};
pub use exim::start_exim;
#[cfg(feature = "daemons")]
pub use house::{House, HouseOptions, start_mailman, start_postoffice};
pub use mail_server::{MailServer, MailServerOptions};
pub use message::Submission;
pub use network::has_own_network;
pub use opensmtpd::start_opensmtpd;
pub use policy_web::PolicyWeb;
pub use postfix::{Postfix, PostfixOptions};
pub use process::{PATIENCE, Process};
#[cfg(feature = "daemons")]
pub use program::{Half, Program};
pub use receiver::{Receiver, Step};
pub use report::read_report;
pub use wait::eventually;
pub use withholding::Withholding;
#[cfg(feature = "daemons")]
pub use world::{SENDER, SENDER_DOMAIN, World, loopback_address};
