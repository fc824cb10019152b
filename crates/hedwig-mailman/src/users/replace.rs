use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Puts a file in the place of this one, in the directory that is open, so that a reader, and whoever comes after a crash,
/// sees the one or the other whole. Only its owner may read it, unless `fill` says otherwise. Nobody else may do so at the
/// same time.
pub(super) fn replace(
    path: &Path,
    directory: &File,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Left behind by somebody who was killed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    fill(&mut file)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    directory.sync_all()
}
