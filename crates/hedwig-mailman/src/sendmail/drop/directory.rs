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

/// Makes a directory if it is missing. It bears its name only once it has its owner and mode.
fn make(directory: &Path, mode: u32) -> io::Result<()> {
    let Some(parent) = directory.parent().filter(|_| !directory.exists()) else { return Ok(()) };
    let new = directory.with_extension("new");
    match DirBuilder::new().mode(PRIVATE_MODE).create(&new) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let (owner, own) = (fs::metadata(parent)?, fs::metadata(&new)?);
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        // Root may make it before the daemon, who is somebody else, first runs.
        chown(&new, Some(owner.uid()), Some(owner.gid()))?;
    }
    set_mode(&new, mode)?;
    match fs::rename(&new, directory) {
        // Somebody else was quicker, and a mail is in there already.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir(&new)?,
        renamed => renamed?,
    }
    File::open(parent)?.sync_all()
}

/// Sets the mode, in which the umask has no say. Where a sandbox forbids set-group-id (systemd's
/// `RestrictSUIDSGID`), the directory stays its owner's.
fn set_mode(directory: &Path, mode: u32) -> io::Result<()> {
    match fs::set_permissions(directory, Permissions::from_mode(mode)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let path = directory.with_extension("");
            tracing::warn!(
                path = %path.display(),
                "other users cannot drop mail here, since this process may not set the mode; \
                 set it with: chmod {mode:o}"
            );
            Ok(())
        }
        set => set,
    }
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
    fn what_a_crash_left_half_made_is_finished() {
        let spool = tempfile::tempdir().unwrap();
        let directories = DropDirectories::of_spool(spool.path());
        fs::create_dir(spool.path().join("drop.new")).unwrap();
        directories.make_drop().unwrap();
        assert_eq!(fs::metadata(&directories.drop).unwrap().mode() & 0o7777, 0o3733);
        assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 1);
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
