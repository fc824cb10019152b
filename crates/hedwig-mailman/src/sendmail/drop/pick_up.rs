use std::{
    fs::{self, File, OpenOptions},
    future::Future,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    pin::pin,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hedwig_envelope::{
    BoxError, Mail, MailId, MailService, Origin, Outcome, RefusalKind, Timestamp, rescue,
};
use hedwig_smtp::batch::{BatchError, BatchLimits, BatchMail, decode};
use tower::ServiceExt;

use super::directory::{DropDirectories, told};

/// What is in a file besides the content: commands and parameters for each recipient.
const ENVELOPE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long a file may stand under its temporary name; whoever wrote it is gone then.
const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(36 * 3600);
/// How many files are taken in one round.
const ROUND_FILES_MAX: usize = 1000;

/// How dropped mail is picked up.
#[derive(Clone, Debug)]
pub struct PickUpOptions {
    /// The largest content of a mail, in bytes.
    pub content_bytes_max: u64,
    /// The most recipients of a mail.
    pub recipients_max: usize,
    /// How long to wait between two looks.
    pub interval: Duration,
}

impl Default for PickUpOptions {
    fn default() -> Self {
        Self {
            content_bytes_max: 50 * 1024 * 1024,
            recipients_max: 10_000,
            interval: Duration::from_secs(5),
        }
    }
}

/// Gives the mail that programs have dropped to a service.
///
/// The service is to store it: each mail comes with an idempotency key, and comes again under the same
/// one after a crash.
#[derive(Clone, Debug)]
pub struct PickUp<S> {
    directories: DropDirectories,
    service: S,
    options: PickUpOptions,
}

impl<S: MailService> PickUp<S> {
    /// A pick-up that gives the mail in these directories, which exist, to the service.
    pub fn new(directories: DropDirectories, service: S, options: PickUpOptions) -> Self {
        Self { directories, service, options }
    }

    /// Looks at once and then again and again, until `stop`.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            // What is cut short is not lost: its file is still there.
            tokio::select! {
                biased;
                () = &mut stop => return,
                looked = self.look() => if let Err(error) = looked {
                    tracing::error!(%error, "dropped mail cannot be picked up; trying again");
                },
            }
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(self.options.interval) => {}
            }
        }
    }

    /// Picks up what there is.
    ///
    /// # Errors
    /// When a directory cannot be read, or the service cannot take mail just now. What was not picked
    /// up is still there.
    pub async fn look(&self) -> Result<(), BoxError> {
        let directories = self.directories.clone();
        let taken = tokio::task::spawn_blocking(move || take(&directories)).await??;
        for id in taken {
            self.pick_up(id).await?;
        }
        Ok(())
    }

    async fn pick_up(&self, id: MailId) -> Result<(), BoxError> {
        let path = self.directories.taken.join(id.to_string());
        let limits = self.options.clone();
        let read = tokio::task::spawn_blocking(move || read(&path, &limits)).await?;
        let (mail, user_id) = match read {
            Ok(dropped) => (mail(id, dropped.mail), dropped.user_id),
            Err(ReadError::Io(error)) => {
                // The others are not to wait for this one.
                tracing::error!(%id, %error, "a dropped mail cannot be read; trying again");
                return Ok(());
            }
            Err(error) => return self.refuse(id, &error.to_string()),
        };
        match self.service.clone().oneshot(mail).await {
            Ok(receipt) if receipt.outcomes.iter().any(|o| matches!(o, Outcome::Deferred(_))) => {
                Err("the service takes no mail just now".into())
            }
            Ok(receipt) => {
                tracing::info!(id = %receipt.id, user_id, "picked up a dropped mail");
                for outcome in &receipt.outcomes {
                    if let Outcome::Failed(answer) = outcome {
                        return self.refuse(id, &answer.reply.to_string());
                    }
                }
                fs::remove_file(self.directories.taken.join(id.to_string())).map_err(Into::into)
            }
            Err(error) => match rescue(&error) {
                refusal if refusal.kind == RefusalKind::KeyReused => {
                    self.refuse(id, "the file was changed after it had been picked up")
                }
                refusal if refusal.reply.is_permanent() => {
                    self.refuse(id, &refusal.reply.to_string())
                }
                _ => Err(error),
            },
        }
    }

    /// Puts what cannot be used where an operator finds it.
    fn refuse(&self, id: MailId, reason: &str) -> Result<(), BoxError> {
        let refused = self.directories.refused.join(id.to_string());
        let (path, reason) = (refused.display(), reason.replace(char::is_control, "?"));
        tracing::error!(%path, reason, "a dropped file is no mail that can be sent; it is kept there");
        fs::rename(self.directories.taken.join(id.to_string()), &refused).map_err(Into::into)
    }
}

/// The mail that a dropped one becomes. All in it follows from the file and its name, so that it is the
/// same mail when it is read again.
fn mail(id: MailId, dropped: BatchMail) -> Mail {
    let [a, b, c, d, e, f, ..] = id.to_bytes();
    let millisecond = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let taken_at = Timestamp::from_millisecond(millisecond).unwrap_or(Timestamp::UNIX_EPOCH);
    Mail {
        id,
        envelope: dropped.envelope,
        content: dropped.content,
        origin: Origin { idempotency_key: Some(id.into()), ..Origin::local(taken_at) },
    }
}

/// Moves what was dropped out of its users' reach, under names that are ours. Returns what is there, the
/// oldest first, with what an earlier run left.
fn take(directories: &DropDirectories) -> io::Result<Vec<MailId>> {
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
    if moved > 0 {
        // The new name must not be forgotten once a mail is queued under it.
        File::open(&directories.taken)?.sync_all()?;
        File::open(&directories.drop)?.sync_all()?;
    }
    let entries = fs::read_dir(&directories.taken).map_err(told(&directories.taken))?;
    let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let ids = names.iter().filter_map(|name| name.to_str()?.parse::<MailId>().ok());
    let mut ids: Vec<MailId> = ids.collect();
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

struct Dropped {
    mail: BatchMail,
    user_id: u32,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a plain file of its own, dropped by user {0}")]
    NotPlain(u32),
    #[error("it is larger than a mail may be, dropped by user {0}")]
    TooLarge(u32),
    #[error("it is no mail, dropped by user {0}: {1}")]
    Batch(u32, BatchError),
}

fn read(path: &Path, limits: &PickUpOptions) -> Result<Dropped, ReadError> {
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
