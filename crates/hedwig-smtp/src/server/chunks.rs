//! The chunks after BDAT (RFC 3030).

use bytes::{Buf, Bytes, BytesMut};

use super::content::take;

/// Takes one chunk. It waits in the caller's buffer until it is whole, so that it need not be copied.
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

    /// Takes from the front of `input`; `None` when more must come. A refused chunk is empty.
    pub(crate) fn receive(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        let here = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let is_whole = here as u64 == self.left;
        if !self.keeping {
            input.advance(here);
            self.left -= here as u64;
            return is_whole.then(Bytes::new);
        }
        is_whole.then(|| take(input, here))
    }

    /// How many bytes have yet to come behind so many that are in the buffer.
    pub(crate) fn bytes_wanted(&self, buffered: usize) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX).saturating_sub(buffered)
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
            return;
        }
        let first = std::mem::take(&mut self.first);
        self.joined.extend_from_slice(&first);
        self.joined.extend_from_slice(&chunk);
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
        assembly.add(ChunkReader::keeping(99_999).receive(&mut input).unwrap());
        assert_eq!(assembly.finish().as_ptr(), address);
        assert_eq!(&input[..], b"x");
    }
}
