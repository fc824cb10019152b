//! A small disk of a spool's own, which can be filled.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A directory on a file system of its own; an ordinary one where none may be mounted.
pub(crate) struct SmallDisk {
    directory: TempDir,
    mounted: bool,
}

impl SmallDisk {
    pub(crate) fn new(mebibytes: u32) -> io::Result<Self> {
        let directory = TempDir::with_prefix("hedwig-harness-")?;
        let size = format!("size={mebibytes}m,mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "hedwig-harness"]).arg(directory.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        Ok(Self { directory, mounted })
    }

    /// Whether it can be filled without harm to others.
    pub(crate) fn is_its_own(&self) -> bool {
        self.mounted
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut file = fs::File::create(self.filler())?;
        let block = [0; 4096];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives it back.
    pub(crate) fn empty(&self) -> io::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        Path::new(self.directory.path()).join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        let unmounted = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.directory.path().display());
        }
    }
}
