//! The flags: made from the table, and read back into it.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches};

use super::{Kind, Place, Problem, Scope, Setting, Settings, Value, split};

/// What a file with a value may hold.
const VALUE_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The flags of a table.
pub(crate) fn arguments(scope: &Scope) -> Vec<Arg> {
    let with_flag = scope.table.iter().filter_map(|setting| Some((*setting, setting.flag?)));
    with_flag.map(|(setting, flag)| argument(scope, setting, flag)).collect()
}

fn argument(scope: &Scope, setting: &'static Setting, flag: &'static str) -> Arg {
    let mut help = setting.help.to_owned();
    if let Some(default) = setting.default_in_words().filter(|_| setting.kind != Kind::Switch) {
        help += &format!(" [default: {default}]");
    }
    help += &format!(" [{}; {}]", setting.name(), scope.variable(setting));
    let argument = Arg::new(flag).long(long(setting, flag)).help(help);
    match setting.kind {
        Kind::Switch => argument.action(ArgAction::SetTrue),
        Kind::List => {
            argument.value_name(setting.value_name).num_args(1..).action(ArgAction::Append)
        }
        Kind::Text | Kind::Secret => argument.value_name(setting.value_name),
    }
}

/// The settings that have no flag, for the end of the help.
pub(crate) fn settings_without_flag(scope: &Scope) -> String {
    let mut text = String::from("Settings without a flag:\n");
    for setting in scope.table.iter().filter(|setting| setting.flag.is_none()) {
        let default =
            setting.default_in_words().map_or_else(String::new, |d| format!(" [default: {d}]"));
        let (name, variable) = (setting.name(), scope.variable(setting));
        text += &format!("  {name}, {variable}\n          {}{default}\n", setting.help);
    }
    text += &format!("\nThe configuration file may also be named by {}", scope.file_variable());
    text += &format!("; without either, {} is read if it exists.", scope.file_default);
    text
}

fn long(setting: &Setting, flag: &str) -> String {
    if setting.kind == Kind::Secret { format!("{flag}-file") } else { flag.to_owned() }
}

pub(super) fn read(settings: &mut Settings, matches: &ArgMatches) {
    for &setting in settings.scope.table {
        let Some(flag) = setting.flag else { continue };
        // A command may have only some of the flags.
        if !matches.try_contains_id(flag).unwrap_or(false) {
            continue;
        }
        let name = format!("--{}", long(setting, flag));
        match setting.kind {
            Kind::Switch => {
                if matches.get_flag(flag) {
                    let value = Value { text: "true".to_owned(), place: Place::Flag(name) };
                    settings.replace(setting, "", vec![value]);
                }
            }
            Kind::Secret => {
                if let Some(path) = matches.get_one::<String>(flag) {
                    read_value_file(settings, (setting, ""), path.as_ref(), name);
                }
            }
            Kind::Text | Kind::List => {
                let texts = matches.get_many::<String>(flag).into_iter().flatten();
                let value =
                    |text: &String| Value { text: text.clone(), place: Place::Flag(name.clone()) };
                settings.replace(setting, "", texts.map(value).collect());
            }
        }
    }
}

/// Reads a value from a file that `by` names. White space at its end does not count.
pub(super) fn read_value_file(
    settings: &mut Settings,
    (setting, table): (&'static Setting, &str),
    path: &Path,
    by: String,
) {
    let place = Place::Named { path: path.to_owned(), by };
    let name = setting.name_in(table);
    match read_bounded(path) {
        Err(error) => {
            let what = format!("{name} cannot be read from this file: {error}");
            settings.problem(Problem::at(&place, what));
        }
        Ok(text) => {
            let texts = split(setting.kind, &text);
            if texts.is_empty() {
                let what = format!("{name}: this file is empty");
                settings.problem(Problem::at(&place, what));
            }
            let values = texts.into_iter().map(|text| Value { text, place: place.clone() });
            settings.replace(setting, table, values.collect());
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind, Read};
    let mut text = String::new();
    std::fs::File::open(path)?.take(VALUE_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > VALUE_FILE_BYTES_MAX {
        return Err(Error::new(ErrorKind::FileTooLarge, "it is larger than 64 KiB"));
    }
    Ok(text)
}
