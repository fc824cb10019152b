//! Users who do not trust each other: one runs mailman, another sends, a third looks on.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::sendmail_support::{Host, NOBODY};

const DAEMON: u32 = 33_333;
const SENDER: u32 = 44_444;
const STRANGER: u32 = 55_555;

/// A directory that everybody may search, with the program in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("sendmail");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    copy(Path::new(env!("CARGO_BIN_EXE_hedwig-mailman")), &program);
    (directory, program)
}

/// Copies a program in a process of its own. If this one wrote it, what another thread starts meanwhile
/// would have it open for writing too, and it could not be run ("text file busy").
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("/bin/cp").args([from, to]).status().unwrap().success());
}

struct Daemon(Child);

impl Daemon {
    /// Starts a mailman whose postoffice is out of reach, and waits for a line of its log.
    fn start(program: &Path, spool: &Path, awaited: &str) -> Self {
        let named = program.with_file_name("hedwig-mailman");
        copy(program, &named);
        let mut command = Command::new(named);
        command.env_clear().uid(DAEMON).gid(DAEMON).stderr(Stdio::piped());
        command.args(["serve", "--listen", "127.0.0.1:0", "--postoffice", "http://127.0.0.1:9"]);
        let mut daemon = Self(command.arg("--spool").arg(spool).spawn().unwrap());
        let mut lines = BufReader::new(daemon.0.stderr.take().unwrap()).lines();
        let mut log = Vec::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {log:?}")).unwrap();
            if line.contains(awaited) {
                return daemon;
            }
            log.push(line);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed must leave nothing running.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_that_is_not_root_reads_what_another_user_dropped_and_a_third_cannot() {
    if !rustix::process::getuid().is_root() {
        eprintln!("not tested: only root can be several users");
        return;
    }
    let (directory, program) = place();
    let spool = directory.path().join("spool");
    fs::create_dir(&spool).unwrap();
    chown(&spool, Some(DAEMON), Some(DAEMON)).unwrap();
    drop(Daemon::start(&program, &spool, "listening"));
    fs::set_permissions(&spool, Permissions::from_mode(0o711)).unwrap();

    let host = Host::new(&spool, NOBODY).with_program(&program);
    host.sendmail_as(SENDER, &["bob@example.net"], "private\n").with(0);
    let file = fs::read_dir(spool.join("drop")).unwrap().next().unwrap().unwrap().path();
    for (program, argument) in
        [("/bin/cat", &file), ("/bin/rm", &file), ("/bin/ls", &spool.join("drop"))]
    {
        let mut command = Command::new(program);
        let output = command.uid(STRANGER).gid(STRANGER).arg(argument).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{program}: {output:?}");
    }

    let _daemon = Daemon::start(&program, &spool, "picked up a dropped mail");
    assert_eq!(host.drops().len(), 0);
    assert_eq!(fs::read_dir(spool.join("drop-refused")).unwrap().count(), 0);
}

#[test]
fn a_spool_that_the_daemon_makes_lets_everybody_drop_and_nobody_read() {
    if !rustix::process::getuid().is_root() {
        eprintln!("not tested: only root can be several users");
        return;
    }
    let (directory, program) = place();
    let parent = directory.path().join("var");
    fs::create_dir(&parent).unwrap();
    chown(&parent, Some(DAEMON), Some(DAEMON)).unwrap();
    let spool = parent.join("spool");
    drop(Daemon::start(&program, &spool, "listening"));
    Host::new(&spool, NOBODY)
        .with_program(&program)
        .sendmail_as(SENDER, &["bob@example.net"], "private\n")
        .with(0);
    let others_can = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o007;
    assert_eq!(others_can(&spool), 0o001);
    for entry in fs::read_dir(&spool).unwrap() {
        let path = entry.unwrap().path();
        let expected = if path.ends_with("drop") { 0o003 } else { 0 };
        assert_eq!(others_can(&path), expected, "{}", path.display());
    }
}
