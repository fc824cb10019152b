use std::{
    io,
    path::{Path, PathBuf},
};

use hedwig_envelope::{Refusal, RefusalKind};

/// Why the spool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process, or another handle of this one, has the spool open.
    #[error("the spool {} is in use by another process; stop it, or ask it", .directory.display())]
    InUse {
        /// The spool's directory.
        directory: PathBuf,
    },
    /// A later version of Hedwig wrote this spool.
    #[error(
        "the spool {} has format {found}, and this version knows formats up to {known}; run a newer Hedwig",
        .directory.display()
    )]
    NewerFormat {
        /// The spool's directory.
        directory: PathBuf,
        /// The format that was found.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// The disk is full (or the quota used up): nothing was stored.
    #[error("the spool has no space left: {0}")]
    NoSpace(String),
    /// A read, write or flush failed: nothing was stored.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, and to which file.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the spool does not hold what it should.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// The file's name in the spool.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The index cannot be read or written just now. The log has what was promised, and the index reads on
    /// there as soon as it can.
    #[error("the spool's index fails: {0}")]
    Index(#[from] rusqlite::Error),
    /// The idempotency key, or the mail's id, belongs to a mail with another envelope or content.
    #[error("the key {0:?} belongs to another mail")]
    KeyReused(String),
    /// The mail cannot be queued as it is.
    #[error("the mail cannot be queued: {0}")]
    Malformed(&'static str),
    /// Somebody else has, or had, the unit since; what the lease's holder says counts no more.
    #[error("the lease has been lost: the unit was given to another, or is done with")]
    LeaseLost,
    /// As many outcomes as recipients are wanted.
    #[error("{given} outcomes were given for {wanted} recipients")]
    OutcomesMismatch {
        /// How many recipients the lease has.
        wanted: usize,
        /// How many outcomes were given.
        given: usize,
    },
    /// The spool has been closed.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace(format!("cannot {doing}: {source}"))
            }
            _ => Self::Io { doing, source },
        }
    }

    /// Whether there was no room, in the log or for the index.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace(_) => true,
            Self::Index(rusqlite::Error::SqliteFailure(failure, _)) => {
                // SQLite says so when there is no room for the file that its readers share.
                failure.code == rusqlite::ErrorCode::DiskFull
                    || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
            }
            _ => false,
        }
    }

    /// The same with the way out, if there was no room to open the spool in this directory.
    pub(crate) fn while_opening(self, directory: &Path) -> Self {
        if !self.is_no_space() {
            return self;
        }
        let directory = directory.display();
        Self::NoSpace(match self {
            Self::NoSpace(text) => format!("{text}; make room on the disk of {directory}"),
            other => format!("{other}; make room on the disk of {directory}"),
        })
    }

    /// The same error for another who waited for the same flush.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::NoSpace(text) => Self::NoSpace(text.clone()),
            Self::Io { doing, source } => {
                let source = io::Error::new(source.kind(), source.to_string());
                Self::Io { doing: doing.clone(), source }
            }
            Self::KeyReused(key) => Self::KeyReused(key.clone()),
            Self::Index(rusqlite::Error::SqliteFailure(failure, text)) => {
                Self::Index(rusqlite::Error::SqliteFailure(*failure, text.clone()))
            }
            other => {
                let source = io::Error::other(other.to_string());
                Self::Io { doing: "write the log".into(), source }
            }
        }
    }
}

const NO_ROOM: &str = "The queue has no room, try later";

impl From<&SpoolError> for Refusal {
    /// What to tell whoever sent the mail. Nothing of our inside is told.
    fn from(error: &SpoolError) -> Self {
        let (kind, text) = match error {
            error if error.is_no_space() => (RefusalKind::NoSpace, NO_ROOM),
            SpoolError::KeyReused(_) => {
                (RefusalKind::KeyReused, "The idempotency key belongs to another mail")
            }
            SpoolError::Malformed(reason) => (RefusalKind::Malformed, *reason),
            _ => (RefusalKind::Unavailable, "The queue cannot take mail just now, try again later"),
        };
        Self::new(kind, text)
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        Self::from(&error)
    }
}

/// A [`SpoolError`] on its way up a stack of services: shown, it tells what happened; below it stands
/// the [`Refusal`] that [`rescue`](hedwig_envelope::rescue) finds.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Refused {
    error: SpoolError,
    #[source]
    refusal: Refusal,
}

impl From<SpoolError> for Refused {
    fn from(error: SpoolError) -> Self {
        Self { refusal: Refusal::from(&error), error }
    }
}
