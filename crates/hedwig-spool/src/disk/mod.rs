//! The seam between the log and the disk. Everything on which the promise "accepted means durable"
//! rests goes through it, so that a test can fail, tear or forget any single operation.
//!
//! Names are relative to the spool, with `/` between directory and file; directories are one deep.

mod real;
mod simulated;

use std::io::{self, IoSlice};

pub use real::RealDisk;
pub use simulated::{Fault, Operation, OperationKind, SimulatedDisk};

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
    /// Gives a file another name, and replaces what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes the names in a directory durable: what was created, renamed and unlinked. An empty name is
    /// the spool itself.
    fn flush_directory(&self, directory: &str) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all parts at the end. After an error nobody knows how much was written.
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Makes the data durable. After an error nobody knows what is, and asking again tells nothing.
    fn flush(&self) -> io::Result<()>;
    /// Reads into the buffer and tells how much; less than asked only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
}
