use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use hedwig_envelope::{Content, Envelope, MailId};
use hedwig_smtp::batch::{BatchMail, encode};

use super::directory::{DropDirectories, told};

/// The owner writes and reads, the daemon reads by its group, others nothing.
const FILE_MODE: u32 = 0o640;

/// Leaves a mail in the drop. When this returns, it is on stable storage.
///
/// # Errors
/// When it could not be stored, with the path and the reason; then nothing is left behind.
pub(crate) fn write(
    directories: &DropDirectories,
    id: MailId,
    envelope: Envelope,
    content: Content,
) -> io::Result<()> {
    directories.make_drop()?;
    let temporary = directories.drop.join(format!("tmp.{id}"));
    let whole = directories.drop.join(id.to_string());
    let mail = BatchMail { key: None, envelope, content };
    write_file(&temporary, &mail)
        .and_then(|file| {
            fs::rename(&temporary, &whole)?;
            flush_directory(&directories.drop, &file).inspect_err(|_| {
                // It would be there or not after a power cut, so it must not be there.
                let _ = fs::remove_file(&whole);
            })
        })
        .inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
        .map_err(told(&whole))
}

fn write_file(path: &Path, mail: &BatchMail) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for piece in encode(std::slice::from_ref(mail)) {
        file.write_all(&piece)?;
    }
    // The umask has no say in who may read it.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.sync_all()?;
    Ok(file)
}

/// Who may only write into a directory cannot open it to flush it: then the whole file system is
/// flushed, through a file in it.
fn flush_directory(directory: &Path, file: &File) -> io::Result<()> {
    match File::open(directory) {
        Ok(directory) => directory.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            rustix::fs::syncfs(file).map_err(Into::into)
        }
        Err(error) => Err(error),
    }
}
