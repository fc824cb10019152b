use std::{ffi::OsString, fmt, future::Future, process::ExitCode};

use clap::{ArgMatches, Command};
use hedwig_envelope::BoxError;
use hedwig_spool::Grouping;

use crate::{
    Exit, ListenError, ServiceManager, Stop,
    command::{self, Invocation},
    log, queue,
    settings::{Problems, Reading, Scope, Settings},
    spool,
};

/// What makes one daemon different from another: its settings, and what it composes of them.
pub trait Daemon {
    /// All that it needs to know, read and found right.
    type Configuration: Send + 'static;

    /// Its name and its table of settings.
    const SCOPE: &'static Scope;

    /// What it is, in a sentence, for the help.
    const ABOUT: &'static str;

    /// Which recipients of a mail it tries together.
    const GROUPING: Grouping;

    /// What its program does besides `serve`, `check` and `queue`.
    const EXTRAS: &'static [Extra] = &[];

    /// Reads the configuration; `None` when something is wrong with it, which the reading keeps.
    fn configure(read: &mut Reading<'_>) -> Option<Self::Configuration>;

    /// What a configuration amounts to, a line each, for `check`.
    fn describe(configuration: &Self::Configuration) -> Vec<String>;

    /// Runs until it is told to stop. Then what was accepted is passed on or in the spool.
    fn serve(
        configuration: Self::Configuration,
        manager: ServiceManager,
        stop: Stop,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static;
}

/// A command of one daemon's program. It takes the flags of all settings besides its own.
#[derive(Debug)]
pub struct Extra {
    /// What it is called.
    pub name: &'static str,
    /// Its own arguments and its help, given its name.
    pub command: fn(&'static str) -> Command,
    /// Does what it is for, and tells the program's exit code.
    pub run: fn(&Settings, &ArgMatches) -> Exit,
}

/// Runs a daemon's program: arguments in, the first being its name, exit code out.
///
/// The environment and the configuration file are read too; the log goes to standard error.
pub fn run<D: Daemon>(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let environment = std::env::vars_os().collect();
    let exit = match command::parse(D::SCOPE, D::ABOUT, D::EXTRAS, arguments, environment) {
        Ok(Invocation::Serve(settings)) => serve::<D>(&settings),
        Ok(Invocation::Check(settings)) => check::<D>(&settings),
        Ok(Invocation::Inspect(directory)) => spool::inspect(&directory, D::GROUPING),
        Ok(Invocation::Queue(settings, request)) => queue::run(&settings, &request, D::GROUPING),
        Ok(Invocation::Extra(extra, settings, flags)) => (extra.run)(&settings, &flags),
        Err(exit) => exit,
    };
    exit.into()
}

/// Reads a daemon's whole configuration, and what an operator should know of it.
///
/// # Errors
/// With everything that is wrong with it.
pub fn configure<D: Daemon>(settings: &Settings) -> Result<Configured<D>, Problems> {
    let mut read = Reading::of(settings);
    let format = read.one(&log::FORMAT);
    let filter = read.one(&log::LEVEL);
    let configuration = D::configure(&mut read);
    let warnings = read.warnings().iter().map(ToString::to_string).collect();
    read.finish(|| {
        let log = log::Options { format: format?, filter: filter? };
        Some(Configured { log, configuration: configuration?, warnings })
    })
}

/// A configuration that was read whole.
pub struct Configured<D: Daemon> {
    /// How to log.
    pub log: log::Options,
    /// The daemon's own.
    pub configuration: D::Configuration,
    /// What an operator should know; each names its place.
    pub warnings: Vec<String>,
}

fn serve<D: Daemon>(settings: &Settings) -> Exit {
    let configured = match configure::<D>(settings) {
        Ok(configured) => configured,
        Err(problems) => return report(&problems),
    };
    log::start(&configured.log);
    for warning in &configured.warnings {
        tracing::warn!("{warning}");
    }
    // What a daemon writes is for its own eyes; what others may see says so itself.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    // Before there are threads.
    let manager = match ServiceManager::from_environment() {
        Ok(manager) => manager,
        Err(error) => return Failure::configuration(error).log(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::try_again(error).log(),
    };
    let exit = runtime.block_on(async {
        let stop = match Stop::on_signals() {
            Ok(stop) => stop,
            Err(error) => return Failure::try_again(error).log(),
        };
        tokio::select! {
            // A daemon that is done must not be taken for one that was cut short.
            biased;
            served = D::serve(configured.configuration, manager, stop.clone()) => match served {
                Ok(()) => Exit::Done,
                Err(failure) => failure.log(),
            },
            () = stop.at_once() => Exit::TryAgain,
        }
    });
    // What still runs was told to stop and did not, in the time it had; waiting longer helps nobody.
    runtime.shutdown_background();
    exit
}

fn check<D: Daemon>(settings: &Settings) -> Exit {
    match configure::<D>(settings) {
        Err(problems) => report(&problems),
        Ok(configured) => {
            match settings.file() {
                Some(file) => println!("configuration file: {}", file.display()),
                None => println!("configuration file: none"),
            }
            for line in D::describe(&configured.configuration) {
                println!("{line}");
            }
            for warning in configured.warnings {
                println!("warning: {warning}");
            }
            println!("The configuration is right.");
            Exit::Done
        }
    }
}

/// Tells what is wrong with the settings, a line each, and how a program then ends.
pub fn report(problems: &Problems) -> Exit {
    for problem in &problems.0 {
        eprintln!("error: {problem}");
    }
    Exit::Configuration
}

/// Why a daemon cannot run, or could not go on.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: BoxError,
}

impl Failure {
    /// Something in the configuration that shows only when it is used.
    pub fn configuration(error: impl Into<BoxError>) -> Self {
        Self { exit: Exit::Configuration, error: error.into() }
    }

    /// Something that may go well another time.
    pub fn try_again(error: impl Into<BoxError>) -> Self {
        Self { exit: Exit::TryAgain, error: error.into() }
    }

    fn log(self) -> Exit {
        tracing::error!("{self}");
        self.exit
    }
}

impl From<ListenError> for Failure {
    /// The configuration's fault, unless it may [pass](ListenError::may_pass): a service manager starts the daemon again
    /// then, and it listens once it can.
    fn from(error: ListenError) -> Self {
        if error.may_pass() { Self::try_again(error) } else { Self::configuration(error) }
    }
}

impl fmt::Display for Failure {
    /// The error and what caused it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        let mut told = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many errors repeat their cause in their own message.
            if !told.contains(&text) {
                write!(f, ": {text}")?;
                told += &text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
