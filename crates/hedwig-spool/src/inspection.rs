//! A look at a spool that changes nothing: the spool is opened as ever, from the log alone and on a disk that
//! keeps what is written to it in memory. So what this says is what an opening would make of the files.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hedwig_envelope::{MailId, State};

use crate::{
    Claim, Counts, Filter, Selection, Spool, SpoolError, SpoolOptions,
    disk::{Disk, RealDisk, UntouchedDisk},
    log::QUARANTINE,
    opening::LOCK_FILE,
    schedule::later,
};

/// How many mails are read before their memory is given back.
const PAGE_UNITS: usize = 64;
/// Whatever waits is due by then.
const FAR: Duration = Duration::from_hours(100 * 365 * 24);

/// What a look at a spool found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// How many recipients there are in each state.
    pub counts: Counts,
    /// How many places in its files are damaged.
    pub damaged: u64,
    /// The mails that wait and cannot be read.
    pub unreadable: Vec<MailId>,
    /// Where they are: the segment and the first octet of damage in the log, else the file.
    pub places: Vec<String>,
    /// Where notes of what was being tried cannot be read. No mail is lost by it, but one that was tried may be
    /// tried again without a mark of that.
    pub damaged_notes: Vec<String>,
    /// What was set aside in the quarantine before.
    pub quarantine: Vec<String>,
}

impl Inspection {
    /// Looks at the spool in this directory: every record, and every content of a mail that waits.
    ///
    /// # Errors
    /// As for [`Spool::open`]; also when there is no spool.
    pub async fn of(directory: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        let path = directory.join(LOCK_FILE);
        let doing = || SpoolError::io(format!("lock {}", path.display()));
        let lock = File::open(&path).map_err(doing())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SpoolError::InUse { directory: directory.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(doing()(error)),
        }
        let disk = UntouchedDisk::new(RealDisk::new(directory));
        let disk: Arc<dyn Disk> = Arc::new(disk);
        disk.create_directory(QUARANTINE).map_err(SpoolError::io("look at the quarantine"))?;
        let mut quarantine =
            disk.list(QUARANTINE).map_err(SpoolError::io("look at the quarantine"))?;
        quarantine.sort();
        let spool = Spool::on_disk(disk.clone(), None, options)?;
        let counts = spool.counts().await?;
        spool.release(&Selection::All).await?;
        let now = later(spool.clock().now(), FAR);
        while !spool.claim(now, Claim::up_to(PAGE_UNITS)).await?.leases.is_empty() {}
        // What can be read is being tried now, and what cannot is held.
        let held = Filter { state: Some(State::Held), ..Filter::default() };
        let unreadable = spool.list(&held).await?.iter().map(|status| status.id).collect();
        let mut places = disk.list(QUARANTINE).map_err(SpoolError::io("look at the quarantine"))?;
        places.retain(|name| !quarantine.contains(name));
        places.sort();
        let places = places.iter().map(|name| place_of(name)).collect();
        let damaged_notes = spool.shared.damaged_notes.clone();
        let damaged = spool.quarantined();
        Ok(Self { counts, damaged, places, unreadable, damaged_notes, quarantine })
    }

    /// Whether something is wrong with the spool, or was and has not been looked at since.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged > 0
            || ![&self.damaged_notes, &self.quarantine].iter().all(|places| places.is_empty())
            || !self.unreadable.is_empty()
    }
}

/// What was set aside under this name, and where it lies.
fn place_of(quarantined: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match quarantined.split_once('-') {
        Some((segment, from)) if is_number(segment) && is_number(from) => {
            format!("log/{segment}.segment at octet {from}")
        }
        None if quarantined.ends_with(".segment") => format!("log/{quarantined}"),
        Some((directory, file)) => format!("{directory}/{file}"),
        None => quarantined.to_owned(),
    }
}
