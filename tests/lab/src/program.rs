//! A program that can be either daemon: `PROGRAM mailman serve ...` and `PROGRAM postoffice serve ...`.
//!
//! An example or a benchmark starts itself again as a daemon, so that it needs nothing installed.

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use tokio::process::Command;

/// Which half of Hedwig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The one where mail is born.
    Mailman,
    /// The one that delivers.
    Postoffice,
}

impl Half {
    /// Its name as a first argument.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mailman => "mailman",
            Self::Postoffice => "postoffice",
        }
    }
}

/// The daemon's whole run, if the first argument asks for one; `None` when this is something else.
#[must_use]
pub fn run_as_daemon() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let half = arguments.next()?;
    let half = [Half::Mailman, Half::Postoffice].into_iter().find(|h| half == h.name())?;
    let name = OsString::from(format!("hedwig-{}", half.name()));
    let arguments = std::iter::once(name).chain(arguments);
    Some(match half {
        Half::Mailman => hedwig_mailman::run(arguments),
        Half::Postoffice => hedwig_postoffice::run(arguments),
    })
}

/// Where the program is that can be either daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    wrapper: Vec<OsString>,
}

impl Program {
    /// The program at this path: in an integration test, `env!("CARGO_BIN_EXE_hedwig-lab")`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), wrapper: Vec::new() }
    }

    /// The running program itself, whose `main` begins with [`run_as_daemon`].
    ///
    /// # Errors
    /// When the system does not tell where it is.
    pub fn this() -> io::Result<Self> {
        std::env::current_exe().map(Self::at)
    }

    /// The same program, run by these words: `prlimit --nofile=64`, say.
    #[must_use]
    pub fn wrapped<S: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// A command that runs one of the halves, with nothing in its environment that would change it.
    #[must_use]
    pub fn command(&self, half: Half) -> Command {
        let mut words = self.wrapper.iter().map(OsString::as_os_str).chain([self.path.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or(self.path.as_os_str()));
        command.args(words).arg(half.name());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEDWIG_") {
                command.env_remove(name);
            }
        }
        command
    }
}
