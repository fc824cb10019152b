use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile, SimulatedDisk};

/// Another disk as it is, which nothing can change: what is written to it is kept in memory, and forgotten
/// with it.
pub(crate) struct UntouchedDisk<D> {
    disk: D,
    made: SimulatedDisk,
    /// Names that lead elsewhere than on the disk: to the file of another name, or to none.
    moved: Mutex<BTreeMap<String, Option<String>>>,
}

impl<D: Disk> UntouchedDisk<D> {
    pub(crate) fn new(disk: D) -> Self {
        Self { disk, made: SimulatedDisk::new(), moved: Mutex::default() }
    }

    fn moved(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name that a file has on the disk.
    fn origin(&self, name: &str) -> Option<String> {
        self.moved().get(name).cloned().unwrap_or_else(|| Some(name.to_owned()))
    }
}

impl<D: Disk> Disk for UntouchedDisk<D> {
    fn create_directory(&self, name: &str) -> io::Result<()> {
        self.made.create_directory(name)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = match self.disk.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        names.extend(self.made.list(directory)?);
        for (name, origin) in self.moved().iter() {
            let (parent, file) = name.rsplit_once('/').unwrap_or(("", name));
            if parent == directory {
                names.retain(|name| name != file);
                names.extend(origin.is_some().then(|| file.to_owned()));
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let there = self.origin(name).is_some_and(|origin| self.disk.open(&origin).is_ok());
        if there { Err(io::ErrorKind::AlreadyExists.into()) } else { self.made.create(name) }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        match self.made.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.open(&self.origin(name).ok_or(io::ErrorKind::NotFound)?)
            }
            opened => opened,
        }
    }

    fn open_to_change(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        match self.made.open_to_change(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let original = self.open(name)?;
                let copy = self.made.create(name)?;
                let mut bytes = vec![0; usize::try_from(original.length()?).unwrap_or(usize::MAX)];
                let read = original.read_at(0, &mut bytes)?;
                copy.append(&mut [IoSlice::new(&bytes[..read])])?;
                self.made.open_to_change(name)
            }
            opened => opened,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match self.made.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let origin = self.origin(from).ok_or(io::ErrorKind::NotFound)?;
                self.moved().insert(to.to_owned(), Some(origin));
                self.moved().insert(from.to_owned(), None);
                Ok(())
            }
            renamed => renamed,
        }
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match self.made.unlink(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.moved().insert(name.to_owned(), None);
                Ok(())
            }
            unlinked => unlinked,
        }
    }

    fn flush_directory(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn capacity(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
