//! Keys that are exchanged while mails are signed: a new selector is put beside the old one, and later the old one
//! is taken away.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use super::{KeyError, Keys};

/// The keys that are in use now. A cheap handle; all clones see the same keys.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Arc<RwLock<Arc<Keys>>>);

impl KeyRing {
    /// The keys as they are now.
    #[must_use]
    pub fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes these keys from now on. Who has the [current](Self::current) ones keeps them.
    pub fn replace(&self, keys: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

impl From<Keys> for KeyRing {
    fn from(keys: Keys) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(keys))))
    }
}

/// A directory of keys, `DIR/<domain>/<selector>.pem`, that is read again when something in it has changed.
#[derive(Debug)]
pub struct KeyDirectory {
    path: PathBuf,
    ring: KeyRing,
    /// Of what was read; what could not be read leaves none.
    stamps: Vec<Stamp>,
    /// Why the last reading came to nothing.
    mistake: Option<String>,
}

/// A file or a directory, and what tells one version of it from another: its time and its length.
type Stamp = (PathBuf, Option<SystemTime>, u64);

impl KeyDirectory {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    /// As [`Keys::load`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let path = path.into();
        // Before the first reading: a change in between is then seen the next time.
        let stamps = stamps(&path);
        let ring = KeyRing::from(Keys::load(&path)?);
        Ok(Self { path, ring, stamps, mistake: None })
    }

    /// The keys, which change with the directory.
    #[must_use]
    pub fn ring(&self) -> KeyRing {
        self.ring.clone()
    }

    /// Reads the keys again, if something in the directory has changed since the last time, or they could not be read
    /// then: permissions are mended without a trace in what is looked at. Whether they were read. It waits for the disk.
    ///
    /// # Errors
    /// As [`Keys::load`], once for each mistake. Then the keys that were read before stay in use.
    pub fn refresh(&mut self) -> Result<bool, KeyError> {
        if self.mistake.is_none() && stamps(&self.path) == self.stamps {
            return Ok(false);
        }
        let known = self.mistake.take();
        match self.reload() {
            Ok(()) => Ok(true),
            Err(_) if self.mistake == known => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the keys again, whether or not something has changed. It waits for the disk.
    ///
    /// # Errors
    /// As [`Keys::load`]. Then the keys that were read before stay in use.
    pub fn reload(&mut self) -> Result<(), KeyError> {
        let stamps = stamps(&self.path);
        let keys = Keys::load(&self.path).inspect_err(|error| {
            self.mistake = Some(error.to_string());
        })?;
        self.ring.replace(keys);
        (self.stamps, self.mistake) = (stamps, None);
        Ok(())
    }
}

fn stamps(path: &Path) -> Vec<Stamp> {
    let mut stamps = vec![stamp(path)];
    for domain in below(path) {
        stamps.push(stamp(&domain));
        stamps.extend(below(&domain).iter().map(|key| stamp(key)));
    }
    stamps.sort();
    stamps
}

/// What cannot be read has no stamp: why, is told by who reads the keys.
fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok();
    let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    (path.to_owned(), modified, metadata.map_or(0, |metadata| metadata.len()))
}

fn below(path: &Path) -> Vec<PathBuf> {
    let entries = |path| -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    entries(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::{KeyKind, generate};

    #[test]
    fn a_directory_that_changes_changes_the_keys_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = |selector: &str| directory.path().join(format!("example.org/{selector}.pem"));
        let write = |selector: &str| {
            let new = generate(KeyKind::Ed25519, "example.org", selector).unwrap();
            fs::write(path(selector), new.pem()).unwrap();
        };
        fs::create_dir(directory.path().join("example.org")).unwrap();
        write("old");
        let mut keys = KeyDirectory::open(directory.path()).unwrap();
        let ring = keys.ring();
        let selectors = || {
            let current = ring.current();
            let keys = current.for_domain("example.org");
            keys.iter().map(|key| key.selector().to_owned()).collect::<Vec<_>>()
        };
        assert!(!keys.refresh().unwrap());
        write("new");
        assert!(keys.refresh().unwrap());
        assert_eq!(selectors(), ["new", "old"], "both sign while verifiers learn of the new one");
        fs::remove_file(path("old")).unwrap();
        assert!(keys.refresh().unwrap());
        assert_eq!(selectors(), ["new"]);
        fs::write(path("broken"), "hunter2").unwrap();
        assert!(keys.refresh().unwrap_err().to_string().contains("broken.pem"));
        assert!(!keys.refresh().unwrap(), "one mistake is told once");
        assert!(keys.reload().is_err(), "but to whoever asks");
        assert_eq!(selectors(), ["new"]);
        fs::remove_file(path("broken")).unwrap();
        assert!(keys.refresh().unwrap());
    }

    #[test]
    fn a_key_that_could_not_be_read_is_read_once_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("example.org/a.pem");
        fs::create_dir(directory.path().join("example.org")).unwrap();
        let mut keys = KeyDirectory::open(directory.path()).unwrap();
        let good = generate(KeyKind::Ed25519, "example.org", "a").unwrap();
        fs::write(&path, "x".repeat(good.pem().len())).unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(keys.refresh().is_err());
        // Mended with nothing to see, as permissions are, which root does not need.
        fs::write(&path, good.pem()).unwrap();
        fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        assert!(keys.refresh().unwrap());
        assert_eq!(keys.ring().current().iter().count(), 1);
        assert!(!keys.refresh().unwrap());
    }
}
