//! What a file holds, twice: as processes see it, and as the device has it.

/// The piece that a device writes whole or not at all, or, when it is unlucky, in part.
pub(super) const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// As it is read: what was written is there at once.
    cached: Vec<u8>,
    /// As the device has it for sure.
    device: Vec<u8>,
    /// What was written and not flushed, in order, and where.
    dirty: Vec<(usize, Vec<u8>)>,
    /// Room that was taken and not written to, in bytes.
    pub(super) allocated: u64,
}

/// What becomes of a piece that was not flushed when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is there.
    All,
    /// It is not, and the file does not reach so far unless a later piece does.
    Nothing,
    /// The file reaches so far, and has zeros there.
    Zeros,
    /// Only so many of its first bytes are there.
    First(usize),
    /// Only so many of its last bytes are there, and zeros before them.
    Last(usize),
}

impl Contents {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { device: bytes.clone(), cached: bytes, dirty: Vec::new(), allocated: 0 }
    }

    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    /// How far the device has it for sure.
    pub(super) fn durable_bytes(&self) -> usize {
        self.device.len()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let start = self.cached.len();
        self.cached.extend_from_slice(bytes);
        self.dirty.push((start, bytes.to_vec()));
        self.allocated = self.allocated.saturating_sub(bytes.len() as u64);
    }

    pub(super) fn overwrite(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.cached, offset, bytes);
        self.dirty.push((offset, bytes.to_vec()));
    }

    /// How much more room it takes to write so many bytes at the end.
    pub(super) fn room_for(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_sub(self.allocated)
    }

    /// How much more room it takes to write so many bytes there.
    pub(super) fn room_for_at(&self, offset: usize, bytes: usize) -> u64 {
        (offset + bytes).saturating_sub(self.cached.len()) as u64
    }

    /// Makes what was written durable.
    pub(super) fn flush(&mut self) {
        for (start, bytes) in std::mem::take(&mut self.dirty) {
            put(&mut self.device, start, &bytes);
        }
    }

    /// A flush fails after so many bytes. As with a kernel that reports an error once, what is left counts as
    /// written from now on: it is still read, and the next flush says nothing of it.
    pub(super) fn fail_flush(&mut self, mut left: usize) {
        for (start, bytes) in std::mem::take(&mut self.dirty) {
            let written = bytes.len().min(left);
            left -= written;
            put(&mut self.device, start, &bytes[..written]);
        }
    }

    /// Reads what the device has from now on, where nothing waits to be flushed.
    pub(super) fn forget_cached(&mut self) {
        let mut fresh = self.device.clone();
        fresh.resize(self.cached.len(), 0);
        for (start, bytes) in &self.dirty {
            put(&mut fresh, *start, bytes);
        }
        self.cached = fresh;
    }

    /// What is found when the power comes back; `survive` is asked of every piece of what was not flushed,
    /// a sector at most, with its length.
    pub(super) fn after_power_cut(&self, mut survive: impl FnMut(usize) -> Kept) -> Self {
        let mut device = self.device.clone();
        for (start, bytes) in &self.dirty {
            let (mut from, end) = (*start, start + bytes.len());
            while from < end {
                let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                let piece = &bytes[from - start..to - start];
                match survive(piece.len()) {
                    Kept::All => put(&mut device, from, piece),
                    Kept::Nothing => {}
                    Kept::Zeros => put(&mut device, from, &vec![0; piece.len()]),
                    Kept::First(bytes) => put(&mut device, from, &piece[..bytes.min(piece.len())]),
                    Kept::Last(bytes) => {
                        let skipped = piece.len().saturating_sub(bytes);
                        put(&mut device, from + skipped, &piece[skipped..]);
                    }
                }
                from = to;
            }
        }
        Self::of(device)
    }

    /// Changes both, as a failing device does.
    pub(super) fn corrupt(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.cached);
        *self = Self { allocated: self.allocated, ..Self::of(std::mem::take(&mut self.cached)) };
    }
}

/// Writes at an offset, with zeros before it where there was nothing.
fn put(device: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if device.len() < end {
        device.resize(end, 0);
    }
    device[offset..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Contents {
        let mut contents = Contents::of(b"old".to_vec());
        contents.append(&[b'a'; 600]);
        contents.append(b"bc");
        contents
    }

    #[test]
    fn a_power_cut_keeps_of_each_sector_what_it_is_told() {
        let mut lengths = Vec::new();
        let found = written().after_power_cut(|bytes| {
            lengths.push(bytes);
            [Kept::Nothing, Kept::First(1), Kept::All][lengths.len() - 1]
        });
        assert_eq!(lengths, [509, 91, 2]);
        assert_eq!(found.cached().len(), 605);
        assert!(found.cached()[3..512].iter().all(|byte| *byte == 0), "what was lost is a hole");
        assert_eq!(&found.cached()[512..514], b"a\0");
        assert!(found.cached().ends_with(b"\0bc"));
    }

    #[test]
    fn after_a_failed_flush_the_next_one_lies_and_the_device_can_be_asked() {
        let mut contents = written();
        contents.fail_flush(1);
        contents.flush();
        assert!(contents.cached().ends_with(b"bc"));
        assert_eq!(contents.durable_bytes(), 603);
        contents.forget_cached();
        assert_eq!(&contents.cached()[..5], b"olda\0");
        assert_eq!(contents.after_power_cut(|_| Kept::All).cached(), &contents.device);
    }
}
