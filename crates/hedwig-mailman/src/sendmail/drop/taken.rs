//! What the daemon takes out of the drop, and how it reads it: every file comes from somebody it does
//! not trust.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hedwig_envelope::{MailId, Timestamp};
use hedwig_smtp::batch::{BatchError, BatchLimits, BatchMail, decode};

use super::{
    PickUpOptions,
    directory::{DropDirectories, told},
};

/// What is in a file besides the content: commands and parameters for each recipient.
const ENVELOPE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long a file may stand under its temporary name; whoever wrote it is gone then.
pub(super) const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(36 * 3600);
/// How many files are taken in one round.
const ROUND_FILES_MAX: usize = 1000;

/// Moves what was dropped out of its users' reach, under names that are ours. Returns what is there, the
/// oldest first, with what an earlier run left.
pub(super) fn take(directories: &DropDirectories) -> io::Result<Vec<MailId>> {
    let mut moved = 0;
    for entry in fs::read_dir(&directories.drop).map_err(told(&directories.drop))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Of what is no file, and of names that are not ours, nothing is known and nothing is done.
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        if name.starts_with("tmp.") {
            remove_if_abandoned(&entry.path(), &metadata);
        } else if name.parse::<MailId>().is_ok() {
            let id = MailId::new(Timestamp::now(), fastrand::u128(..));
            match fs::rename(entry.path(), directories.taken.join(id.to_string())) {
                Ok(()) => moved += 1,
                Err(error) => tracing::error!(name, %error, "a dropped mail cannot be taken"),
            }
        }
        if moved == ROUND_FILES_MAX {
            break;
        }
    }
    let entries = fs::read_dir(&directories.taken).map_err(told(&directories.taken))?;
    let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let ids = names.iter().filter_map(|name| name.to_str()?.parse::<MailId>().ok());
    let mut ids: Vec<MailId> = ids.collect();
    if !ids.is_empty() {
        // A new name must not be forgotten once a mail is queued under it.
        File::open(&directories.taken)?.sync_all()?;
        File::open(&directories.drop)?.sync_all()?;
    }
    ids.sort_unstable();
    Ok(ids)
}

/// What still has its temporary name was never said to be stored.
fn remove_if_abandoned(path: &Path, metadata: &fs::Metadata) {
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age > TEMPORARY_AGE_MAX) && fs::remove_file(path).is_ok() {
        tracing::warn!(path = %path.display(), "removed a drop that was never finished");
    }
}

/// A mail that was dropped, and the user whose file it was.
pub(super) struct Dropped {
    pub(super) mail: BatchMail,
    pub(super) user_id: u32,
}

/// Why a file is not read as a mail.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It may go well another time.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a plain file of its own, dropped by user {0}")]
    NotPlain(u32),
    #[error("it is larger than a mail may be, dropped by user {0}")]
    TooLarge(u32),
    #[error("it is no mail, dropped by user {0}: {1}")]
    Batch(u32, BatchError),
}

/// Reads a file that was taken.
pub(super) fn read(path: &Path, limits: &PickUpOptions) -> Result<Dropped, ReadError> {
    // A user may have put a link or a pipe in a file's place until it was taken.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(ReadError::NotPlain(fs::symlink_metadata(path)?.uid()));
        }
        opened => opened.map_err(told(path))?,
    };
    let metadata = file.metadata()?;
    let user_id = metadata.uid();
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(ReadError::NotPlain(user_id));
    }
    let bytes_max = limits.content_bytes_max.saturating_add(ENVELOPE_BYTES_MAX);
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::TooLarge(user_id));
    }
    let limits = BatchLimits {
        mails_max: 1,
        recipients_max: limits.recipients_max,
        content_bytes_max: limits.content_bytes_max,
    };
    let mails = decode(Bytes::from(bytes), &limits);
    let mut mails = mails.map_err(|error| ReadError::Batch(user_id, error))?;
    match mails.pop() {
        Some(mail) => Ok(Dropped { mail, user_id }),
        None => Err(ReadError::NotPlain(user_id)),
    }
}
