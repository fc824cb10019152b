use std::{ffi::OsStr, fmt, io};

/// Any error; a test shows it and fails.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the laboratory returns.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

/// Why the laboratory could not do what it was asked.
#[derive(Debug)]
pub struct LabError(String);

impl LabError {
    /// An error that says this.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A program that cannot be started, and where to get it.
    pub(crate) fn program(program: &OsStr, error: &io::Error) -> Self {
        let hint = if error.kind() == io::ErrorKind::NotFound {
            "; ./test installs the Debian packages that the tests need (tests/packages.txt)"
        } else {
            ""
        };
        Self(format!("cannot start {}: {error}{hint}", program.display()))
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LabError {}
