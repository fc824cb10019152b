//! The seam between the log and the disk. Everything on which the promise "accepted means durable"
//! rests goes through it, so that a test can fail, tear or forget any single operation.
//!
//! Names are relative to the spool, with `/` between directory and file; directories are one deep.

mod real;
mod simulated;
mod untouched;

use std::io::{self, IoSlice};

pub use real::RealDisk;
pub(crate) use untouched::UntouchedDisk;

pub use simulated::{Fault, Kept, Operation, OperationKind, SimulatedDisk, Unflushed};

/// What the log needs of a file system.
pub trait Disk: Send + Sync + 'static {
    /// Makes a directory, unless there is one.
    fn create_directory(&self, name: &str) -> io::Result<()>;
    /// The names of the files in a directory, without the directory's, in no order.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// Makes a file; an error if there is one. It is durable only when flushed, its name only when its
    /// directory is.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to be read and flushed.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to be read, flushed and [written over](DiskFile::overwrite).
    fn open_to_change(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, and replaces what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes the names in a directory durable: what was created, renamed and unlinked. An empty name is
    /// the spool itself.
    fn flush_directory(&self, directory: &str) -> io::Result<()>;
    /// How many bytes fit in all, whoever has taken them.
    fn capacity(&self) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all parts at the end. After an error nobody knows how much was written.
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Writes at an offset, over what is there and, where the file does not reach so far, behind its end. What is
    /// written over takes no more room, unless the file system copies what is written. Only for a file that was
    /// [opened to be changed](Disk::open_to_change). After an error nobody knows how much was written.
    fn overwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the data durable. After an error nobody knows what is, and asking again tells nothing.
    fn flush(&self) -> io::Result<()>;
    /// Reads into the buffer and tells how much; less than asked only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Takes room for so many bytes on the disk, behind the end. All or nothing.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Lets go of what the system remembers of the file, so that what is read next is what the disk has.
    /// A system may remember, as if it were written, what it failed to write.
    fn forget_cached(&self) -> io::Result<()>;
}

/// Puts a file in place whole: after a power cut it is there as `fill` left it, or as it was before.
///
/// # Errors
/// What the disk says; then it is as it was before.
pub(crate) fn put(
    disk: &dyn Disk,
    name: &str,
    fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
    let draft = format!("{name}.new");
    if disk.list(directory)?.contains(&format!("{file}.new")) {
        disk.unlink(&draft)?;
    }
    let write = || {
        let file = disk.create(&draft)?;
        fill(&*file)?;
        file.flush()?;
        disk.rename(&draft, name)
    };
    if let Err(error) = write() {
        // It may not even be there. What is left of it is removed before the next is written.
        let _ = disk.unlink(&draft);
        return Err(error);
    }
    disk.flush_directory(directory)
}
