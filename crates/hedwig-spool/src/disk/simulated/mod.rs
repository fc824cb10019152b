//! A disk in memory that can fail, fill, lie and lose its power, at any single operation and in every way
//! a real one may.

mod contents;
mod names;
mod plan;

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard},
};

pub use contents::Kept;
pub use plan::{Fault, Operation, OperationKind};

use super::{Disk, DiskFile};
use contents::Contents;
use names::Names;
use plan::{Failure, Plan};

/// A disk in memory, which forgets at a power cut what was not flushed and fails as a test plans.
/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: Names,
    directories: BTreeSet<String>,
    /// Those whose names in the directory above were not flushed.
    pending_directories: BTreeSet<String>,
    operations: u64,
    capacity: Option<u64>,
    without_power: bool,
    plan: Option<Plan>,
}

type Shared = Arc<Mutex<Contents>>;

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

/// Something that was not flushed when the power went.
#[derive(Clone, Copy, Debug)]
pub enum Unflushed<'a> {
    /// A name was made, taken away or given to another file. [`Kept::Nothing`] loses it, all else keeps it.
    Name(&'a str),
    /// So many bytes were written to a file: those of one write in one sector.
    Bytes(&'a str, usize),
}

impl SimulatedDisk {
    /// An empty disk that never fails and is never full.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the plan before each operation from now on. The plan may look at the disk.
    pub fn plan(&self, plan: impl FnMut(Operation<'_>) -> Option<Fault> + Send + 'static) {
        lock(&self.0).plan = Some(Box::new(plan));
    }

    /// Lets everything succeed from now on.
    pub fn heal(&self) {
        lock(&self.0).plan = None;
    }

    /// Gives the disk room for so many bytes in all, from now on.
    pub fn resize(&self, capacity: u64) {
        lock(&self.0).capacity = Some(capacity);
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        lock(&self.0).used()
    }

    /// How many operations that change something were asked for so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.0).operations
    }

    /// The disk as it is found when the power comes back. Of everything that was not flushed, names first
    /// and then bytes, each in the order in which it happened, `survive` says what is there.
    #[must_use]
    pub fn after_power_cut(&self, mut survive: impl FnMut(Unflushed<'_>) -> Kept) -> Self {
        let state = lock(&self.0);
        let mut lost = state.pending_directories.clone();
        lost.retain(|directory| survive(Unflushed::Name(directory)) == Kept::Nothing);
        let directories = state.directories.difference(&lost).cloned().collect();
        let found = state.names.after_power_cut(|name| survive(Unflushed::Name(name)));
        // What stands in a directory that is gone is gone, flushed or not.
        let found = found.into_iter().filter(|(name, _)| !lost.contains(split(name).0));
        let files = found.map(|(name, contents)| {
            let contents =
                lock(&contents).after_power_cut(|bytes| survive(Unflushed::Bytes(&name, bytes)));
            (name, Arc::new(Mutex::new(contents)))
        });
        let names = Names::of(files);
        let capacity = state.capacity;
        Self(Arc::new(Mutex::new(State { names, directories, capacity, ..State::default() })))
    }

    /// The disk as it is found by the process that follows one that was killed: all that was written is
    /// there, flushed or not. What the killed one may still do to its disk changes nothing here.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = lock(&self.0);
        Self(Arc::new(Mutex::new(State {
            names: state.names.copy(),
            directories: state.directories.clone(),
            pending_directories: state.pending_directories.clone(),
            capacity: state.capacity,
            ..State::default()
        })))
    }

    /// The names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.0).names.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How many bytes of a file would be there after any power cut; nothing if its name would not.
    #[must_use]
    pub fn durable_bytes(&self, name: &str) -> Option<usize> {
        let contents = lock(&self.0).names.durable(name)?;
        Some(lock(&contents).durable_bytes())
    }

    /// A file's bytes.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let contents = self.contents(name).unwrap_or_else(|_| panic!("there is no file {name}"));
        lock(&contents).cached().to_vec()
    }

    /// Changes a file's bytes behind everybody's back, as a failing disk does.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let contents = self.contents(name).unwrap_or_else(|_| panic!("there is no file {name}"));
        lock(&contents).corrupt(change);
    }

    /// Asks the plan; `true` if the operation shall really happen.
    fn begin(&self, kind: OperationKind, name: &str) -> Result<bool, Failure> {
        self.begin_to_take(0, kind, name)
    }

    /// The same for an operation that takes so much more room, in bytes.
    fn begin_to_take(&self, room: u64, kind: OperationKind, name: &str) -> Result<bool, Failure> {
        let mut state = lock(&self.0);
        let number = state.operations;
        if kind.changes() {
            state.operations += 1;
        }
        if state.without_power {
            return Err(Failure { keep: 0, number: EIO });
        }
        let Some(mut plan) = state.plan.take() else { return Ok(true) };
        drop(state);
        let fault = plan(Operation { number, kind, name, room });
        let mut state = lock(&self.0);
        state.plan.get_or_insert(plan);
        match fault {
            None => Ok(true),
            Some(Fault::Forget) => Ok(false),
            Some(Fault::Fail(number)) => Err(Failure { keep: 0, number }),
            Some(Fault::Tear(keep, number)) => Err(Failure { keep, number }),
            Some(Fault::PowerCut) => {
                state.without_power = true;
                Err(Failure { keep: usize::MAX, number: EIO })
            }
        }
    }

    fn contents(&self, name: &str) -> io::Result<Shared> {
        lock(&self.0).names.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, name: &str, contents: Shared) -> Box<dyn DiskFile> {
        Box::new(SimulatedFile { disk: self.clone(), name: name.to_owned(), contents })
    }
}

impl State {
    fn used(&self) -> u64 {
        let bytes = |contents: &Shared| {
            let contents = lock(contents);
            contents.cached().len() as u64 + contents.allocated
        };
        self.names.iter().map(|(_, contents)| bytes(contents)).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }
}

impl Disk for SimulatedDisk {
    fn create_directory(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        // The spool's own was there before.
        if state.directories.insert(name.to_owned()) && !name.is_empty() {
            state.pending_directories.insert(name.to_owned());
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.begin(OperationKind::List, directory)?;
        let state = lock(&self.0);
        if !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |name: &String| {
            let (parent, file) = split(name);
            (parent == directory).then(|| file.to_owned())
        };
        Ok(state.names.iter().filter_map(|(name, _)| inside(name)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let happens = self.begin(OperationKind::Create, name)?;
        let mut state = lock(&self.0);
        if state.names.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let contents = Shared::default();
        if happens {
            state.names.change([(name, Some(contents.clone()))]);
        }
        drop(state);
        Ok(self.file(name, contents))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.begin(OperationKind::Open, name)?;
        Ok(self.file(name, self.contents(name)?))
    }

    fn open_to_change(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.begin(OperationKind::Rename, from)? {
            let mut state = lock(&self.0);
            let contents = state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            if split(from).0 == split(to).0 {
                state.names.change([(from, None), (to, Some(contents))]);
            } else {
                // Each directory is flushed by itself, so each may be the one that was.
                state.names.change([(to, Some(contents))]);
                state.names.change([(from, None)]);
            }
        }
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        if self.begin(OperationKind::Unlink, name)? {
            let mut state = lock(&self.0);
            state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            state.names.change([(name, None)]);
        }
        Ok(())
    }

    fn flush_directory(&self, directory: &str) -> io::Result<()> {
        if self.begin(OperationKind::FlushDirectory, directory)? {
            let mut state = lock(&self.0);
            state.names.flush(directory);
            state.pending_directories.retain(|pending| split(pending).0 != directory);
        }
        Ok(())
    }

    fn capacity(&self) -> io::Result<u64> {
        Ok(lock(&self.0).capacity.unwrap_or(u64::MAX))
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
    contents: Shared,
}

impl SimulatedFile {
    /// Writes bytes, or the first of them if it fails; `room` tells how much more room so many of them take.
    fn write(
        &self,
        kind: OperationKind,
        bytes: &[u8],
        room: impl Fn(&Contents, usize) -> u64,
        write: impl FnOnce(&mut Contents, &[u8]),
    ) -> io::Result<()> {
        let whole = room(&lock(&self.contents), bytes.len());
        let (keep, mut result) = match self.disk.begin_to_take(whole, kind, &self.name) {
            Ok(true) => (usize::MAX, Ok(())),
            Ok(false) => (0, Ok(())),
            Err(failure) => (failure.keep, Err(failure.into())),
        };
        let mut kept = bytes.len().min(keep);
        let free = lock(&self.disk.0).free();
        let missing = room(&lock(&self.contents), kept).saturating_sub(free);
        if missing > 0 {
            kept -= missing as usize;
            result = Err(io::ErrorKind::StorageFull.into());
        }
        if kept > 0 {
            write(&mut lock(&self.contents), &bytes[..kept]);
        }
        result
    }
}

impl DiskFile for SimulatedFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes = parts.iter().map(|part| &**part).collect::<Vec<_>>().concat();
        let room = |contents: &Contents, length| contents.room_for(length);
        self.write(OperationKind::Append, &bytes, room, Contents::append)
    }

    fn overwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let room = |contents: &Contents, length| contents.room_for_at(offset, length);
        let write = |contents: &mut Contents, bytes: &[u8]| contents.overwrite(offset, bytes);
        self.write(OperationKind::Overwrite, bytes, room, write)
    }

    fn flush(&self) -> io::Result<()> {
        match self.disk.begin(OperationKind::Flush, &self.name) {
            Ok(true) => lock(&self.contents).flush(),
            Ok(false) => {}
            // What a power cut leaves is decided when the power comes back.
            Err(failure) if lock(&self.disk.0).without_power => return Err(failure.into()),
            Err(failure) => {
                lock(&self.contents).fail_flush(failure.keep);
                return Err(failure.into());
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.begin(OperationKind::Read, &self.name)?;
        let contents = lock(&self.contents);
        let bytes = contents.cached();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - start);
        buffer[..read].copy_from_slice(&bytes[start..start + read]);
        Ok(read)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.contents).cached().len() as u64)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.disk.begin(OperationKind::Allocate, &self.name)? {
            if bytes > lock(&self.disk.0).free() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            lock(&self.contents).allocated += bytes;
        }
        Ok(())
    }

    fn forget_cached(&self) -> io::Result<()> {
        lock(&self.contents).forget_cached();
        Ok(())
    }
}

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
