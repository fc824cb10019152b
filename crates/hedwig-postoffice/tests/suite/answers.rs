//! An answer on standard output that nobody reads to its end, or that cannot be written.

use std::{fs::OpenOptions, io, process::Stdio};

use crate::{daemon::Daemon, program};

/// Runs each command that answers at once on standard output, with this as its standard output; exit codes and errors.
fn codes(stdout: impl Fn() -> Stdio) -> Vec<(&'static str, i32, String)> {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let id = daemon.mail("bob%40example.net");
    let keys = directory.path().join("keys").display().to_string();
    let init = ["init", "example.org", "--dkim-keys", &keys, "--spool", &daemon.spool];
    let spool = ["--spool", &daemon.spool];
    let commands = [
        ("init", init.to_vec()),
        ("explain", [&["explain", &id], &spool[..]].concat()),
        ("queue", [&["queue", "list"], &spool[..]].concat()),
        ("suppression", [&["suppression", "list"], &spool[..]].concat()),
    ];
    let outcome = |arguments: &[&str]| {
        let output = program(arguments).stdout(stdout()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), error)
    };
    let ended = commands.into_iter().map(|(name, arguments)| (name, outcome(&arguments)));
    ended.map(|(name, (code, error))| (name, code, error)).collect()
}

#[test]
fn that_the_reader_has_seen_enough_is_no_error() {
    let nobody_reads = || Stdio::from(io::pipe().unwrap().1);
    for (command, code, error) in codes(nobody_reads) {
        assert_eq!((code, error.contains("error")), (0, false), "{command}: {error}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_told() {
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for (command, code, error) in codes(full) {
        assert_eq!((code, error.contains("No space left")), (75, true), "{command}: {error}");
    }
}
