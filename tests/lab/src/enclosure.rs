//! A system in which a Debian package is installed, seen by one server only.
//!
//! Debian's mail servers cannot be installed beside each other. `./test` unpacks the others
//! (`tests/unpacked.txt`), and here the kernel shows one of them its own users, spool and state at the
//! paths that were built into it: mounts in a namespace, which are gone with the server.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{LabError, Result};

/// Mounts what is given in pairs before `--`, then runs what is given after it. The shell stays root
/// and the first process of its namespace: when it is killed the kernel ends all others in it.
const SCRIPT: &str = r#"set -e; while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; "$@" & wait "$!""#;
/// Where ids of users begin that are hardly taken.
const FIRST_ID: u32 = 64_100;

/// What one server is to see.
pub(crate) struct Enclosure {
    /// The root of the unpacked package.
    package: PathBuf,
    /// What belongs to this server alone.
    directory: PathBuf,
    mounts: Vec<(PathBuf, PathBuf)>,
    users: String,
    groups: String,
    next_id: u32,
}

impl Enclosure {
    /// A system with the package of this name, out of this release of Debian, whose state is in this
    /// directory.
    ///
    /// # Errors
    /// When the package was not unpacked, or the system's users cannot be read.
    pub(crate) fn new(release: &str, package: &str, directory: &Path) -> Result<Self> {
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/unpacked");
        let package = unpacked.join(release).join(package);
        let package = package.canonicalize().map_err(|error| {
            LabError::new(format!(
                "{}: {error}; ./test unpacks the Debian packages of tests/unpacked.txt",
                package.display()
            ))
        })?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            package,
            directory: directory.to_owned(),
            mounts: Vec::new(),
            users: fs::read_to_string("/etc/passwd")?,
            groups: fs::read_to_string("/etc/group")?,
            next_id: FIRST_ID,
        })
    }

    /// A file of the package.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.package.join(path)
    }

    /// Adds a user with a group of its own; its id, which is that of both.
    pub(crate) fn add_user(&mut self, name: &str) -> u32 {
        let is_taken = |id: u32| self.users.contains(&format!(":{id}:"));
        let id = (self.next_id..).find(|&id| !is_taken(id)).unwrap_or(self.next_id);
        self.next_id = id + 1;
        self.users += &format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n");
        self.groups += &format!("{name}:x:{id}:\n");
        id
    }

    /// A new directory of this server, with this owner.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(&self, name: &str, owner: u32) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path)?;
        chown(&path, Some(owner), Some(owner))?;
        Ok(path)
    }

    /// Shows a file or a directory at another place.
    pub(crate) fn show(&mut self, what: PathBuf, place: &str) {
        self.mounts.push((what, place.into()));
    }

    /// A command that runs this program of the package.
    ///
    /// # Errors
    /// When the files of the users cannot be written.
    pub(crate) fn command(mut self, program: &str) -> Result<Command> {
        for (name, text) in [("passwd", self.users.clone()), ("group", self.groups.clone())] {
            let file = self.directory.join(name);
            fs::write(&file, text)?;
            self.show(file, &format!("/etc/{name}"));
        }
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        command.args(["/bin/sh", "-c", SCRIPT, "enclosure"]);
        for (what, place) in &self.mounts {
            command.arg(what).arg(place);
        }
        command.arg("--").arg(self.file(program));
        Ok(command)
    }
}
