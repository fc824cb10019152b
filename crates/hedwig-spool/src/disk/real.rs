use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Advice, FallocateFlags, fadvise, fallocate},
    io::Errno,
};

use super::{Disk, DiskFile};
use crate::owner::hand_over;

/// The most parts that one call of `writev(2)` takes on the systems we know.
const PARTS_MAX: usize = 1024;
/// Mail is private: only the spool's owner reads it.
const FILE_MODE: u32 = 0o600;

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The disk below this directory, which must exist.
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_owned() }
    }
}

impl Disk for RealDisk {
    fn create_directory(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&path)?;
        hand_over(&File::open(path)?, &self.root)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(directory))? {
            // A name that is no UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(FILE_MODE);
        let path = self.root.join(name);
        let file = options.open(&path)?;
        if let Err(error) = hand_over(&file, &self.root) {
            fs::remove_file(path)?;
            return Err(error);
        }
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(self.root.join(name))?)))
    }

    fn open_to_change(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.root.join(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn flush_directory(&self, directory: &str) -> io::Result<()> {
        File::open(self.root.join(directory))?.sync_all()
    }

    fn capacity(&self) -> io::Result<u64> {
        let system = rustix::fs::statvfs(&self.root)?;
        Ok(system.f_blocks.saturating_mul(system.f_frsize))
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let some = &parts[..parts.len().min(PARTS_MAX)];
            match (&self.0).write_vectored(some) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn overwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<usize> {
        let mut total = 0;
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    total += read;
                    offset += read as u64;
                    buffer = &mut buffer[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let end = self.length()?;
        match fallocate(&self.0, FallocateFlags::KEEP_SIZE, end, bytes) {
            Err(Errno::OPNOTSUPP) => write_noise(&self.0, bytes),
            other => Ok(other?),
        }
    }

    fn forget_cached(&self) -> io::Result<()> {
        match fadvise(&self.0, 0, None, Advice::DontNeed) {
            // There is nothing between it and us, then.
            Err(Errno::OPNOTSUPP | Errno::INVAL) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Takes room where it cannot be asked for, with what no file system can make smaller.
fn write_noise(mut file: &File, bytes: u64) -> io::Result<()> {
    let mut noise = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        noise.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        let some = noise.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&noise[..some])?;
        left -= some as u64;
    }
    Ok(())
}
