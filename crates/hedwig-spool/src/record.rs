//! One record of the log: a header, metadata as JSON (legible, and open to new fields), and the octets
//! of a content as they are.
//!
//! ```text
//! magic   version kind flags 0   metadata length  content length   checksum
//! HdwR    1       ..   ..    0   u32              u32              u64, xxh3 of all that is not magic
//! ```
//! Numbers are little-endian.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::Xxh3;

pub(crate) const HEADER_BYTES: usize = 24;
pub(crate) const MAGIC: [u8; 4] = *b"HdwR";
const VERSION: u8 = 1;
/// Set on a record that counts only together with the next one.
const CONTINUES: u8 = 1;
/// Set on a record that counts only together with the one before.
const FOLLOWS: u8 = 2;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first of each segment.
    Segment = 1,
    /// A mail was accepted, or moved here with all that has become of it.
    Mail = 2,
    /// A unit was tried.
    Settlement = 3,
    /// An operator did something.
    Action = 4,
    /// A sender was told of some recipients of a mail.
    Told = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Segment, Self::Mail, Self::Settlement, Self::Action, Self::Told]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A record ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// Header and metadata.
    head: Vec<u8>,
    content: [Bytes; 2],
}

impl Encoded {
    pub(crate) fn new(kind: Kind, metadata: &impl Serialize, content: [Bytes; 2]) -> Self {
        let mut head = vec![0; HEADER_BYTES];
        // Our own types, with text keys, into memory: neither serde_json nor the Vec can fail.
        serde_json::to_writer(&mut head, metadata).expect("metadata is plain data");
        let content_bytes = content[0].len() + content[1].len();
        head[..4].copy_from_slice(&MAGIC);
        head[4] = VERSION;
        head[5] = kind as u8;
        let metadata_bytes = (head.len() - HEADER_BYTES) as u32;
        head[8..12].copy_from_slice(&metadata_bytes.to_le_bytes());
        head[12..16].copy_from_slice(&(content_bytes as u32).to_le_bytes());
        let mut encoded = Self { head, content };
        encoded.seal();
        encoded
    }

    /// Makes it count only together with the record that follows.
    pub(crate) fn continues(mut self) -> Self {
        self.head[6] |= CONTINUES;
        self.seal();
        self
    }

    /// Makes it count only together with the record before.
    pub(crate) fn follows(mut self) -> Self {
        self.head[6] |= FOLLOWS;
        self.seal();
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.content[0].len() + self.content[1].len()
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        [&self.head[..], &self.content[0][..], &self.content[1][..]]
            .into_iter()
            .filter(|part| !part.is_empty())
    }

    fn seal(&mut self) {
        let mut hasher = Xxh3::new();
        hasher.update(&self.head[4..16]);
        hasher.update(&self.head[HEADER_BYTES..]);
        hasher.update(&self.content[0]);
        hasher.update(&self.content[1]);
        self.head[16..24].copy_from_slice(&hasher.digest().to_le_bytes());
    }
}

/// A header as it was read, not yet believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) continues: bool,
    pub(crate) follows: bool,
    pub(crate) metadata_bytes: usize,
    pub(crate) content_bytes: usize,
    checksum: u64,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        if bytes[..4] != MAGIC || bytes[4] != VERSION {
            return None;
        }
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let checksum = u64::from(number(16)) | u64::from(number(20)) << 32;
        Some(Self {
            kind: Kind::from_byte(bytes[5])?,
            continues: bytes[6] & CONTINUES != 0,
            follows: bytes[6] & FOLLOWS != 0,
            metadata_bytes: number(8) as usize,
            content_bytes: number(12) as usize,
            checksum,
        })
    }

    /// How long the whole record is.
    pub(crate) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.metadata_bytes as u64 + self.content_bytes as u64
    }
}

/// A record whose checksum holds.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) continues: bool,
    pub(crate) follows: bool,
    bytes: Bytes,
    metadata_bytes: usize,
}

impl Record {
    /// The record that these bytes are, header first.
    pub(crate) fn parse(bytes: Bytes) -> Option<Self> {
        let header = Header::parse(&bytes)?;
        if header.record_bytes() != bytes.len() as u64 {
            return None;
        }
        let mut hasher = Xxh3::new();
        hasher.update(&bytes[4..16]);
        hasher.update(&bytes[HEADER_BYTES..]);
        (hasher.digest() == header.checksum).then_some(Self {
            kind: header.kind,
            continues: header.continues,
            follows: header.follows,
            bytes,
            metadata_bytes: header.metadata_bytes,
        })
    }

    pub(crate) fn metadata<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes[HEADER_BYTES..HEADER_BYTES + self.metadata_bytes])
    }

    pub(crate) fn content(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES + self.metadata_bytes..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> Vec<u8> {
        let content = [Bytes::from_static(b"Received: x\r\n"), Bytes::from_static(b"\r\nhi\r\n")];
        Encoded::new(Kind::Mail, &"metadata", content).parts().collect::<Vec<_>>().concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let record = Record::parse(encoded().into()).unwrap();
        assert_eq!((record.kind, record.continues), (Kind::Mail, false));
        assert_eq!(record.metadata::<String>().unwrap(), "metadata");
        assert_eq!(record.content(), "Received: x\r\n\r\nhi\r\n");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encoded();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::parse(bad.into()).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_can_hang_on_its_neighbours() {
        let encoded = Encoded::new(Kind::Mail, &0, Default::default());
        for (encoded, hangs) in [
            (encoded.clone(), (false, false)),
            (encoded.clone().continues(), (true, false)),
            (encoded.clone().follows(), (false, true)),
            (encoded.continues().follows(), (true, true)),
        ] {
            let bytes = encoded.parts().collect::<Vec<_>>().concat();
            assert_eq!(bytes.len(), encoded.len());
            let record = Record::parse(bytes.into()).unwrap();
            assert_eq!((record.continues, record.follows), hangs);
        }
    }
}
