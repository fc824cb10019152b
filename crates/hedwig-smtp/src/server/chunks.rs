//! The chunks after BDAT (RFC 3030).

use bytes::{Bytes, BytesMut};

use super::content::{let_go, take};

/// Takes one chunk. The first of a content waits in the caller's buffer until it is whole, so that it
/// need not be copied; what comes of a later one goes behind it at once.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    left: u64,
    keeping: bool,
}

impl ChunkReader {
    /// For a chunk of so many bytes.
    pub(crate) fn keeping(size: u64) -> Self {
        Self { left: size, keeping: true }
    }

    /// For a chunk that is refused already, and must be read all the same (RFC 3030 §2).
    pub(crate) fn discarding(size: u64) -> Self {
        Self { left: size, keeping: false }
    }

    /// Takes from the front of `input`, and adds it to what there is of the content; whether the chunk
    /// is whole.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, content: Option<&mut Assembly>) -> bool {
        let here = input.len().min(self.left());
        let is_whole = here as u64 == self.left;
        match content.filter(|_| self.keeping) {
            None => let_go(input, here),
            Some(content) if content.len() > 0 => {
                content.append(&input[..here]);
                let_go(input, here);
            }
            Some(_) if !is_whole => return false,
            Some(content) => content.add(take(input, here)),
        }
        self.left -= here as u64;
        is_whole
    }

    /// How many of its bytes have not been taken yet, those in the caller's buffer among them.
    pub(crate) fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }
}

/// The chunks of one content on their way to be one piece: the only one is not copied, each of several
/// is, once.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    first: Bytes,
    joined: BytesMut,
}

impl Assembly {
    pub(crate) fn add(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
        } else {
            self.append(&chunk);
        }
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let first = std::mem::take(&mut self.first);
        self.joined.extend_from_slice(&first);
        self.joined.extend_from_slice(bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    pub(crate) fn finish(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_one_piece_in_their_order() {
        let mut assembly = Assembly::default();
        for chunk in ["", "ab", "", "cd", "e"] {
            assembly.add(Bytes::from(chunk));
        }
        assert_eq!(assembly.len(), 5);
        assert_eq!(assembly.finish(), "abcde");
    }

    #[test]
    fn a_large_chunk_that_is_alone_is_not_copied() {
        let mut input = BytesMut::from(&[b'x'; 100_000][..]);
        let address = input.as_ptr();
        let mut assembly = Assembly::default();
        assert!(ChunkReader::keeping(99_999).receive(&mut input, Some(&mut assembly)));
        assert_eq!(assembly.finish().as_ptr(), address);
        assert_eq!(&input[..], b"x");
    }
}
