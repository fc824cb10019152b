//! Whose files these are. An operator's command run by root must not leave files that the daemon, which is
//! somebody else, cannot open.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, fchown},
    path::Path,
};

/// Gives a file that root has just made to whom its directory belongs. What others make stays theirs.
///
/// # Errors
/// When that is not allowed: better no file than one in the daemon's way.
pub(crate) fn hand_over(file: &File, directory: &Path) -> io::Result<()> {
    let made = file.metadata()?;
    let home = fs::metadata(directory)?;
    if made.uid() != 0 || home.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(home.uid()), Some(home.gid())).map_err(|error| {
        let directory = directory.display();
        let way_out = format!("run this as the user with the id {}, whose it is", home.uid());
        let text =
            format!("a file in {directory} cannot be given to its owner: {error}; {way_out}");
        io::Error::new(error.kind(), text)
    })
}
