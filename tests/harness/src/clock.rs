//! The clock of one daemon, which can be set while the daemon runs: libfaketime stands between it and the
//! system's clock. The monotonic clock goes on as it does.

use std::{fs, io, path::PathBuf, process::Command};

use hedwig_lab::DaemonOptions;
use tempfile::TempDir;

/// Where Debian's package libfaketime puts it, below the directory of an architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const LIBRARIES: &str = "/usr/lib";

/// Seconds before or after the right time.
pub(crate) struct FakeClock {
    directory: TempDir,
    library: Option<PathBuf>,
}

impl FakeClock {
    /// One that is right. It cannot be set where there is no libfaketime that works.
    pub(crate) fn new() -> io::Result<Self> {
        let directory = TempDir::with_prefix("hedwig-harness-clock-")?;
        let clock = Self { directory, library: library() };
        clock.set_ahead(0)?;
        Ok(clock)
    }

    pub(crate) fn can_be_set(&self) -> bool {
        self.library.is_some()
    }

    /// Lets a daemon go by this clock.
    pub(crate) fn given_to(&self, mut options: DaemonOptions) -> DaemonOptions {
        options.environment.extend(self.environment());
        options
    }

    /// Sets it. A daemon goes by it within a second.
    pub(crate) fn set_ahead(&self, seconds: i64) -> io::Result<()> {
        // Renamed, so that nobody reads half of it.
        let draft = self.directory.path().join("draft");
        fs::write(&draft, format!("{seconds:+}\n"))?;
        fs::rename(draft, self.file())
    }

    /// Asks date(1), which goes by it too, how far ahead it is.
    ///
    /// # Errors
    /// When it does not run or says something else.
    pub(crate) fn ahead_seconds(&self) -> Result<i64, hedwig_lab::BoxError> {
        let date = |environment: Vec<(String, String)>| -> Result<i64, hedwig_lab::BoxError> {
            let output = Command::new("date").arg("+%s").envs(environment).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().parse()?)
        };
        Ok(date(self.environment())? - date(Vec::new())?)
    }

    fn environment(&self) -> Vec<(String, String)> {
        let Some(library) = &self.library else { return Vec::new() };
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ahead")
    }
}

fn library() -> Option<PathBuf> {
    let architectures = fs::read_dir(LIBRARIES).ok()?;
    architectures.flatten().map(|entry| entry.path().join(LIBRARY)).find(|path| path.exists())
}
