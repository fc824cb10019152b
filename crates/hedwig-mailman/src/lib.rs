#![doc = include_str!("../README.md")]

mod compose;
mod configuration;
mod counts;
mod front_door;
mod gateways;
mod listener;
mod listener_settings;
mod listeners;
mod network;
mod rate;
mod rates;
mod relay;
mod sender_rule;
mod senders;
mod submission;
mod users;

pub mod sendmail;

use std::{ffi::OsString, process::ExitCode};

use hedwig_daemon::{
    Daemon, Failure, ServiceManager, Stop,
    settings::{Reading, Scope},
};
use hedwig_spool::Grouping;

pub use compose::{accepting, handing_over, picking_up};
pub use configuration::{Configuration, SCOPE};
pub use front_door::FrontDoor;
pub use listener::{Authentication, LineEndingChoice, Listener, Rules, SocketMode, TlsMode};
pub use network::{Network, NetworkError};
pub use rate::{Rate, RateError};
pub use rates::{Limit, Limits, Rates, rate_policy};
pub use relay::{Clients, relay_policy};
pub use sender_rule::{OtherSenders, SenderRule, SenderRuleError};
pub use senders::Senders;
pub use submission::completing;
pub use users::{User, UserDirectory, UserFileError, Users};

/// The daemon, for [`hedwig_daemon::run`].
#[derive(Clone, Copy, Debug)]
pub struct Mailman;

impl Daemon for Mailman {
    type Configuration = Configuration;
    const SCOPE: &'static Scope = &SCOPE;
    const ABOUT: &'static str = "Takes mail over SMTP where it is born, and hands it to a postoffice over HTTP; \
         also sendmail(1): see hedwig-mailman sendmail --help";
    // Every mail goes to one place, whoever its recipients are.
    const GROUPING: Grouping = Grouping::Whole;

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

/// Runs the program with these arguments, the first being its name: the daemon's commands, `user`, or
/// [`sendmail`] when it is called so.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.collect();
    match sendmail::called_as(&arguments) {
        Some((name, count)) => sendmail::run(name, arguments.drain(count..)),
        None if users::is_called(&arguments) => users::run(arguments.drain(1..)),
        None => hedwig_daemon::run::<Mailman>(arguments.into_iter()),
    }
}
