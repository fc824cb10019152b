//! `hedwig-mailman user add|list|remove`.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, ArgMatches, Command, error::ErrorKind, value_parser};
use hedwig_daemon::{
    Exit,
    settings::{Problems, Reading, Settings, Sources},
};
use hedwig_envelope::BoxError;

use super::{User, Users, file::check_name, password};
use crate::{SCOPE, front_door::USERS_FILE};

/// Whether these arguments, the first being the program's name, are for this command.
pub(crate) fn is_called(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|word| word == OsStr::new("user"))
}

/// Does what the arguments behind the program's name ask for. A password is read from standard input,
/// never from an argument, which everybody on the host could see.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // If it cannot be written, the exit code still tells.
            let _ = error.print();
            let is_help = error.kind() == ErrorKind::DisplayHelp;
            return if is_help { Exit::Done } else { Exit::Usage }.into();
        }
    };
    let Some((verb, flags)) = matches.subcommand() else { return Exit::Usage.into() };
    let done = match file(flags) {
        Ok(Some(file)) => act(verb, flags, &file),
        Ok(None) => {
            eprintln!("error: {} is not set, and no --file is given", USERS_FILE.name());
            Ok(Exit::Configuration)
        }
        Err(problems) => {
            problems.0.iter().for_each(|problem| eprintln!("error: {problem}"));
            Ok(Exit::Configuration)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Refused
    })
    .into()
}

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The configuration file");
    let file = Arg::new("file")
        .long("file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The file of users; [users] file of the configuration if not given");
    let verb = |name: &'static str| Command::new(name).args([config.clone(), file.clone()]);
    let name = Arg::new("name").value_name("NAME").required(true);
    Command::new("user")
        .bin_name("hedwig-mailman user")
        .about("Say who may authenticate, and then send anywhere")
        .subcommand_required(true)
        .subcommand(verb("add").arg(name.clone()).about(
            "Add a user, or change a password: it is asked for, or is the first line of standard input",
        ))
        .subcommand(verb("list").about("List the users"))
        .subcommand(verb("remove").arg(name).about("Remove a user"))
}

fn file(flags: &ArgMatches) -> Result<Option<PathBuf>, Problems> {
    if let Some(file) = flags.get_one::<PathBuf>("file") {
        return Ok(Some(file.clone()));
    }
    let environment = std::env::vars_os().collect();
    let file = flags.get_one::<PathBuf>("config").cloned();
    let settings = Settings::gather(&SCOPE, Sources { file, environment, flags: None });
    let mut read = Reading::of(&settings);
    let file = read.optional::<PathBuf>(&USERS_FILE);
    read.finish(|| file)
}

fn act(verb: &str, flags: &ArgMatches, file: &Path) -> Result<Exit, BoxError> {
    let name = || flags.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    match verb {
        "add" => {
            let name = name();
            // Before anybody types a password in vain.
            check_name(name)?;
            let user = User::with_password(&password::ask(name)?)?;
            let is_changed = Users::update(file, |users| users.insert(name, user))?;
            println!("{} {name}", if is_changed { "changed" } else { "added" });
        }
        "remove" => {
            let name = name();
            Users::update(file, |users| users.remove(name))?;
            println!("removed {name}");
        }
        _ => Users::read(file)?.names().for_each(|name| println!("{name}")),
    }
    Ok(Exit::Done)
}
