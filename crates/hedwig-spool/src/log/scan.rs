use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{Position, Readers, segment_name};
use crate::{
    SpoolError,
    disk::DiskFile,
    record::{HEADER_BYTES, Header, MAGIC, Record},
};

/// How much is read ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// What lies in the log next.
pub(crate) enum Scanned {
    /// A sound record, where it lies and where it ends.
    Record { at: Position, end: Position, record: Record },
    /// Bytes that are no record, with sound records or the end of the segment behind them.
    Damage { segment: u32, from: u64, to: u64 },
}

/// Goes through the records of some segments in order.
pub(crate) struct Scan {
    readers: Option<Arc<Readers>>,
    /// Number, where to begin and where to end.
    todo: VecDeque<(u32, u64, u64)>,
    current: Option<Segment>,
}

struct Segment {
    number: u32,
    file: Arc<dyn DiskFile>,
    offset: u64,
    end: u64,
    window: Window,
}

#[derive(Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Scan {
    pub(super) fn new(readers: Arc<Readers>, todo: Vec<(u32, u64, u64)>) -> Self {
        Self { readers: Some(readers), todo: todo.into(), current: None }
    }

    /// Goes through one file.
    pub(crate) fn of_file(file: Arc<dyn DiskFile>, number: u32, end: u64) -> Self {
        let segment = Segment { number, file, offset: 0, end, window: Window::default() };
        Self { readers: None, todo: VecDeque::new(), current: Some(segment) }
    }

    /// The next thing in the log; nothing at its end.
    pub(crate) fn next(&mut self) -> Result<Option<Scanned>, SpoolError> {
        loop {
            if let Some(segment) = self.current.as_mut().filter(|s| s.offset < s.end) {
                return segment.next().map(Some);
            }
            let (Some(readers), Some((number, offset, end))) =
                (&self.readers, self.todo.pop_front())
            else {
                return Ok(None);
            };
            let file = readers.file(number);
            let file = file.map_err(SpoolError::io(format!("open {}", segment_name(number))))?;
            let window = Window::default();
            self.current = Some(Segment { number, file, offset, end, window });
        }
    }
}

impl Segment {
    fn next(&mut self) -> Result<Scanned, SpoolError> {
        let segment = self.number;
        let from = self.offset;
        if let Some(record) = self.record_at(from)? {
            let at = Position { segment, offset: from };
            self.offset = from + record.1;
            let end = Position { segment, offset: self.offset };
            return Ok(Scanned::Record { at, end, record: record.0 });
        }
        self.offset = self.next_sound_record(from + 1)?;
        Ok(Scanned::Damage { segment, from, to: self.offset })
    }

    fn record_at(&mut self, offset: u64) -> Result<Option<(Record, u64)>, SpoolError> {
        let Some(header) = Header::parse(&self.bytes(offset, HEADER_BYTES)?) else {
            return Ok(None);
        };
        let length = header.record_bytes();
        if offset + length > self.end {
            return Ok(None);
        }
        let bytes = self.bytes(offset, length as usize)?;
        Ok(Record::parse(bytes).map(|record| (record, length)))
    }

    /// Where the next sound record begins; the end if there is none.
    fn next_sound_record(&mut self, mut offset: u64) -> Result<u64, SpoolError> {
        while offset < self.end {
            let window = self.bytes(offset, WINDOW_BYTES)?;
            let found = window.windows(4).position(|four| four == MAGIC);
            match found {
                Some(skip) => {
                    offset += skip as u64;
                    if self.record_at(offset)?.is_some() {
                        return Ok(offset);
                    }
                    offset += 1;
                }
                // The magic may straddle two windows.
                None => offset += (window.len() as u64).saturating_sub(3).max(1),
            }
        }
        Ok(self.end)
    }

    /// At least so many bytes from an offset on, or what there is, at most what was asked.
    fn bytes(&mut self, offset: u64, wanted: usize) -> Result<Bytes, SpoolError> {
        let wanted = wanted.min((self.end - offset) as usize);
        let inside = offset.checked_sub(self.window.start).map(|skip| skip as usize);
        if let Some(skip) = inside.filter(|skip| skip + wanted <= self.window.bytes.len()) {
            return Ok(self.window.bytes.slice(skip..skip + wanted));
        }
        let ahead = wanted.max(WINDOW_BYTES).min((self.end - offset) as usize);
        let mut bytes = vec![0; ahead];
        let read = self.file.read_at(offset, &mut bytes);
        let doing = format!("read {}", segment_name(self.number));
        bytes.truncate(read.map_err(SpoolError::io(doing))?);
        self.window = Window { start: offset, bytes: bytes.into() };
        let length = wanted.min(self.window.bytes.len());
        Ok(self.window.bytes.slice(..length))
    }
}
