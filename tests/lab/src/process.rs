//! A child process whose log is kept, and which does not outlive the test.

use std::{
    fmt, io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::{LabError, Result};

/// How long anything in the laboratory may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A program that runs, and all it has written so far.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Log,
}

impl Process {
    /// Starts a program; what it writes to standard output and standard error is kept.
    ///
    /// # Errors
    /// When it cannot be started; a missing program is told with the Debian package that has it.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let program = command.as_std().get_program().to_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| LabError::program(&program, &error))?;
        let log = Log::default();
        if let Some(output) = child.stdout.take() {
            log.follow(output);
        }
        if let Some(output) = child.stderr.take() {
            log.follow(output);
        }
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id.
    ///
    /// # Errors
    /// When the process has ended and was waited for.
    pub fn id(&self) -> Result<u32> {
        self.child.id().ok_or_else(|| LabError::new(format!("{} does not run", self.name)).into())
    }

    /// The most memory that the process has had at one time, in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn peak_memory_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        let kibibytes: u64 = kibibytes.ok_or_else(|| LabError::new("no VmHWM in its status"))?;
        Ok(kibibytes * 1024)
    }

    /// Waits for the first line in which `find` finds something, from the beginning of the log.
    ///
    /// # Errors
    /// With the whole log, when the process ends or is silent for [`PATIENCE`] without such a line.
    pub async fn find_in_log<T>(&mut self, mut find: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let mut lines = self.log.lines.subscribe();
        let mut seen = 0;
        let search = async {
            loop {
                let found = {
                    let lines = lines.borrow_and_update();
                    let found = lines[seen..].iter().find_map(|line| find(line));
                    seen = lines.len();
                    found
                };
                if let Some(found) = found {
                    return Some(found);
                }
                tokio::select! {
                    _ = lines.changed() => {}
                    _ = self.child.wait() => {
                        // What it wrote last may still be on its way through the pipe.
                        if timeout(Duration::from_millis(200), lines.changed()).await.is_err() {
                            return None;
                        }
                    }
                }
            }
        };
        match timeout(PATIENCE, search).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(self.complain("ended before it said what was waited for")),
            Err(_) => Err(self.complain("did not say in time what was waited for")),
        }
    }

    /// All the lines written so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines.borrow().clone()
    }

    /// Asks the process to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// With the log, when it does not end within [`PATIENCE`].
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait().await
    }

    /// Ends the process as a power cut would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait().await.map(drop)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id()?)?;
        let id = Pid::from_raw(id).ok_or_else(|| LabError::new("a process id of 0"))?;
        Ok(kill_process(id, signal)?)
    }

    /// Whether the process has ended.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// With the log, when it does not end within [`PATIENCE`].
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => Err(self.complain("did not end in time")),
        }
    }

    fn complain(&self, problem: &str) -> crate::BoxError {
        LabError::new(format!("{} {problem}\n{}", self.name, self.log)).into()
    }
}

/// A failing test shows what its processes had to say.
impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log);
        }
    }
}

#[derive(Clone, Debug)]
struct Log {
    lines: watch::Sender<Vec<String>>,
}

impl Default for Log {
    fn default() -> Self {
        Self { lines: watch::Sender::new(Vec::new()) }
    }
}

impl Log {
    fn follow(&self, output: impl AsyncRead + Send + Unpin + 'static) {
        let log = self.clone();
        tokio::spawn(async move {
            if let Err(error) = log.read(output).await {
                log.lines.send_modify(|lines| lines.push(format!("(log lost: {error})")));
            }
        });
    }

    async fn read(&self, output: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await? > 0 {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.lines.send_modify(|lines| lines.push(text));
            line.clear();
        }
        Ok(())
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.borrow().iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::spawn("shell", command).unwrap()
    }

    #[tokio::test]
    async fn a_line_is_found_though_it_was_written_before_and_the_process_has_ended() {
        let mut process = shell("echo one; echo two >&2");
        let find = |wanted: &'static str| move |line: &str| (line == wanted).then_some(());
        process.find_in_log(find("two")).await.unwrap();
        process.find_in_log(find("one")).await.unwrap();
        let error = process.find_in_log(find("three")).await.unwrap_err().to_string();
        assert!(error.contains("ended before") && error.contains("one"), "{error}");
    }

    #[tokio::test]
    async fn a_process_ends_when_it_is_told_to() {
        let mut process = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        process.find_in_log(|line| (line == "ready").then_some(())).await.unwrap();
        assert_eq!(process.terminate().await.unwrap().code(), Some(7));
        assert!(process.terminate().await.is_err());
    }

    #[tokio::test]
    async fn a_missing_program_is_told_by_name() {
        let error = Process::spawn("x", Command::new("/nowhere/smtp-sink")).unwrap_err();
        assert!(error.to_string().contains("./test"), "{error}");
    }
}
