//! Which segment files are the log: the newest, the one it names as the one before it, and so on.
//!
//! A file outside this chain was begun when a flush had failed, or was unlinked and came back with a power
//! cut. It holds nothing that was promised; it is put aside all the same, for nothing is deleted that
//! was not understood.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DIRECTORY, Position, QUARANTINE, Scan, Scanned, SegmentHead, segment_name, segment_number,
};
use crate::{
    SpoolError,
    disk::{Disk, DiskFile},
    record::{HEADER_BYTES, Header, Kind, Record},
};

#[derive(Default)]
pub(super) struct Chain {
    pub(super) spool: Option<String>,
    pub(super) segments: BTreeMap<u32, u64>,
    pub(super) next: u32,
    pub(super) set_aside: u64,
}

pub(super) fn find(disk: &dyn Disk) -> Result<Chain, SpoolError> {
    let names = disk.list(DIRECTORY).map_err(SpoolError::io("list the log"))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut chain = Chain { next: numbers.last().map_or(1, |last| last + 1), ..Chain::default() };
    let mut wanted = Wanted::AnyUpTo(u32::MAX);
    let mut aside = Vec::new();
    for number in numbers.iter().rev().copied() {
        let Some(limit) = wanted.limit(number) else {
            aside.push(number);
            continue;
        };
        let Some(found) = examine(disk, number, limit, chain.segments.is_empty())? else {
            aside.push(number);
            continue;
        };
        chain.segments.insert(number, found.length);
        wanted = match found.head {
            // Its head is damaged: whatever lies before it may belong to it.
            None => Wanted::AnyUpTo(number - 1),
            Some(head) => {
                chain.spool.get_or_insert(head.spool);
                head.previous.map_or(Wanted::None, |(number, length)| Wanted::Just(number, length))
            }
        };
    }
    for number in aside {
        chain.set_aside += u64::from(set_aside(disk, number)?);
    }
    Ok(chain)
}

/// Which segment comes before.
enum Wanted {
    None,
    Just(u32, u64),
    AnyUpTo(u32),
}

impl Wanted {
    /// How far this segment goes at most, if it is the one.
    fn limit(&self, number: u32) -> Option<u64> {
        match *self {
            Self::Just(wanted, length) => (number == wanted).then_some(length),
            Self::AnyUpTo(wanted) => (number <= wanted).then_some(u64::MAX),
            Self::None => None,
        }
    }
}

struct Found {
    head: Option<SegmentHead>,
    length: u64,
}

/// Looks at a segment; nothing when it holds no sound record at all.
fn examine(
    disk: &dyn Disk,
    number: u32,
    limit: u64,
    is_newest: bool,
) -> Result<Option<Found>, SpoolError> {
    let name = segment_name(number);
    let doing = |what: &str| SpoolError::io(format!("{what} {name}"));
    let file = disk.open(&name).map_err(doing("open"))?;
    let length = file.length().map_err(doing("read"))?;
    let length = length.min(limit);
    if is_newest {
        // What the last process wrote and did not flush is about to be believed: make it durable first. If
        // a flush of its failed, this one may succeed and mean nothing: so look at what the disk has.
        file.flush().map_err(doing("flush"))?;
        disk.flush_directory(DIRECTORY).map_err(SpoolError::io("flush the log's directory"))?;
        file.forget_cached().map_err(doing("read"))?;
    }
    let head = read_head(&*file, number).map_err(doing("read"))?;
    if !is_newest {
        return Ok(Some(Found { head, length }));
    }
    let end = sound_end(file.into(), number, length)?;
    Ok(end.map(|length| Found { head, length }))
}

fn read_head(file: &dyn DiskFile, number: u32) -> std::io::Result<Option<SegmentHead>> {
    let mut bytes = vec![0; HEADER_BYTES];
    let read = file.read_at(0, &mut bytes)?;
    let Some(header) = Header::parse(&bytes[..read]).filter(|h| h.kind == Kind::Segment) else {
        return Ok(None);
    };
    // A head is some 150 bytes; a damaged length must not make us take 4 GiB.
    if header.record_bytes() > 4096 {
        return Ok(None);
    }
    bytes.resize(header.record_bytes() as usize, 0);
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    let head = Record::parse(bytes.into()).and_then(|r| r.metadata::<SegmentHead>().ok());
    Ok(head.filter(|head| head.segment == number))
}

/// Where the last sound record ends; nothing if there is none.
fn sound_end(file: Arc<dyn DiskFile>, number: u32, length: u64) -> Result<Option<u64>, SpoolError> {
    let mut end = None;
    let mut scan = Scan::of_file(file, number, length);
    while let Some(scanned) = scan.next()? {
        if let Scanned::Record { end: Position { offset, .. }, .. } = scanned {
            end = Some(offset);
        }
    }
    Ok(end)
}

/// Moves a segment that is not part of the log out of the way; tells whether it may hold something.
fn set_aside(disk: &dyn Disk, number: u32) -> Result<bool, SpoolError> {
    let name = segment_name(number);
    let doing = |what: &str| SpoolError::io(format!("{what} {name}"));
    let length = disk.open(&name).and_then(|file| file.length()).map_err(doing("open"))?;
    if length == 0 {
        disk.unlink(&name).map_err(doing("unlink"))?;
    } else {
        tracing::warn!(name, length, "a segment is no part of the log and is set aside");
        let target = format!("{QUARANTINE}/{number:010}.segment");
        disk.rename(&name, &target).map_err(doing("set aside"))?;
        disk.flush_directory(QUARANTINE).map_err(SpoolError::io("flush the quarantine"))?;
    }
    disk.flush_directory(DIRECTORY).map_err(SpoolError::io("flush the log's directory"))?;
    Ok(length > 0)
}
