//! What a server has delivered into a Maildir.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Result, clients::wire_lines};

/// The messages in a Maildir that nobody has read, in the order of their files' names, with CRLF line
/// ends. Whoever delivers the first of them makes the Maildir.
///
/// # Errors
/// When the directory or a message cannot be read.
pub(crate) fn messages(maildir: &Path) -> Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> = match fs::read_dir(maildir.join("new")) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    files.sort();
    files.iter().map(|file| Ok(wire_lines(&fs::read(file)?))).collect()
}
