//! A mark that an index was closed whole, with a checksum of it. SQLite notices damage to its own structure,
//! but not to what stands in it; an index whose seal does not hold, or that has none because its
//! process was killed, is not simply believed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::owner::hand_over;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    bytes: u64,
    /// xxh3-128 of the file, in hexadecimal.
    checksum: String,
}

/// What the seal says of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// There is no index yet.
    Nothing,
    /// It is as it was when it was closed.
    Whole,
    /// It was not closed: its process was killed, or the power went.
    Missing,
    /// It was changed since it was closed.
    Broken,
}

/// Looks at an index's seal and takes it off: from now on it may change.
pub(crate) fn open(index: &Path) -> io::Result<Seal> {
    let path = path_of(index);
    let read = fs::read(&path);
    match &read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(if index.try_exists()? { Seal::Missing } else { Seal::Nothing });
        }
        _ => fs::remove_file(&path)?,
    }
    if !index.try_exists()? {
        return Ok(Seal::Nothing);
    }
    let mark: Option<Mark> = serde_json::from_slice(&read?).ok();
    Ok(if mark == Some(mark_of(index)?) { Seal::Whole } else { Seal::Broken })
}

/// Seals an index that was closed. The seal is not flushed: without it the index is only looked at more
/// closely.
pub(super) fn close(index: &Path) -> io::Result<()> {
    let mark = mark_of(index)?;
    let file = File::create(path_of(index))?;
    hand_over(&file, index.parent().unwrap_or(Path::new(".")))?;
    serde_json::to_writer(file, &mark)?;
    Ok(())
}

fn path_of(index: &Path) -> PathBuf {
    let mut name = OsString::from(index);
    name.push(".seal");
    name.into()
}

fn mark_of(index: &Path) -> io::Result<Mark> {
    let mut file = File::open(index)?;
    let mut hasher = Xxh3Default::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(Mark { bytes, checksum: format!("{:032x}", hasher.digest128()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_until_the_index_changes_and_is_taken_off_when_it_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("index");
        assert_eq!(open(&index).unwrap(), Seal::Nothing);
        fs::write(&index, "what the log says").unwrap();
        assert_eq!(open(&index).unwrap(), Seal::Missing);
        close(&index).unwrap();
        assert_eq!(open(&index).unwrap(), Seal::Whole);
        assert_eq!(open(&index).unwrap(), Seal::Missing);
        close(&index).unwrap();
        fs::write(&index, "what the log sayt").unwrap();
        assert_eq!(open(&index).unwrap(), Seal::Broken);
    }
}
