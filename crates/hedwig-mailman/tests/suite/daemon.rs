//! The program, and its daemon as a process of its own.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use serde_json::Value;

/// The program with nothing in its environment, so that nothing of this host's changes it.
pub(crate) fn mailman(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedwig-mailman"));
    command.env_clear().args(arguments);
    command
}

pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    ended(mailman(arguments).output().unwrap())
}

pub(crate) fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A daemon on a spool in this directory, and what its log said of where it listens.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) listening: Value,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_until(directory, arguments, "smtp")
    }

    /// Waits until it serves this protocol.
    pub(crate) fn start_until(directory: &Path, arguments: &[&str], protocol: &str) -> Self {
        let spool = directory.join("spool").display().to_string();
        let all = ["serve", "--listen", "127.0.0.1:0", "--spool", &spool, "--log-format", "json"];
        let mut command = mailman(&[&all, arguments].concat());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let listening = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            let line: Value = serde_json::from_str(&line).expect("each line of the log is JSON");
            if line["message"] == "listening" && line["protocol"] == protocol {
                break line;
            }
        };
        Self { child, listening, log }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for a line of the log with this in it.
    pub(crate) fn wait_for_log(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it ended before it said {part}");
        }
    }

    /// Sends SIGTERM, and returns the exit code and the rest of the log.
    pub(crate) fn terminate(mut self) -> (i32, String) {
        self.signal("TERM");
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code().unwrap(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed must leave nothing running; one that did not has waited for it.
        let _ = self.child.kill();
    }
}
