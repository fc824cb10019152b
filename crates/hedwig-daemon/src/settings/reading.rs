use std::{fmt::Display, str::FromStr};

use super::{Place, Problem, Problems, Setting, Settings, Value};

/// Turns the text of settings into values, and keeps all that is wrong.
///
/// Each read gives `None` when the value is wrong or missing; [`finish`](Self::finish) then tells
/// everything at once:
///
/// ```
/// # use hedwig_daemon::settings::*;
/// # static PORT: Setting = Setting::text("mx", "port", "PORT").default("25");
/// # static SCOPE: Scope = Scope { program: "d", variable_prefix: "D", file_default: "/none", table: &[&PORT] };
/// let settings = Settings::gather(&SCOPE, Sources::default());
/// let mut read = Reading::of(&settings);
/// let port = read.one::<u16>(&PORT);
/// assert_eq!(read.finish(|| port).unwrap(), 25);
/// ```
#[derive(Debug)]
pub struct Reading<'a> {
    settings: &'a Settings,
    /// The name of the table that is being read; empty outside of [`each`](Self::each).
    table: String,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Reading<'a> {
    /// A reading of these settings. What was wrong in gathering them is wrong here too.
    #[must_use]
    pub fn of(settings: &'a Settings) -> Self {
        let (table, problems) = (String::new(), settings.problems.clone());
        Self { settings, table, problems, warnings: Vec::new() }
    }

    /// The value of a setting that must have one.
    pub fn one<T: FromStr<Err: Display>>(&mut self, setting: &Setting) -> Option<T> {
        let value = self.optional(setting)?;
        if value.is_none() {
            let scope = self.settings.scope;
            let flag = setting.flag.map_or_else(String::new, |flag| format!("--{flag}, "));
            let what = format!(
                "{} is missing; set it with {flag}{} or in the configuration file",
                setting.name_in(&self.table),
                scope.variable_in(setting, &self.table)
            );
            self.problems.push(match self.place(setting) {
                Place::Default => Problem::general(what),
                place => Problem::at(&place, what),
            });
        }
        value
    }

    /// The value of a setting that may have none. `None` means that it is wrong.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, setting: &Setting) -> Option<Option<T>> {
        Some(self.many(setting)?.into_iter().next())
    }

    /// The values of a setting that may have any number of them.
    pub fn many<T: FromStr<Err: Display>>(&mut self, setting: &Setting) -> Option<Vec<T>> {
        let values = self.values(setting);
        let parsed: Vec<Option<T>> =
            values.iter().map(|value| self.parse(setting, value)).collect();
        parsed.into_iter().collect()
    }

    /// Reads every table `[section.NAME]`, in the order of their names: `read` is called with each name, and what it
    /// asks of [named](Setting::named) settings is answered from that table.
    pub fn each<T>(
        &mut self,
        section: &'static str,
        mut read: impl FnMut(&mut Self, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let settings = self.settings;
        let names = settings.tables.keys().filter(|(its, _)| *its == section).map(|(_, name)| name);
        let tables: Vec<Option<T>> = names
            .map(|name| {
                self.table.clone_from(name);
                read(self, name)
            })
            .collect();
        self.table.clear();
        tables.into_iter().collect()
    }

    /// Whether anything was said of a setting, in the table that is being read if it is a named one.
    #[must_use]
    pub fn is_set(&self, setting: &Setting) -> bool {
        self.settings.values(setting, &self.table).is_some()
    }

    /// Says that the value of a setting is wrong for a reason that its text alone does not show.
    pub fn wrong(&mut self, setting: &Setting, reason: impl Display) {
        let what = format_args!("{}: {reason}", setting.name_in(&self.table));
        self.problems.push(Problem::at(&self.place(setting), what));
    }

    /// Says something of a setting that an operator should know, and that is no error.
    pub fn warn(&mut self, setting: &Setting, reason: impl Display) {
        let what = format_args!("{}: {reason}", setting.name_in(&self.table));
        self.warnings.push(Problem::at(&self.place(setting), what));
    }

    /// What an operator should know.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Where a setting's value comes from; for one that a table leaves out, where that table is.
    #[must_use]
    pub fn place(&self, setting: &Setting) -> Place {
        let said = self.settings.values(setting, &self.table).and_then(<[Value]>::first);
        let table = || self.settings.tables.get(&(setting.section, self.table.clone()));
        let place = said.map(|value| &value.place).or_else(|| table().filter(|_| setting.is_named));
        place.cloned().unwrap_or(Place::Default)
    }

    /// What was built from the values read, unless something was wrong.
    ///
    /// # Errors
    /// With every problem there is.
    pub fn finish<C>(self, build: impl FnOnce() -> Option<C>) -> Result<C, Problems> {
        match build() {
            Some(built) if self.problems.is_empty() => Ok(built),
            // A value is missing only after its problem was noted.
            _ => Err(Problems(self.problems)),
        }
    }

    fn values(&self, setting: &Setting) -> Vec<Value> {
        if let Some(values) = self.settings.values(setting, &self.table) {
            return values.to_vec();
        }
        // The table's own default: a setting that several daemons share may have another in each.
        let entry = self.settings.entry(setting);
        if let Some(other) = entry.otherwise {
            return self.values(other);
        }
        let default = entry.default.into_iter();
        default.map(|text| Value { text: text.to_owned(), place: Place::Default }).collect()
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, setting: &Setting, value: &Value) -> Option<T> {
        let parsed = value.text.parse();
        let name = setting.name_in(&self.table);
        let wrong = |error| Problem::value((setting, &name), &value.place, &value.text, error);
        parsed.map_err(|error| self.problems.push(wrong(error))).ok()
    }
}
