//! A host on which programs call `sendmail`: the real binary, with settings of its own.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Nobody listens there.
pub(crate) const NOBODY: &str = "127.0.0.1:9";

/// The settings of a host, as every program on it has them in its environment.
pub(crate) struct Host {
    pub(crate) spool: PathBuf,
    pub(crate) server: String,
    programs: tempfile::TempDir,
    program: Option<PathBuf>,
}

impl Host {
    /// A host with this spool, whose mailman listens there.
    pub(crate) fn new(spool: impl Into<PathBuf>, server: impl ToString) -> Self {
        let programs = tempfile::tempdir().unwrap();
        for name in ["sendmail", "mailq", "newaliases"] {
            symlink(env!("CARGO_BIN_EXE_hedwig-mailman"), programs.path().join(name)).unwrap();
        }
        Self { spool: spool.into(), server: server.to_string(), programs, program: None }
    }

    /// A host with an empty spool on which no daemon runs.
    pub(crate) fn without_daemon(directory: &Path) -> Self {
        let spool = directory.join("spool");
        fs::create_dir(&spool).unwrap();
        Self::new(spool, NOBODY)
    }

    /// The path of `sendmail`, `mailq` or `newaliases`.
    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.programs.path().join(program)
    }

    /// A command with this host's settings and little else in its environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LOGNAME", "alice");
        for (name, value) in self.settings() {
            command.env(format!("HEDWIG_MAILMAN_{name}"), value);
        }
        command
    }

    fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("CONFIG", "/dev/null".into()),
            ("SPOOL_DIR", self.spool.display().to_string()),
            ("SMTP_LISTEN", self.server.clone()),
            ("SERVER_HOSTNAME", "host.example.org".into()),
            ("MAIL_DOMAIN", "example.org".into()),
        ]
    }

    /// Calls `sendmail`.
    pub(crate) fn sendmail(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(self.path("sendmail"));
        command.args(arguments);
        run(command, input)
    }

    /// Calls `sendmail` as another user.
    pub(crate) fn sendmail_as(&self, user: u32, arguments: &[&str], input: &str) -> Ended {
        let program = self.program.clone().unwrap_or_else(|| self.path("sendmail"));
        let mut command = Command::new(program);
        command.args(arguments).uid(user).gid(user).env_clear();
        for (name, value) in self.settings() {
            command.env(format!("HEDWIG_MAILMAN_{name}"), value);
        }
        run(command, input)
    }

    /// The drops that wait.
    pub(crate) fn drops(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.spool.join("drop")) else { return Vec::new() };
        entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    }

    /// The only drop that waits.
    pub(crate) fn drop(&self) -> String {
        let drops = self.drops();
        assert_eq!(drops.len(), 1, "{drops:?}");
        drops.into_iter().next().unwrap()
    }

    /// How many drops have been finished.
    pub(crate) fn whole_drops(&self) -> usize {
        let Ok(entries) = fs::read_dir(self.spool.join("drop")) else { return 0 };
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.filter(|name| !name.to_string_lossy().starts_with("tmp.")).count()
    }

    /// The same host with another copy of the program, which every user may run.
    pub(crate) fn with_program(self, program: &Path) -> Self {
        Self { program: Some(program.to_owned()), ..self }
    }

    /// The same host when its mailman listens at this address.
    pub(crate) fn at(self, server: SocketAddr) -> Self {
        Self { server: server.to_string(), ..self }
    }
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) error: String,
}

impl Ended {
    /// Its code must be this one.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs a program to its end with this input.
pub(crate) fn run(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code().unwrap(), output: text(stdout), error: text(stderr) }
}
