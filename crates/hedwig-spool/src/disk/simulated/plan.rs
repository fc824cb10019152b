use std::io;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// [`Disk::create`](super::Disk::create).
    Create,
    /// [`Disk::open`](super::Disk::open).
    Open,
    /// [`Disk::list`](super::Disk::list).
    List,
    /// [`Disk::rename`](super::Disk::rename).
    Rename,
    /// [`Disk::unlink`](super::Disk::unlink).
    Unlink,
    /// [`Disk::flush_directory`](super::Disk::flush_directory).
    FlushDirectory,
    /// [`DiskFile::append`](super::DiskFile::append).
    Append,
    /// [`DiskFile::overwrite`](super::DiskFile::overwrite).
    Overwrite,
    /// [`DiskFile::allocate`](super::DiskFile::allocate).
    Allocate,
    /// [`DiskFile::flush`](super::DiskFile::flush).
    Flush,
    /// [`DiskFile::read_at`](super::DiskFile::read_at).
    Read,
}

impl OperationKind {
    /// Whether it changes something, or makes a change durable.
    #[must_use]
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::Read)
    }
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
    /// How much more room of the disk what it writes takes, in bytes.
    pub room: u64,
}

/// What happens instead of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error number, and nothing happens.
    Fail(i32),
    /// An append writes only so many bytes, or a flush makes only so many durable, and fails.
    Tear(usize, i32),
    /// It claims to have happened, and has not.
    Forget,
    /// The power goes: it and all that follow fail, until
    /// [`SimulatedDisk::after_power_cut`](super::SimulatedDisk::after_power_cut).
    PowerCut,
}

pub(super) type Plan = Box<dyn FnMut(Operation<'_>) -> Option<Fault> + Send>;

/// How an operation failed, and how much of it happened all the same.
pub(super) struct Failure {
    pub(super) keep: usize,
    pub(super) number: i32,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::from_raw_os_error(failure.number)
    }
}
