//! The spool as both daemons set it: its settings, and how it is opened.

use std::{path::PathBuf, time::Duration};

use hedwig_envelope::BoxError;
use hedwig_spool::{Grouping, Spool, SpoolError, SpoolOptions};

use crate::settings::{Reading, Setting, Span};

/// The setting for the spool's directory, with a daemon's own default.
#[must_use]
pub const fn directory(default: &'static str) -> Setting {
    Setting::text("spool", "dir", "DIR")
        .flag("spool")
        .help("The directory of the queue: on a disk that survives restarts")
        .default(default)
}

/// The setting for how long finished mails stay visible.
pub static RETENTION: Setting = Setting::text("spool", "retention", "SPAN")
    .help("How long a finished mail stays visible, and its idempotency key known")
    .default("7d");

/// The spool's directory under any daemon's default: for look-ups.
static DIRECTORY: Setting = directory("");

/// Which spool, and how it is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it lies.
    pub directory: PathBuf,
    /// How long finished mails stay.
    pub retention: Duration,
    /// Which recipients are tried together.
    pub grouping: Grouping,
}

impl Options {
    /// Reads the settings of section `[spool]`.
    pub fn read(read: &mut Reading<'_>, grouping: Grouping) -> Option<Self> {
        let directory = read.one(&DIRECTORY);
        let retention = read.one::<Span>(&RETENTION);
        Some(Self { directory: directory?, retention: retention?.0, grouping })
    }
}

/// Opens a spool without holding up the runtime: it reads what the index does not know yet.
///
/// # Errors
/// When it is in use, damaged, or its directory cannot be made.
pub async fn open(options: Options) -> Result<Spool, BoxError> {
    let spool_options = SpoolOptions {
        grouping: options.grouping,
        retention: options.retention,
        ..SpoolOptions::default()
    };
    let directory = options.directory;
    let opened = tokio::task::spawn_blocking(move || Spool::open(directory, spool_options)).await?;
    opened.map_err(|error: SpoolError| error.into())
}
