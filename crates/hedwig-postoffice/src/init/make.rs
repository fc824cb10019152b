//! New keys on disk.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
};

use hedwig_envelope::BoxError;
use hedwig_mx::dkim::{KeyKind, NewKey, SigningKey, generate};

/// Only the daemon reads a key.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Whose the keys are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// The owner of the spool, when root asks: the keys are for the daemon, which is somebody else. What others make is
    /// theirs.
    pub(super) fn of_spool(spool: &Path) -> io::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        match fs::metadata(spool) {
            Ok(metadata) => Ok(Some(Self { user: metadata.uid(), group: metadata.gid() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Makes an RSA and an Ed25519 key, and writes them to `DIRECTORY/DOMAIN/SELECTOR-rsa.pem` and
/// `...-ed25519.pem`.
///
/// A file that is there stays as it is: a mail that was signed with a lost key cannot be verified any more.
///
/// # Errors
/// When there is such a file, or one cannot be written.
pub(super) fn make(
    directory: &Path,
    domain: &str,
    selector: &str,
    owner: Option<Owner>,
) -> Result<Vec<SigningKey>, BoxError> {
    let folder = directory.join(domain);
    let mut new = Vec::new();
    for (kind, ending) in [(KeyKind::Rsa2048, "rsa"), (KeyKind::Ed25519, "ed25519")] {
        let selector = format!("{selector}-{ending}");
        let path = folder.join(format!("{selector}.pem"));
        if path.try_exists().map_err(|error| told(&path, "looked for", &error))? {
            return Err(told(&path, "made", &io::ErrorKind::AlreadyExists.into()));
        }
        new.push((path, generate(kind, domain, &selector)?));
    }
    for made in [directory, &folder] {
        make_directory(made, owner).map_err(|error| told(made, "made", &error))?;
    }
    for (path, key) in &new {
        write(path, key, owner).map_err(|error| told(path, "written", &error))?;
    }
    File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| told(&folder, "flushed", &error))?;
    Ok(new.into_iter().map(|(_, key)| key.key).collect())
}

fn make_directory(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    match owner {
        Some(owner) => chown(path, Some(owner.user), Some(owner.group)),
        None => Ok(()),
    }
}

/// The daemon reads the directory whenever it changes: a key is there whole, or not at all.
fn write(path: &Path, key: &NewKey, owner: Option<Owner>) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Unfinished(unfinished.into());
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(FILE_MODE).open(&unfinished.0)?;
    file.write_all(key.pem().as_bytes())?;
    if let Some(owner) = owner {
        std::os::unix::fs::fchown(&file, Some(owner.user), Some(owner.group))?;
    }
    file.sync_all()?;
    // Unlike a renaming, this replaces nothing.
    fs::hard_link(&unfinished.0, path)
}

struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What stays is no key to the daemon, and is in the way of the next try, which tells its name.
        let _ = fs::remove_file(&self.0);
    }
}

fn told(path: &Path, what: &str, error: &io::Error) -> BoxError {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{path} is there already and stays as it is; name another with --selector")
        }
        _ => format!("{path} cannot be {what}: {error}"),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hedwig_mx::Keys;

    use super::*;

    #[test]
    fn keys_are_for_the_daemon_alone_and_never_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("etc/dkim");
        let made = make(&directory, "example.org", "s", None).unwrap();
        let mode =
            |path: &str| fs::metadata(directory.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("example.org"), mode("example.org/s-rsa.pem")), (0o700, 0o600));
        assert_eq!(mode("example.org/s-ed25519.pem"), 0o600);
        assert_eq!(fs::read_dir(directory.join("example.org")).unwrap().count(), 2);
        let read = Keys::load(&directory).unwrap();
        for key in &made {
            let (_, text) =
                read.dns_record("example.org", key.selector()).map(|r| ((), r.1)).unwrap();
            assert_eq!(text, key.dns_record().1);
        }

        fs::remove_file(directory.join("example.org/s-rsa.pem")).unwrap();
        let before = fs::read(directory.join("example.org/s-ed25519.pem")).unwrap();
        let error = make(&directory, "example.org", "s", None).unwrap_err().to_string();
        assert!(error.contains("s-ed25519.pem is there already"), "{error}");
        assert_eq!(fs::read(directory.join("example.org/s-ed25519.pem")).unwrap(), before);
        assert!(!directory.join("example.org/s-rsa.pem").exists(), "both or none");
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_spool() {
        let parent = tempfile::tempdir().unwrap();
        let spool = parent.path().join("spool");
        fs::create_dir(&spool).unwrap();
        let owner = Owner::of_spool(&spool).unwrap();
        if !rustix::process::geteuid().is_root() {
            assert_eq!(owner, None);
            return;
        }
        assert_eq!(Owner::of_spool(&parent.path().join("none")).unwrap(), None);
        chown(&spool, Some(4711), Some(4712)).unwrap();
        let owner = Owner::of_spool(&spool).unwrap();
        let directory = parent.path().join("dkim");
        make(&directory, "example.org", "s", owner).unwrap();
        for path in ["", "example.org", "example.org/s-rsa.pem", "example.org/s-ed25519.pem"] {
            let metadata = fs::metadata(directory.join(path)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (4711, 4712), "{path}");
        }
    }
}
