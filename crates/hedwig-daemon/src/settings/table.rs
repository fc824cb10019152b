/// One thing that can be set: its name in every source, what it is for, and what holds without it.
///
/// ```
/// use hedwig_daemon::settings::Setting;
///
/// static LISTEN: Setting = Setting::list("smtp", "listen", "ADDR")
///     .flag("listen")
///     .help("Take mail over SMTP here")
///     .default("127.0.0.1:25");
/// assert_eq!(LISTEN.name(), "[smtp] listen");
/// ```
#[derive(Debug)]
pub struct Setting {
    /// The section of the configuration file.
    pub section: &'static str,
    /// The key in that section.
    pub key: &'static str,
    /// How a value is called in the help, `ADDR` say.
    pub value_name: &'static str,
    /// What sort of value it has.
    pub kind: Kind,
    /// The flag without its hyphens, if there is one.
    pub flag: Option<&'static str>,
    /// What it does, in a sentence without a full stop.
    pub help: &'static str,
    /// What holds when nothing is said.
    pub default: Option<&'static str>,
    /// A value as it should be written; error messages show it.
    pub example: Option<&'static str>,
    /// Whether each table `[section.NAME]` has a value of its own; see [`named`](Self::named).
    pub is_named: bool,
    /// Whose value holds when nothing is said.
    pub otherwise: Option<&'static Setting>,
}

/// The sorts of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Text,
    /// Any number of texts: an array in the file, commas or lines in a variable, a repeated flag.
    List,
    /// `true` or `false`; as a flag, without a value.
    Switch,
    /// Texts that nobody may see. The flag names a file with one in each line: arguments are public.
    Secret,
}

impl Setting {
    /// A setting with one value.
    #[must_use]
    pub const fn text(section: &'static str, key: &'static str, value_name: &'static str) -> Self {
        Self {
            section,
            key,
            value_name,
            kind: Kind::Text,
            flag: None,
            help: "",
            default: None,
            example: None,
            is_named: false,
            otherwise: None,
        }
    }

    /// A setting with any number of values.
    #[must_use]
    pub const fn list(section: &'static str, key: &'static str, value_name: &'static str) -> Self {
        Self { kind: Kind::List, ..Self::text(section, key, value_name) }
    }

    /// A setting that is on or off; off by default.
    #[must_use]
    pub const fn switch(section: &'static str, key: &'static str) -> Self {
        let text = Self::text(section, key, "true|false");
        Self { kind: Kind::Switch, default: Some("false"), ..text }
    }

    /// A setting with secret values.
    #[must_use]
    pub const fn secret(section: &'static str, key: &'static str) -> Self {
        Self { kind: Kind::Secret, ..Self::text(section, key, "F") }
    }

    /// The same setting, with a flag.
    #[must_use]
    pub const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    /// The same setting, with what it does.
    #[must_use]
    pub const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    /// The same setting, with a default.
    #[must_use]
    pub const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The same setting, with an example of a value.
    #[must_use]
    pub const fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    /// The same setting, in every table `[section.NAME]` that there is: for things of which an operator has
    /// several. Its variables are `PREFIX_SECTION_NAME_KEY`; it has no flag.
    #[must_use]
    pub const fn named(self) -> Self {
        Self { is_named: true, ..self }
    }

    /// The same setting; when nothing is said, another one's value holds.
    #[must_use]
    pub const fn otherwise(self, other: &'static Setting) -> Self {
        Self { otherwise: Some(other), ..self }
    }

    /// Its name as the configuration file has it: `[section] key`, or `[section.NAME] key`.
    #[must_use]
    pub fn name(&self) -> String {
        self.name_in("NAME")
    }

    /// Its name in the table of this name.
    pub(crate) fn name_in(&self, table: &str) -> String {
        let (section, key) = (self.section, self.key);
        if self.is_named {
            format!("[{section}.{table}] {key}")
        } else {
            format!("[{section}] {key}")
        }
    }

    /// What holds when nothing is said, in words.
    pub(crate) fn default_in_words(&self) -> Option<String> {
        let other = self.otherwise.map(|other| format!("as {}", other.name()));
        other.or_else(|| self.default.map(str::to_owned))
    }

    /// Whether this is the same setting as another.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.section, self.key, self.is_named) == (other.section, other.key, other.is_named)
    }

    /// A value as it should be written, if one is known.
    pub(crate) fn model(&self) -> Option<&'static str> {
        let other = || self.otherwise.and_then(Self::model);
        self.example.or(self.default).or_else(other)
    }
}
