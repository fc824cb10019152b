//! Settings: one table, from which the file, the environment, the flags and the help all follow.
//!
//! A daemon lists what can be set as [`Setting`]s. [`Settings::gather`] collects the values as text,
//! each with the [`Place`] it came from: a flag goes over an environment variable, that over the
//! configuration file, that over the default. A [`Reading`] turns the text into values and keeps all
//! that is wrong with it, so that an operator sees every mistake at once.
//!
//! Of what an operator has several, each has a table with a name that the operator gives: `[listener.NAME]`. Their
//! settings are [named](Setting::named), and a reading goes through the tables one [by](Reading::each) one.

mod environment;
mod file;
mod flags;
mod problem;
mod reading;
mod table;
mod units;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

pub use problem::{Place, Problem, Problems};
pub use reading::Reading;
pub use table::{Kind, Setting};
pub use units::{Size, Span, UnitError};

pub(crate) use flags::{arguments, settings_without_flag};

/// Whose settings they are: what the names in the three sources are made of.
#[derive(Debug)]
pub struct Scope {
    /// The program's name, `hedwig-mailman`.
    pub program: &'static str,
    /// What its environment variables begin with, `HEDWIG_MAILMAN`.
    pub variable_prefix: &'static str,
    /// The configuration file that is read when none is named and this one exists.
    pub file_default: &'static str,
    /// All that can be set.
    pub table: &'static [&'static Setting],
}

impl Scope {
    /// The environment variable that stands for a setting.
    #[must_use]
    pub fn variable(&self, setting: &Setting) -> String {
        self.variable_in(setting, "NAME")
    }

    /// The environment variable that stands for a setting in the table of this name.
    pub(crate) fn variable_in(&self, setting: &Setting, table: &str) -> String {
        let table = if setting.is_named { format!("{table}_") } else { String::new() };
        let (section, key) = (setting.section, setting.key);
        format!("{}_{section}_{table}{key}", self.variable_prefix).to_uppercase()
    }

    /// The environment variable that names the configuration file.
    #[must_use]
    pub fn file_variable(&self) -> String {
        format!("{}_CONFIG", self.variable_prefix)
    }
}

/// Where settings come from.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// The flags; absent for a command that has none.
    pub flags: Option<&'a clap::ArgMatches>,
    /// The configuration file that a flag names.
    pub file: Option<PathBuf>,
    /// The environment, usually [`std::env::vars_os`].
    pub environment: Vec<(OsString, OsString)>,
}

/// A value as it was written, and where.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// The values of all settings, still as text.
///
/// Its `Debug` tells no value: some are secret.
pub struct Settings {
    scope: &'static Scope,
    /// What was said, by the setting's place in the scope's table and the name of the operator's; the name is empty for
    /// settings that have no such table.
    values: BTreeMap<(usize, String), Vec<Value>>,
    /// Where each named table was first spoken of, by section and name.
    tables: BTreeMap<(&'static str, String), Place>,
    problems: Vec<Problem>,
    file: Option<PathBuf>,
}

impl Settings {
    /// Collects the values from their sources. What is wrong is kept, and told by a [`Reading`].
    #[must_use]
    pub fn gather(scope: &'static Scope, sources: Sources<'_>) -> Self {
        let mut settings = Self {
            scope,
            values: BTreeMap::new(),
            tables: BTreeMap::new(),
            problems: Vec::new(),
            file: None,
        };
        settings.file = settings.find_file(&sources);
        if let Some(path) = settings.file.clone() {
            file::read(&mut settings, &path);
        }
        environment::read(&mut settings, &sources.environment);
        if let Some(flags) = sources.flags {
            flags::read(&mut settings, flags);
        }
        settings
    }

    /// The configuration file that was read, if any.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }

    fn find_file(&self, sources: &Sources<'_>) -> Option<PathBuf> {
        let variable = self.scope.file_variable();
        let named = sources.environment.iter().find(|(name, _)| *name == *variable);
        let default = || Some(PathBuf::from(self.scope.file_default)).filter(|path| path.exists());
        sources.file.clone().or_else(|| named.map(|(_, path)| path.into())).or_else(default)
    }

    /// Puts the values of a source in the place of those of a lesser one. `table` is the name of the table that
    /// they stand in, and empty for a setting that is not named.
    fn replace(&mut self, setting: &Setting, table: &str, values: Vec<Value>) {
        let key = (self.index(setting), table.to_owned());
        self.values.insert(key, values);
    }

    /// Remembers a named table.
    fn found_table(&mut self, section: &'static str, name: &str, place: &Place) {
        self.tables.entry((section, name.to_owned())).or_insert_with(|| place.clone());
    }

    /// What was said of a setting; `None` when nothing was.
    fn values(&self, setting: &Setting, table: &str) -> Option<&[Value]> {
        let table = if setting.is_named { table } else { "" };
        self.values.get(&(self.index(setting), table.to_owned())).map(Vec::as_slice)
    }

    fn entry(&self, setting: &Setting) -> &'static Setting {
        self.scope.table[self.index(setting)]
    }

    fn index(&self, setting: &Setting) -> usize {
        let found = self.scope.table.iter().position(|entry| entry.is(setting));
        found.unwrap_or_else(|| panic!("{} is not in the table", setting.name()))
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("program", &self.scope.program)
            .field("file", &self.file)
            .field("problems", &self.problems.len())
            .finish_non_exhaustive()
    }
}

/// The known name nearest to a mistyped one, if one is near at all.
fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Whether a text can name a table: short, and the same in a variable, where it stands in capitals between underscores.
fn is_table_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=32).contains(&text.len()) && text.bytes().all(is_plain)
}

/// The values in a text from outside the configuration file: those of a list stand in lines of their
/// own or between commas, secrets in lines.
fn split(kind: Kind, text: &str) -> Vec<String> {
    let separator = match kind {
        Kind::Text | Kind::Switch => return vec![text.trim_end().to_owned()],
        Kind::List if !text.trim().contains('\n') => ',',
        Kind::List | Kind::Secret => '\n',
    };
    text.split(separator).map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod named_tests;
#[cfg(test)]
mod tests;
