#![doc = include_str!("../README.md")]

mod compose;
mod configuration;
mod doctor;
mod explain;
mod init;
mod keys;
mod listener;
mod road;
mod suppression;
mod tlsrpt;

use std::{ffi::OsString, process::ExitCode};

use hedwig_daemon::{
    Daemon, Extra, Failure, ServiceManager, Stop,
    settings::{Reading, Scope},
};
use hedwig_spool::Grouping;

pub use compose::{accepting, delivering, routes};
pub use configuration::{Configuration, SCOPE};
pub use listener::{ListenerOptions, OpenRelay};
pub use road::RoadOptions;
pub use suppression::{Suppressing, SuppressionLayer};
pub use tlsrpt::TlsReportOptions;

/// The daemon, for [`hedwig_daemon::run`].
#[derive(Clone, Copy, Debug)]
pub struct Postoffice;

impl Daemon for Postoffice {
    type Configuration = Configuration;
    const SCOPE: &'static Scope = &SCOPE;
    const ABOUT: &'static str =
        "Takes mail over HTTP, keeps it safe, and delivers it to the servers of its recipients";
    // Each domain has servers of its own, which answer or do not for its recipients alone.
    const GROUPING: Grouping = Grouping::ByDomain;
    const EXTRAS: &'static [Extra] =
        &[init::COMMAND, doctor::COMMAND, explain::COMMAND, suppression::COMMAND];

    fn configure(read: &mut Reading<'_>) -> Option<Configuration> {
        Configuration::read(read)
    }

    fn describe(configuration: &Configuration) -> Vec<String> {
        configuration.describe()
    }

    async fn serve(
        configuration: Configuration,
        manager: ServiceManager,
        stop: Stop,
    ) -> Result<(), Failure> {
        compose::serve(configuration, manager, stop).await
    }
}

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    hedwig_daemon::run::<Postoffice>(arguments)
}
