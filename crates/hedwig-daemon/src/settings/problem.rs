use std::{fmt, path::PathBuf};

use super::{Kind, Setting};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a line of the configuration file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// In an environment variable.
    Variable(String),
    /// In a file that something names: a variable, a key of the configuration file, or a flag.
    Named {
        /// The file.
        path: PathBuf,
        /// What names it.
        by: String,
    },
    /// In a flag, with its hyphens.
    Flag(String),
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "{name}"),
            Self::Named { path, by } => write!(f, "{} ({by})", path.display()),
            Self::Flag(name) => write!(f, "{name}"),
            Self::Default => write!(f, "default"),
        }
    }
}

/// What is wrong with a setting: the place, the value, the reason and the way out, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    text: String,
}

impl Problem {
    /// Something wrong at a place, told in full.
    #[must_use]
    pub fn at(place: &Place, what: impl fmt::Display) -> Self {
        Self::general(format_args!("{place}: {what}"))
    }

    /// Something wrong with the whole.
    #[must_use]
    pub fn general(what: impl fmt::Display) -> Self {
        let text = what.to_string();
        Self { text: text.replace(|c: char| c.is_control(), " ") }
    }

    /// A value that does not fit its setting. A secret is not shown.
    pub(crate) fn value(
        (setting, name): (&Setting, &str),
        place: &Place,
        text: &str,
        reason: impl fmt::Display,
    ) -> Self {
        let mut what = name.to_owned();
        if setting.kind != Kind::Secret {
            what += &format!(" = {:?}", clip(text));
        }
        what += &format!(": {reason}");
        if let Some(model) = setting.model() {
            what += &format!("; write it like {model}");
        }
        Self::at(place, what)
    }
}

/// As much of a value as a message should show.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All that is wrong with a configuration; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for problem in &self.0 {
            write!(f, "{separator}{problem}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
