//! The log: the truth of a spool. Numbered segment files that only grow, each a run of records.
//!
//! - A batch is written whole and flushed once; when that fails, its segment is left as it was known to be
//!   durable and never written again. The next batch begins a new one, whose first record says where
//!   the one before it ends. So what was refused does not come back, and nothing is asked of a file that
//!   failed a flush.
//! - Every opening begins a new segment too, with the first batch: no file is ever cut.
//! - Segments go oldest first, each only when all that lived in it was moved to the end. So the oldest
//!   one never holds a settlement whose mail lies further back.

mod chain;
mod scan;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IoSlice,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use scan::{Scan, Scanned};

use crate::{
    SpoolError,
    disk::{self, Disk, DiskFile},
    record::{Encoded, HEADER_BYTES, Header, Kind, Record},
};

const DIRECTORY: &str = "log";
pub(crate) const QUARANTINE: &str = "quarantine";

/// Where a record lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// What the first record of a segment says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SegmentHead {
    spool: String,
    segment: u32,
    /// The segment before, and how far it goes.
    previous: Option<(u32, u64)>,
}

pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    spool: String,
    segment_bytes_max: u64,
    /// How far each segment goes.
    segments: BTreeMap<u32, u64>,
    next: u32,
    active: Option<Active>,
    readers: Arc<Readers>,
    /// How many segments were set aside whole.
    set_aside: u64,
    /// What was set aside since: a place that is found twice is one.
    quarantined: BTreeSet<String>,
}

struct Active {
    number: u32,
    file: Arc<dyn DiskFile>,
}

impl Log {
    /// Finds the segments. `spool` is the id to give a spool that has none yet.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        spool: String,
        segment_bytes_max: u64,
    ) -> Result<Self, SpoolError> {
        for directory in [DIRECTORY, QUARANTINE] {
            disk.create_directory(directory)
                .map_err(SpoolError::io(format!("make {directory}")))?;
        }
        let chain = chain::find(&*disk)?;
        Ok(Self {
            readers: Arc::new(Readers { disk: disk.clone(), open: Mutex::default() }),
            disk,
            spool: chain.spool.unwrap_or(spool),
            segment_bytes_max,
            segments: chain.segments,
            next: chain.next,
            active: None,
            set_aside: chain.set_aside,
            quarantined: BTreeSet::new(),
        })
    }

    /// The spool's id.
    pub(crate) fn spool(&self) -> &str {
        &self.spool
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn readers(&self) -> Arc<Readers> {
        self.readers.clone()
    }

    pub(crate) fn quarantined(&self) -> u64 {
        self.set_aside + self.quarantined.len() as u64
    }

    /// Where the log begins and ends; nothing when it is empty.
    pub(crate) fn extent(&self) -> Option<(Position, Position)> {
        let (first, _) = self.segments.first_key_value()?;
        let (last, length) = self.segments.last_key_value()?;
        let start = Position { segment: *first, offset: 0 };
        Some((start, Position { segment: *last, offset: *length }))
    }

    /// Whether a position lies in the log.
    pub(crate) fn has(&self, position: Position) -> bool {
        self.segments.get(&position.segment).is_some_and(|length| position.offset <= *length)
    }

    /// The segments in order, with their lengths.
    pub(crate) fn segments(&self) -> &BTreeMap<u32, u64> {
        &self.segments
    }

    /// Writes records and makes them durable; tells where each lies. After an error none is there.
    pub(crate) fn append(&mut self, records: &[Encoded]) -> Result<Vec<Position>, SpoolError> {
        let full = |active: &Active| self.segments[&active.number] >= self.segment_bytes_max;
        if self.active.as_ref().is_none_or(full) {
            self.active = None;
        }
        let result = match self.active.take() {
            Some(active) => self.append_to(&active, None, records).map(|places| (active, places)),
            None => self.append_to_new(records),
        };
        // On an error `active` stays empty: that file is never written again.
        let (active, places) = result?;
        self.active = Some(active);
        Ok(places)
    }

    fn append_to_new(
        &mut self,
        records: &[Encoded],
    ) -> Result<(Active, Vec<Position>), SpoolError> {
        let number = self.next;
        // A number is used once, whatever becomes of its file.
        self.next += 1;
        let name = segment_name(number);
        let file = self.disk.create(&name).map_err(SpoolError::io(format!("make {name}")))?;
        let active = Active { number, file: file.into() };
        let head = SegmentHead {
            spool: self.spool.clone(),
            segment: number,
            previous: self.segments.last_key_value().map(|(number, length)| (*number, *length)),
        };
        let head = Encoded::new(Kind::Segment, &head, Default::default());
        let places = self.append_to(&active, Some(head), records);
        let flushed = places.and_then(|places| {
            let flushed = self.disk.flush_directory(DIRECTORY);
            flushed.map_err(SpoolError::io(format!("flush {DIRECTORY}"))).map(|()| places)
        });
        if flushed.is_err() {
            self.segments.remove(&number);
            // It may be half there; when the log is opened again, it is seen to be none of it.
            let gone = self.disk.unlink(&name).and_then(|()| self.disk.flush_directory(DIRECTORY));
            if let Err(error) = gone {
                tracing::warn!(%error, name, "a segment that could not be begun stays behind");
            }
        }
        flushed.map(|places| (active, places))
    }

    fn append_to(
        &mut self,
        active: &Active,
        head: Option<Encoded>,
        records: &[Encoded],
    ) -> Result<Vec<Position>, SpoolError> {
        let number = active.number;
        let start = self.segments.get(&number).copied().unwrap_or(0);
        let mut offset = start + head.as_ref().map_or(0, |head| head.len() as u64);
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            places.push(Position { segment: number, offset });
            offset += record.len() as u64;
        }
        let all = head.iter().chain(records).flat_map(Encoded::parts);
        let mut parts: Vec<_> = all.map(IoSlice::new).collect();
        let doing = |what: &str| SpoolError::io(format!("{what} {}", segment_name(number)));
        active.file.append(&mut parts).map_err(doing("write"))?;
        active.file.flush().map_err(doing("flush"))?;
        self.segments.insert(number, offset);
        Ok(places)
    }

    /// Reads on from a position to the end of the log.
    pub(crate) fn scan(&self, from: Position) -> Result<Scan, SpoolError> {
        let mut scan = Vec::new();
        for (number, length) in self.segments.range(from.segment..) {
            let start = if *number == from.segment { from.offset } else { 0 };
            scan.push((*number, start, *length));
        }
        Ok(Scan::new(self.readers(), scan))
    }

    /// Reads on from a position to the end of its segment.
    pub(crate) fn scan_segment(&self, from: Position) -> Scan {
        let length = self.segments.get(&from.segment).copied().unwrap_or(0);
        Scan::new(self.readers(), vec![(from.segment, from.offset, length)])
    }

    /// Whether this is the segment that is being written.
    pub(crate) fn is_active(&self, number: u32) -> bool {
        self.active.as_ref().is_some_and(|active| active.number == number)
    }

    /// Removes the oldest segment.
    pub(crate) fn unlink_oldest(&mut self) -> Result<(), SpoolError> {
        let Some((number, _)) = self.segments.pop_first() else { return Ok(()) };
        let name = segment_name(number);
        let gone = self.disk.unlink(&name).map_err(SpoolError::io(format!("unlink {name}")));
        // Not before: somebody who reads it just now would keep it open.
        self.readers.forget(number);
        gone?;
        self.disk.flush_directory(DIRECTORY).map_err(SpoolError::io(format!("flush {DIRECTORY}")))
    }

    /// Sets damaged bytes of a segment aside, and counts them. They stay where they are as well.
    ///
    /// # Errors
    /// When they could not be copied: then nothing may go past them.
    pub(crate) fn quarantine(
        &mut self,
        segment: u32,
        from: u64,
        to: u64,
    ) -> Result<(), SpoolError> {
        let name = format!("{segment:010}-{from}");
        tracing::error!(segment, from, to, name, "damaged bytes in the log are set aside");
        let doing = |what: &str| SpoolError::io(format!("{what} {}", segment_name(segment)));
        let file = self.readers.file(segment).map_err(doing("open"))?;
        self.set_aside(name, &*file, from, to).map_err(doing("set aside damage in"))
    }

    /// Sets aside what lies behind the last sound record, if the log once went on to this position there: it was
    /// durable, and so it is not what a power cut tore.
    ///
    /// # Errors
    /// When it could not be copied.
    pub(crate) fn quarantine_end(&mut self, known: Position) -> Result<(), SpoolError> {
        match self.segments.last_key_value() {
            Some((&segment, &end)) if segment == known.segment && end < known.offset => {
                self.quarantine(segment, end, known.offset)
            }
            _ => Ok(()),
        }
    }

    /// Sets a file of the spool aside, and counts it. It stays where it is as well.
    ///
    /// # Errors
    /// When it could not be copied.
    pub(crate) fn quarantine_file(&mut self, path: &str) -> Result<(), SpoolError> {
        let name = path.replace('/', "-");
        tracing::error!(path, name, "a damaged file is set aside");
        let doing = || SpoolError::io(format!("set aside {path}"));
        let file = self.disk.open(path).map_err(doing())?;
        let length = file.length().map_err(doing())?;
        self.set_aside(name, &*file, 0, length).map_err(doing())
    }

    fn set_aside(
        &mut self,
        name: String,
        source: &dyn DiskFile,
        from: u64,
        to: u64,
    ) -> std::io::Result<()> {
        if self.disk.list(QUARANTINE)?.contains(&name) {
            self.disk.flush_directory(QUARANTINE)?;
        } else {
            disk::put(&*self.disk, &format!("{QUARANTINE}/{name}"), |target| {
                copy(source, from, to, target)
            })?;
        }
        self.quarantined.insert(name);
        Ok(())
    }
}

fn copy(source: &dyn DiskFile, from: u64, to: u64, target: &dyn DiskFile) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut at = from;
    while at < to {
        let wanted = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = source.read_at(at, &mut buffer[..wanted])?;
        if read == 0 {
            break;
        }
        target.append(&mut [IoSlice::new(&buffer[..read])])?;
        at += read as u64;
    }
    Ok(())
}

/// Reads records from anywhere in the log, on any thread.
pub(crate) struct Readers {
    disk: Arc<dyn Disk>,
    open: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

impl Readers {
    /// The record at a position. Its segment may have been unlinked: then the mail has moved.
    pub(crate) fn read(&self, position: Position) -> Result<Record, SpoolError> {
        let name = segment_name(position.segment);
        let doing = || SpoolError::io(format!("read {name}"));
        let file = self.file(position.segment).map_err(doing())?;
        let mut header = [0; HEADER_BYTES];
        let read = file.read_at(position.offset, &mut header).map_err(doing())?;
        let damaged = || SpoolError::Damaged {
            file: name.clone(),
            reason: format!("there is no whole record at {}", position.offset),
        };
        let parsed = Header::parse(&header[..read]).ok_or_else(damaged)?;
        let length = file.length().map_err(doing())?;
        if position.offset + parsed.record_bytes() > length {
            return Err(damaged());
        }
        let mut bytes = vec![0; parsed.record_bytes() as usize];
        let read = file.read_at(position.offset, &mut bytes).map_err(doing())?;
        bytes.truncate(read);
        Record::parse(Bytes::from(bytes)).ok_or_else(damaged)
    }

    fn file(&self, number: u32) -> std::io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(file.clone());
        }
        let file: Arc<dyn DiskFile> = self.disk.open(&segment_name(number))?.into();
        // A backlog of many segments must not hold as many descriptors.
        if open.len() >= 64 {
            open.pop_first();
        }
        open.insert(number, file.clone());
        Ok(file)
    }

    fn forget(&self, number: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

pub(crate) fn segment_name(number: u32) -> String {
    format!("{DIRECTORY}/{number:010}.segment")
}

fn segment_number(file: &str) -> Option<u32> {
    file.strip_suffix(".segment")?.parse().ok()
}
