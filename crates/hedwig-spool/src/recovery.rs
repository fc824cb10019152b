//! From what is on disk to a spool that is ready: whose it is, the log's segments, and an index that has
//! read all of them.

use std::{fs, io::IoSlice, path::Path, sync::Arc};

use hedwig_envelope::MailId;
use serde::{Deserialize, Serialize};

use crate::{
    SpoolError, SpoolOptions,
    disk::{self, Disk, RealDisk},
    index::{Change, Index, Seal},
    log::{Log, Position, Scanned},
    prepare::{CONTENTS, remove_content},
    record::{Kind, Record},
    standing::{Standing, is_damage},
    state::{Action, MailRecord, Settlement, Told},
};

/// The format of the log and of the directory. 2 is 1 with records of another kind ([`Kind::Told`]), and with
/// recipients of whom a sender is yet to be told.
const FORMAT: u32 = 2;
const FORMAT_FILE: &str = "format";
/// How many records are taken over in one transaction.
const RECORDS_PER_TRANSACTION: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
    spool: String,
}

/// Opens the log of the spool on this disk, and makes the spool if there is none.
pub(crate) fn open_log(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    options: &SpoolOptions,
) -> Result<Log, SpoolError> {
    for name in ["", CONTENTS] {
        disk.create_directory(name).map_err(SpoolError::io("make the spool's directories"))?;
    }
    let known = read_known_format(&**disk, directory)?;
    let has_format = known.is_some();
    let spool = known.map_or_else(|| format!("{:032x}", fastrand::u128(..)), |known| known.spool);
    let log = Log::open(disk.clone(), spool.clone(), options.segment_bytes_max)?;
    if !has_format {
        write_format(&**disk, log.spool())?;
    } else if log.spool() != spool {
        let reason = format!("it names the spool {spool}, and the log is of {}", log.spool());
        return Err(SpoolError::Damaged { file: FORMAT_FILE.into(), reason });
    }
    Ok(log)
}

/// Whether there is a spool in a directory, of a format that this version reads. Changes nothing, and needs no lock.
///
/// # Errors
/// [`SpoolError::NewerFormat`] when a later version wrote it; else what the disk says.
pub fn is_spool(directory: &Path) -> Result<bool, SpoolError> {
    Ok(read_known_format(&RealDisk::new(directory), directory)?.is_some())
}

/// Raises the format of a spool that an earlier version wrote: from now on that version cannot read all of it.
pub(crate) fn migrate(disk: &dyn Disk, spool: &str) -> Result<(), SpoolError> {
    match read_format(disk)? {
        Some(known) if known.format < FORMAT => {
            tracing::info!(from = known.format, to = FORMAT, "the spool has a newer format now");
            write_format(disk, spool)
        }
        _ => Ok(()),
    }
}

fn read_known_format(disk: &dyn Disk, directory: &Path) -> Result<Option<Format>, SpoolError> {
    match read_format(disk)? {
        Some(format) if format.format > FORMAT => Err(SpoolError::NewerFormat {
            directory: directory.to_owned(),
            found: format.format,
            known: FORMAT,
        }),
        known => Ok(known),
    }
}

fn read_format(disk: &dyn Disk) -> Result<Option<Format>, SpoolError> {
    let doing = || SpoolError::io("read the spool's format");
    let names = disk.list("").map_err(doing())?;
    if !names.iter().any(|name| name == FORMAT_FILE) {
        return Ok(None);
    }
    let file = disk.open(FORMAT_FILE).map_err(doing())?;
    let mut bytes = vec![0; 4096];
    let read = file.read_at(0, &mut bytes).map_err(doing())?;
    let format = serde_json::from_slice(&bytes[..read]).map_err(|error| SpoolError::Damaged {
        file: FORMAT_FILE.into(),
        reason: error.to_string(),
    })?;
    Ok(Some(format))
}

fn write_format(disk: &dyn Disk, spool: &str) -> Result<(), SpoolError> {
    let format = Format { format: FORMAT, spool: spool.to_owned() };
    // Two plain fields: serde_json cannot fail.
    let text = serde_json::to_string(&format).expect("a format is plain data");
    disk::put(disk, FORMAT_FILE, |file| file.append(&mut [IoSlice::new(text.as_bytes())]))
        .map_err(SpoolError::io("write the spool's format"))
}

/// Opens the index, wherever there is room for it: on a full disk the reserve is given up for it, and when that
/// is not enough it is kept in memory until the next start, for without it the spool could not drain. Tells in
/// which file it is.
pub(crate) fn open_index_where_there_is_room<'a>(
    log: &mut Log,
    path: Option<&'a Path>,
    options: &SpoolOptions,
    give_up_reserve: impl FnOnce() -> bool,
) -> Result<(Index, Standing, Option<&'a Path>), SpoolError> {
    let mut opened = open_index(log, path, options);
    if trouble(&opened).is_some_and(SpoolError::is_no_space) && give_up_reserve() {
        opened = match opened {
            Ok((index, _)) => read_up(log, index, options),
            Err(_) => open_index(log, path, options),
        };
    }
    // A long log is not read into memory.
    let may_be_in_memory = log_bytes(log) <= options.doubtful_log_bytes_max;
    let lacks_room = trouble(&opened)
        .is_some_and(|error| matches!(error, SpoolError::Index(_)) && error.is_no_space());
    let Some(file) = path.filter(|_| lacks_room && may_be_in_memory) else {
        return opened.map(|(index, standing)| (index, standing, path));
    };
    tracing::warn!(
        file = %file.display(),
        "the disk has no room for the index: it is kept in memory until the next start"
    );
    drop(opened);
    // What there is of it takes room that the log needs.
    remove_index(file)?;
    let (index, standing) = rebuild_index(log, None, options)?;
    Ok((index, standing, None))
}

fn trouble(opened: &Result<(Index, Standing), SpoolError>) -> Option<&SpoolError> {
    match opened {
        Ok((_, standing)) => standing.trouble(),
        Err(error) => Some(error),
    }
}

fn log_bytes(log: &Log) -> u64 {
    log.segments().values().sum()
}

/// Opens the index and lets it read what it has not yet; makes it anew if it is of no use. One that cannot
/// be written just now is left behind the log.
fn open_index(
    log: &mut Log,
    path: Option<&Path>,
    options: &SpoolOptions,
) -> Result<(Index, Standing), SpoolError> {
    let seal = match path {
        Some(path) => Index::seal(path).map_err(SpoolError::io("look at the index's seal"))?,
        None => Seal::Nothing,
    };
    let is_doubtful = match seal {
        Seal::Nothing | Seal::Whole => false,
        Seal::Missing => log_bytes(log) <= options.doubtful_log_bytes_max,
        Seal::Broken => true,
    };
    if is_doubtful {
        tracing::info!(?seal, "what the index says may not be what was written to it");
        return rebuild_index(log, path, options);
    }
    match try_open(log, path, seal, options) {
        Ok(Some(opened)) => Ok(opened),
        Ok(None) => rebuild_index(log, path, options),
        Err(SpoolError::Index(error)) if is_damage(&error) => {
            tracing::warn!(%error, "the index cannot be used");
            rebuild_index(log, path, options)
        }
        Err(error) => Err(error),
    }
}

fn try_open(
    log: &mut Log,
    path: Option<&Path>,
    seal: Seal,
    options: &SpoolOptions,
) -> Result<Option<(Index, Standing)>, SpoolError> {
    let index = Index::open(path, log.spool(), options.attempts_kept_max)?;
    if seal == Seal::Missing && !index.is_sound()? {
        tracing::warn!("the index is damaged");
        return Ok(None);
    }
    let position = index.position();
    if position != Position::default() && !log.has(position) {
        tracing::warn!(?position, "the index knows what the log does not (any more)");
        log.quarantine_end(position)?;
        return Ok(None);
    }
    read_up(log, index, options).map(Some)
}

/// Lets an index read to the end of the log, or as far as there is room for what it reads.
fn read_up(
    log: &mut Log,
    mut index: Index,
    options: &SpoolOptions,
) -> Result<(Index, Standing), SpoolError> {
    match replay(log, &mut index, drop) {
        Ok(()) => Ok((index, Standing::Current)),
        Err(SpoolError::Index(error)) if !is_damage(&error) => {
            tracing::error!(%error, "the index cannot read on in the log yet");
            index.roll_back()?;
            Ok((index, Standing::behind(error.into(), options.clock.now())))
        }
        // Damage cannot be set aside without room, and nothing goes past it before.
        Err(error @ SpoolError::NoSpace(_)) => {
            tracing::error!(%error, "the index cannot read on in the log yet");
            index.roll_back()?;
            Ok((index, Standing::behind(error, options.clock.now())))
        }
        Err(error) => Err(error),
    }
}

/// Makes the index anew from the log.
pub(crate) fn rebuild_index(
    log: &mut Log,
    path: Option<&Path>,
    options: &SpoolOptions,
) -> Result<(Index, Standing), SpoolError> {
    tracing::info!("the index is made anew from the log");
    if let Some(path) = path {
        remove_index(path)?;
    }
    let index = Index::open(path, log.spool(), options.attempts_kept_max)?;
    read_up(log, index, options)
}

fn remove_index(path: &Path) -> Result<(), SpoolError> {
    for suffix in ["", "-wal", "-shm", ".seal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SpoolError::io(format!("remove {}", name.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lets the index read on to the end of the log, and hands on which mails were finished there.
pub(crate) fn replay(
    log: &mut Log,
    index: &mut Index,
    mut finished: impl FnMut(Vec<(MailId, Option<String>)>),
) -> Result<(), SpoolError> {
    let Some((start, end)) = log.extent() else { return Ok(()) };
    let from = if index.position() == Position::default() { start } else { index.position() };
    let mut scan = log.scan(from)?;
    let mut group = Group::default();
    let mut done = false;
    while !done {
        index.begin()?;
        let mut upto = index.position();
        for _ in 0..RECORDS_PER_TRANSACTION {
            match scan.next()? {
                None => {
                    (done, upto) = (true, end);
                    break;
                }
                Some(Scanned::Damage { segment, from, to }) => {
                    log.quarantine(segment, from, to)?;
                    group.give_up(log)?;
                }
                Some(Scanned::Record { at, end: to, record }) => {
                    // What was to go with a record that never came was not promised to anybody.
                    if record.kind == Kind::Segment {
                        group = Group::default();
                    }
                    group.is_broken |= record.follows && group.records.is_empty();
                    let continues = record.continues;
                    group.records.push((at, to, record));
                    if continues {
                        continue;
                    }
                    if group.is_broken {
                        group.give_up(log)?;
                    } else {
                        group.apply(log, index)?;
                    }
                    upto = to;
                }
            }
        }
        index.read_up_to(upto.max(index.position()));
        index.save()?;
        finished(index.take_finished());
    }
    Ok(())
}

/// Records that count only together: a settlement, or that a sender was told, and before it the mails that follow
/// from it.
#[derive(Default)]
struct Group {
    records: Vec<(Position, Position, Record)>,
    /// Its beginning is missing.
    is_broken: bool,
}

impl Group {
    fn apply(&mut self, log: &mut Log, index: &mut Index) -> Result<(), SpoolError> {
        for (at, end, record) in self.records.drain(..) {
            let bytes = end.offset - at.offset;
            match apply(index, at, bytes, &record) {
                Err(Trouble::Unreadable(error)) => {
                    tracing::error!(?at, %error, "a sound record cannot be understood");
                    log.quarantine(at.segment, at.offset, end.offset)?;
                }
                Err(Trouble::Index(error)) => return Err(error.into()),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// A part of it is missing. Nothing of it counts: the attempt will be made again, and reported again if need
    /// be. What there is of it is set aside.
    fn give_up(&mut self, log: &mut Log) -> Result<(), SpoolError> {
        self.is_broken = false;
        for (at, end, _) in self.records.drain(..) {
            log.quarantine(at.segment, at.offset, end.offset)?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Index(#[from] rusqlite::Error),
}

fn apply(index: &mut Index, at: Position, bytes: u64, record: &Record) -> Result<(), Trouble> {
    match record.kind {
        Kind::Segment => {}
        Kind::Mail => {
            let record: MailRecord = record.metadata()?;
            index.apply(at, &Change::Mail { record: &record, bytes })?;
        }
        Kind::Settlement => {
            let settlement: Settlement = record.metadata()?;
            index.apply(at, &Change::Settlement(&settlement))?;
        }
        Kind::Action => {
            let action: Action = record.metadata()?;
            index.apply(at, &Change::Action(&action))?;
        }
        Kind::Told => {
            let told: Told = record.metadata()?;
            index.apply(at, &Change::Told(&told))?;
        }
    }
    Ok(())
}

/// Removes the contents that no waiting mail refers to: their commit never was, or they are done with.
pub(crate) fn remove_orphans(disk: &dyn Disk, index: &Index) -> Result<(), SpoolError> {
    let wanted = index.files()?;
    for name in disk.list(CONTENTS).map_err(SpoolError::io("list the contents"))? {
        if !wanted.contains(&name) {
            remove_content(disk, &name);
        }
    }
    Ok(())
}
