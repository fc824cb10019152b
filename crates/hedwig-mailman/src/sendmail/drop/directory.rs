use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

/// Set-group-id and sticky; all for the owner, to write and to search for everybody.
const DROP_MODE: u32 = 0o3733;
const PRIVATE_MODE: u32 = 0o700;

/// The directories of a spool through which dropped mail goes.
#[derive(Clone, Debug)]
pub struct DropDirectories {
    /// Where programs leave mail.
    pub(crate) drop: PathBuf,
    /// What the daemon has taken and not yet queued.
    pub(crate) taken: PathBuf,
    /// What it could not read.
    pub(crate) refused: PathBuf,
}

impl DropDirectories {
    /// Those of the spool in this directory.
    #[must_use]
    pub fn of_spool(spool: &Path) -> Self {
        let named = |name| spool.join(name);
        Self { drop: named("drop"), taken: named("drop-taken"), refused: named("drop-refused") }
    }

    /// Makes those that are missing. The mode of one that exists is its operator's choice.
    ///
    /// # Errors
    /// With the directory that cannot be made.
    pub fn make(&self) -> io::Result<()> {
        self.make_drop()?;
        make(&self.taken, PRIVATE_MODE).map_err(told(&self.taken))?;
        make(&self.refused, PRIVATE_MODE).map_err(told(&self.refused))
    }

    /// Makes the drop if it is missing and the spool is there, for the spool's owner.
    pub(crate) fn make_drop(&self) -> io::Result<()> {
        make(&self.drop, DROP_MODE).map_err(told(&self.drop))
    }
}

fn make(directory: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE_MODE).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    let owner = fs::metadata(parent)?;
    let own = fs::metadata(directory)?;
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        // Root may make it before the daemon, who is somebody else, first runs.
        chown(directory, Some(owner.uid()), Some(owner.gid()))?;
    }
    // The umask has no say in this, and a change of owner takes the set-group-id bit away.
    fs::set_permissions(directory, Permissions::from_mode(mode))?;
    File::open(parent)?.sync_all()
}

/// The same error with the path it is about.
pub(super) fn told(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_may_drop_and_only_the_owner_may_look() {
        let spool = tempfile::tempdir().unwrap();
        let directories = DropDirectories::of_spool(spool.path());
        directories.make().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&directories.drop), 0o3733);
        assert_eq!(mode(&directories.taken), 0o700);
        fs::set_permissions(&directories.drop, Permissions::from_mode(0o3730)).unwrap();
        directories.make().unwrap();
        assert_eq!(mode(&directories.drop), 0o3730, "an operator's choice stays");
    }

    #[test]
    fn a_spool_that_is_not_there_is_not_made() {
        let parent = tempfile::tempdir().unwrap();
        let spool = parent.path().join("missing");
        let error = DropDirectories::of_spool(&spool).make_drop().unwrap_err();
        assert!(error.to_string().contains("missing/drop: "), "{error}");
        assert!(!spool.exists());
    }
}
