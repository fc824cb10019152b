//! The clock of one daemon, which can be set while the daemon runs: libfaketime stands between it and the
//! system's clock. The monotonic clock goes on as it does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use hedwig_lab::DaemonOptions;
use tempfile::TempDir;

/// Where Debian's package libfaketime puts it, below the directory of an architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const LIBRARIES: &str = "/usr/lib";
/// Where libfaketime keeps a process' share of it, and under which names, to which the process id is added.
const SHARED_MEMORY: &str = "/dev/shm";
const SHARED: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];

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

/// Removes what a process that went by such a clock has left in shared memory: one that is killed cannot do so itself.
pub(crate) fn forget(process: u32) -> io::Result<()> {
    for path in shared_by(process) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn shared_by(process: u32) -> [PathBuf; 2] {
    SHARED.map(|name| Path::new(SHARED_MEMORY).join(format!("{name}{process}")))
}

fn library() -> Option<PathBuf> {
    let architectures = fs::read_dir(LIBRARIES).ok()?;
    architectures.flatten().map(|entry| entry.path().join(LIBRARY)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        process::Stdio,
    };

    use super::*;

    #[test]
    fn nothing_stays_in_memory_of_a_process_that_was_killed() {
        let clock = FakeClock::new().unwrap();
        let mut cat = Command::new("cat");
        cat.envs(clock.environment()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = cat.spawn().unwrap();
        // Once it answers, it has its clock.
        writeln!(process.stdin.as_ref().unwrap(), "there?").unwrap();
        let mut answer = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let left = || shared_by(process.id()).map(|path| path.exists());
        assert_eq!(left(), [clock.can_be_set(); 2]);
        forget(process.id()).unwrap();
        assert_eq!(left(), [false; 2]);
    }
}
