use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Disk, DiskFile};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// [`Disk::create`].
    Create,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::unlink`].
    Unlink,
    /// [`Disk::flush_directory`].
    FlushDirectory,
    /// [`DiskFile::append`].
    Append,
    /// [`DiskFile::flush`].
    Flush,
    /// [`DiskFile::read_at`].
    Read,
}

/// An operation that is about to happen.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// How many that change something came before it. Reads do not count.
    pub number: u64,
    /// What it does.
    pub kind: OperationKind,
    /// The name of the file or directory.
    pub name: &'a str,
}

/// What happens instead of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing happens.
    Fail(io::ErrorKind),
    /// An append writes only so many bytes and fails.
    Tear(usize, io::ErrorKind),
    /// It claims to have happened, and has not.
    Forget,
    /// The power goes: it and all that follow fail, until [`SimulatedDisk::after_power_cut`].
    PowerCut,
}

type Plan = Box<dyn FnMut(Operation<'_>) -> Option<Fault> + Send>;

/// A disk in memory, which forgets at a power cut what was not flushed and fails as a test plans.
/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Contents>,
    /// The files whose names would be there after a power cut.
    durable: BTreeMap<String, Contents>,
    directories: BTreeSet<String>,
    operations: u64,
    without_power: bool,
    plan: Option<Plan>,
}

type Contents = Arc<Mutex<Data>>;

#[derive(Default)]
struct Data {
    bytes: Vec<u8>,
    flushed: usize,
}

impl SimulatedDisk {
    /// An empty disk that never fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the plan before each operation from now on.
    pub fn plan(&self, plan: impl FnMut(Operation<'_>) -> Option<Fault> + Send + 'static) {
        lock(&self.0).plan = Some(Box::new(plan));
    }

    /// Lets everything succeed from now on.
    pub fn heal(&self) {
        lock(&self.0).plan = None;
    }

    /// How many operations that change something were asked for so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.0).operations
    }

    /// The disk as it is found when the power comes back: names that were not flushed are as they were,
    /// and of bytes that were not flushed `survive` says how many are there, given how many there were.
    #[must_use]
    pub fn after_power_cut(&self, survive: impl Fn(usize) -> usize) -> Self {
        let state = lock(&self.0);
        let files: BTreeMap<_, _> = state
            .durable
            .iter()
            .map(|(name, contents)| {
                let data = lock(contents);
                let unflushed = data.bytes.len() - data.flushed;
                let length = data.flushed + survive(unflushed).min(unflushed);
                let bytes = data.bytes[..length].to_vec();
                (name.clone(), Arc::new(Mutex::new(Data { flushed: bytes.len(), bytes })))
            })
            .collect();
        let directories = state.directories.clone();
        Self(Arc::new(Mutex::new(State {
            durable: files.clone(),
            files,
            directories,
            ..State::default()
        })))
    }

    /// The disk as it is found by the process that follows one that was killed: all that was written is
    /// there, flushed or not. What the killed one may still do to its disk changes nothing here.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = lock(&self.0);
        let copies: BTreeMap<_, _> = state
            .files
            .iter()
            .map(|(name, contents)| {
                let data = lock(contents);
                let copy = Data { bytes: data.bytes.clone(), flushed: data.flushed };
                (name.clone(), Arc::new(Mutex::new(copy)))
            })
            .collect();
        // A name that is durable may have another by now, or none: its bytes are those it had.
        let durable = state.durable.iter().map(|(name, contents)| {
            let now = state.files.iter().find(|(_, other)| Arc::ptr_eq(contents, other));
            let copy = now.and_then(|(now, _)| copies.get(now)).unwrap_or(contents);
            (name.clone(), copy.clone())
        });
        Self(Arc::new(Mutex::new(State {
            durable: durable.collect(),
            files: copies.clone(),
            directories: state.directories.clone(),
            ..State::default()
        })))
    }

    /// The names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.0).files.keys().cloned().collect()
    }

    /// Changes a file's bytes behind everybody's back, as a failing disk does.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let contents = lock(&self.0).files.get(name).cloned();
        let contents = contents.unwrap_or_else(|| panic!("there is no file {name}"));
        let mut data = lock(&contents);
        change(&mut data.bytes);
        data.flushed = data.bytes.len();
    }

    /// Asks the plan; `true` if the operation shall really happen.
    fn begin(&self, kind: OperationKind, name: &str) -> Result<bool, Failure> {
        let mut state = lock(&self.0);
        let number = state.operations;
        if kind != OperationKind::Read {
            state.operations += 1;
        }
        if state.without_power {
            return Err(Failure { keep: 0, kind: io::ErrorKind::Other });
        }
        let fault = state.plan.as_mut().and_then(|plan| plan(Operation { number, kind, name }));
        match fault {
            None => Ok(true),
            Some(Fault::Forget) => Ok(false),
            Some(Fault::Fail(kind)) => Err(Failure { keep: 0, kind }),
            Some(Fault::Tear(keep, kind)) => Err(Failure { keep, kind }),
            Some(Fault::PowerCut) => {
                state.without_power = true;
                Err(Failure { keep: usize::MAX, kind: io::ErrorKind::Other })
            }
        }
    }

    fn contents(&self, name: &str) -> io::Result<Contents> {
        lock(&self.0).files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, name: &str, contents: Contents) -> Box<dyn DiskFile> {
        Box::new(SimulatedFile { disk: self.clone(), name: name.to_owned(), contents })
    }
}

/// How an operation failed, and how much of an append happened all the same.
struct Failure {
    keep: usize,
    kind: io::ErrorKind,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, "simulated fault")
    }
}

impl Disk for SimulatedDisk {
    fn create_directory(&self, name: &str) -> io::Result<()> {
        lock(&self.0).directories.insert(name.to_owned());
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let state = lock(&self.0);
        if !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |name: &String| {
            let (parent, file) = split(name);
            (parent == directory).then(|| file.to_owned())
        };
        Ok(state.files.keys().filter_map(inside).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let happens = self.begin(OperationKind::Create, name)?;
        let mut state = lock(&self.0);
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let contents = Contents::default();
        if happens {
            state.files.insert(name.to_owned(), contents.clone());
        }
        drop(state);
        Ok(self.file(name, contents))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(name, self.contents(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.begin(OperationKind::Rename, from)? {
            let mut state = lock(&self.0);
            let contents = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.files.insert(to.to_owned(), contents);
        }
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        if self.begin(OperationKind::Unlink, name)? {
            lock(&self.0).files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(())
    }

    fn flush_directory(&self, directory: &str) -> io::Result<()> {
        if self.begin(OperationKind::FlushDirectory, directory)? {
            let state = &mut *lock(&self.0);
            state.durable.retain(|name, _| split(name).0 != directory);
            let here = state.files.iter().filter(|(name, _)| split(name).0 == directory);
            state.durable.extend(here.map(|(name, contents)| (name.clone(), contents.clone())));
        }
        Ok(())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
    contents: Contents,
}

impl DiskFile for SimulatedFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let (keep, result) = match self.disk.begin(OperationKind::Append, &self.name) {
            Ok(true) => (usize::MAX, Ok(())),
            Ok(false) => (0, Ok(())),
            Err(failure) => (failure.keep, Err(failure.into())),
        };
        let mut data = lock(&self.contents);
        let mut left = keep;
        for part in parts {
            let some = &part[..part.len().min(left)];
            data.bytes.extend_from_slice(some);
            left -= some.len();
        }
        result
    }

    fn flush(&self) -> io::Result<()> {
        if self.disk.begin(OperationKind::Flush, &self.name)? {
            let mut data = lock(&self.contents);
            data.flushed = data.bytes.len();
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.begin(OperationKind::Read, &self.name)?;
        let data = lock(&self.contents);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.bytes.len());
        let read = buffer.len().min(data.bytes.len() - start);
        buffer[..read].copy_from_slice(&data.bytes[start..start + read]);
        Ok(read)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.contents).bytes.len() as u64)
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
