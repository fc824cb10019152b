//! What the fuzz target `record` looks at: a segment's octets read as the log reads them, without a spool around.

use std::{fmt::Debug, io::IoSlice, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    SpoolError,
    disk::{Disk, SimulatedDisk},
    log::{Scan, Scanned, SegmentHead, segment_name},
    record::{Encoded, HEADER_BYTES, Header, Kind, MAGIC, Record},
    state::{Action, MailRecord, Settlement, Told},
};

/// What lies in a segment, in order and without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A sound record, from an octet to the one behind it.
    Record {
        /// Its first octet.
        from: u64,
        /// The octet behind it.
        to: u64,
        /// What it says, and the same written anew; nothing when its metadata cannot be understood.
        understood: Option<Understood>,
    },
    /// Octets that are no record.
    Damage {
        /// The first of them.
        from: u64,
        /// The octet behind them.
        to: u64,
    },
}

/// A record whose metadata could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Understood {
    /// All that it says, content included.
    pub says: String,
    /// The record, written anew.
    pub written: Vec<u8>,
}

/// The name of the only segment of a spool.
#[must_use]
pub fn first_segment() -> String {
    segment_name(1)
}

/// Reads a segment as an opening does.
///
/// # Errors
/// Only what the disk says, and that is memory.
pub fn pieces(segment: &[u8]) -> Result<Vec<Piece>, SpoolError> {
    let disk = SimulatedDisk::new();
    let file = disk.create("segment").map_err(SpoolError::io("make"))?;
    file.append(&mut [IoSlice::new(segment)]).map_err(SpoolError::io("write"))?;
    let mut scan = Scan::of_file(Arc::from(file), 1, segment.len() as u64);
    let mut pieces = Vec::new();
    while let Some(scanned) = scan.next()? {
        pieces.push(match scanned {
            Scanned::Damage { from, to, .. } => Piece::Damage { from, to },
            Scanned::Record { at, end, record } => {
                Piece::Record { from: at.offset, to: end.offset, understood: understood(&record) }
            }
        });
    }
    Ok(pieces)
}

/// Gives each record that has a header and all its octets the checksum that is right for it: no fuzzer guesses one.
pub fn seal(segment: &mut [u8]) {
    let mut at = 0;
    while at + HEADER_BYTES <= segment.len() {
        let rest = &mut segment[at..];
        let header = Header::parse(rest).filter(|h| h.record_bytes() <= rest.len() as u64);
        let Some(header) = header.filter(|_| rest.starts_with(&MAGIC)) else {
            at += 1;
            continue;
        };
        let length = header.record_bytes() as usize;
        let mut hasher = Xxh3::new();
        hasher.update(&rest[4..16]);
        hasher.update(&rest[HEADER_BYTES..length]);
        rest[16..24].copy_from_slice(&hasher.digest().to_le_bytes());
        at += length;
    }
}

fn understood(record: &Record) -> Option<Understood> {
    match record.kind {
        Kind::Segment => anew::<SegmentHead>(record),
        Kind::Mail => anew::<MailRecord>(record),
        Kind::Settlement => anew::<Settlement>(record),
        Kind::Action => anew::<Action>(record),
        Kind::Told => anew::<Told>(record),
    }
}

fn anew<T: Serialize + DeserializeOwned + Debug>(record: &Record) -> Option<Understood> {
    let metadata: T = record.metadata().ok()?;
    let content = record.content();
    let says = format!(
        "{:?} {} {} {metadata:?} {content:?}",
        record.kind, record.continues, record.follows
    );
    let mut encoded = Encoded::new(record.kind, &metadata, [content, Bytes::new()]);
    if record.continues {
        encoded = encoded.continues();
    }
    if record.follows {
        encoded = encoded.follows();
    }
    Some(Understood { says, written: encoded.parts().collect::<Vec<_>>().concat() })
}
