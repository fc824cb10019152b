//! The spool as both daemons set it: its settings, and how it is opened.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use hedwig_envelope::BoxError;
use hedwig_spool::{Grouping, Inspection, Spool, SpoolError, SpoolOptions};

use crate::{
    Exit,
    queue::state_name,
    settings::{Reading, Setting, Span},
};

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
    .help("How long a finished mail stays visible, and its idempotency key known; an hour while the queue fills its disk")
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

/// Opens a spool without holding up the runtime: it reads what the index does not know yet. A directory
/// that is not there is made, for this user's eyes only: mails lie in it.
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
    let opened = tokio::task::spawn_blocking(move || {
        make_directory(&directory)?;
        Spool::open(directory, spool_options).map_err(BoxError::from)
    });
    opened.await?
}

/// Looks at the files of a spool, says what it found, and changes nothing.
pub(crate) fn inspect(directory: &Path, grouping: Grouping) -> Exit {
    let options = SpoolOptions { grouping, ..SpoolOptions::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let inspected = runtime
        .map_err(BoxError::from)
        .map(|runtime| runtime.block_on(Inspection::of(directory, options)));
    let (error, exit) = match inspected {
        Ok(Ok(inspection)) => return tell(&inspection),
        Ok(Err(error @ SpoolError::Damaged { .. })) => (error.into(), Exit::Damaged),
        Ok(Err(error)) => (error.into(), Exit::TryAgain),
        Err(error) => (error, Exit::TryAgain),
    };
    let error: BoxError = error;
    eprintln!("error: the spool {} cannot be checked: {error}", directory.display());
    exit
}

fn tell(inspection: &Inspection) -> Exit {
    for (state, count) in inspection.counts.iter().filter(|(_, count)| *count > 0) {
        println!("recipients {}: {count}", state_name(state));
    }
    if inspection.damaged > 0 {
        println!("damaged: {} places; serve will set them aside", inspection.damaged);
    }
    for place in &inspection.places {
        println!("damaged: {place}");
    }
    for id in &inspection.unreadable {
        println!("damaged: mail {id} cannot be read; serve will hold it");
    }
    for place in &inspection.damaged_notes {
        println!(
            "damaged: {place}: a note of what was being tried; no mail is lost, but a second copy may come without a mark"
        );
    }
    for name in &inspection.quarantine {
        println!("damaged: quarantine/{name} was set aside; remove it when you have looked at it");
    }
    if inspection.is_damaged() {
        return Exit::Damaged;
    }
    println!("The spool is whole.");
    Exit::Done
}

fn make_directory(directory: &Path) -> Result<(), BoxError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| {
        let directory = directory.display();
        let way_out = "make it for the daemon's user, or name another one with --spool";
        format!("the spool's directory {directory} cannot be made: {error}; {way_out}").into()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_directory_is_for_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("var/spool");
        make_directory(&directory).unwrap();
        let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        make_directory(&directory).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told_with_the_way_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = make_directory(&file.path().join("spool")).unwrap_err().to_string();
        assert!(error.ends_with("or name another one with --spool"), "{error}");
    }
}
