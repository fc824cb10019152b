//! The command line both daemons have: `serve`, `check` and `queue`; and what one of them has besides.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgMatches, Command, error::ErrorKind, parser::ValueSource};

use crate::{
    Exit, Extra, queue,
    settings::{self, Scope, Settings, Sources},
};

/// What a daemon was called to do.
#[derive(Debug)]
pub(crate) enum Invocation {
    Serve(Settings),
    Check(Settings),
    /// Look at the spool in this directory.
    Inspect(PathBuf),
    Queue(Settings, Box<queue::Request>),
    /// Something that only this daemon's program does.
    Extra(&'static Extra, Settings, Box<ArgMatches>),
}

/// Reads the arguments, the first of which is the program's own name.
///
/// When there is nothing to do (help was asked for, or the arguments make no sense), what is to be
/// said has been said, and the exit is told.
pub(crate) fn parse(
    scope: &'static Scope,
    about: &'static str,
    extras: &'static [Extra],
    arguments: impl Iterator<Item = OsString>,
    environment: Vec<(OsString, OsString)>,
) -> Result<Invocation, Exit> {
    let matches =
        command(scope, about, extras).try_get_matches_from(arguments).map_err(|error| {
            // Help goes to standard output, errors to standard error; if neither can be written to,
            // the exit code still tells.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
                _ => Exit::Usage,
            }
        })?;
    let gather = |flags: &ArgMatches| {
        let file = flags.get_one::<String>("config").map(PathBuf::from);
        Settings::gather(scope, Sources { flags: Some(flags), file, environment })
    };
    match matches.subcommand() {
        Some(("serve", flags)) => Ok(Invocation::Serve(gather(flags))),
        Some(("check", flags)) if is_given(flags, "spool") => {
            let directory = flags.get_one::<String>("spool").ok_or(Exit::Usage)?;
            Ok(Invocation::Inspect(directory.into()))
        }
        Some(("check", flags)) => Ok(Invocation::Check(gather(flags))),
        Some(("queue", flags)) => {
            let (verb, flags) = flags.subcommand().ok_or(Exit::Usage)?;
            let request = queue::Request::of(verb, flags).map_err(|problem| {
                eprintln!("error: {problem}");
                Exit::Usage
            })?;
            Ok(Invocation::Queue(gather(flags), Box::new(request)))
        }
        Some((name, flags)) => {
            let extra = extras.iter().find(|extra| extra.name == name).ok_or(Exit::Usage)?;
            Ok(Invocation::Extra(extra, gather(flags), Box::new(flags.clone())))
        }
        None => Err(Exit::Usage),
    }
}

fn is_given(flags: &ArgMatches, name: &str) -> bool {
    flags.try_contains_id(name).unwrap_or(false)
        && flags.value_source(name) == Some(ValueSource::CommandLine)
}

fn command(scope: &'static Scope, about: &'static str, extras: &'static [Extra]) -> Command {
    let config =
        Arg::new("config").long("config").value_name("FILE").help("The configuration file");
    let with_settings = |command: Command| {
        command
            .arg(config.clone())
            .args(settings::arguments(scope))
            .after_help(settings::settings_without_flag(scope))
    };
    Command::new(scope.program)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(Command::new("serve").about("Take mail and pass it on")))
        .subcommand(with_settings(
            Command::new("check")
                .about("Read the configuration as serve would, and say what it is")
                .long_about(
                    "Read the configuration as serve would, and say what it is. With --spool, look at the \
                     files of that spool and nothing else, and change nothing: exit code 65 when \
                     something is damaged",
                ),
        ))
        .subcommand(queue::command(scope, &config))
        .subcommands(extras.iter().map(|extra| with_settings((extra.command)(extra.name))))
}
