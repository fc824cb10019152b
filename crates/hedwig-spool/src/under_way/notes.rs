//! A file of notes, written over in place. It is full of blanks from its beginning on, so that what is noted takes
//! no more room on a disk that is full by then.

use std::io;

use super::{Begun, DIRECTORY, lines_of, parse};
use crate::disk::{Disk, DiskFile};

const BLANK: u8 = b' ';
/// Begins the first line, which tells the file's number. What is half filled with blanks does not begin so.
const NUMBER: char = '#';
/// More than a file ever has.
const READ_BYTES_MAX: u64 = 16 << 20;

/// One of the files that are written in turn.
pub(super) struct Notes {
    name: &'static str,
    file: Option<Box<dyn DiskFile>>,
    /// Where the next note goes, in bytes; 0 when it was not begun.
    end: usize,
    /// Behind this there is nothing but blanks.
    dirty: usize,
    /// How far the file reaches.
    length: usize,
}

/// What a file of notes says.
#[derive(Default)]
pub(super) struct Text {
    /// Which file came after which.
    pub(super) number: u64,
    pub(super) begun: Vec<Begun>,
    /// The octets where lines begin that cannot be read.
    pub(super) damaged: Vec<usize>,
    /// Behind this there is nothing but blanks.
    dirty: usize,
    length: usize,
}

impl Notes {
    pub(super) fn new(name: &'static str, text: &Text) -> Self {
        Self { name, file: None, end: 0, dirty: text.dirty, length: text.length }
    }

    /// Where the next note goes, in bytes; 0 when it was not begun.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Begins it with its number and with all that is under way. It must have been cleared.
    pub(super) fn begin(&mut self, disk: &dyn Disk, number: u64, all: &[Begun]) -> io::Result<()> {
        debug_assert_eq!(self.dirty, 0, "it was cleared");
        self.write(disk, &format!("{NUMBER}{number}\n{}", lines_of(all)))
    }

    /// Writes at the end.
    pub(super) fn write(&mut self, disk: &dyn Disk, text: &str) -> io::Result<()> {
        let end = self.end + text.len();
        self.dirty = self.dirty.max(end);
        self.put(disk, self.end, text.as_bytes())?;
        self.end = end;
        Ok(())
    }

    /// Writes blanks over all that was written, so that it can be begun, and takes so many bytes of room.
    pub(super) fn clear(&mut self, disk: &dyn Disk, room: usize) -> io::Result<()> {
        self.end = 0;
        if self.dirty > 0 {
            self.put(disk, 0, &vec![BLANK; self.dirty])?;
            self.dirty = 0;
        }
        self.take_room(disk, room)
    }

    /// Takes so many bytes of room, unless it has them.
    ///
    /// The blanks are flushed, so that a power cut leaves them as they are.
    pub(super) fn take_room(&mut self, disk: &dyn Disk, room: usize) -> io::Result<()> {
        if self.length >= room {
            return Ok(());
        }
        self.put(disk, self.length, &vec![BLANK; room - self.length])?;
        if let Some(file) = &self.file {
            file.flush()?;
        }
        disk.flush_directory(DIRECTORY)
    }

    fn put(&mut self, disk: &dyn Disk, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(disk, self.name)?,
        };
        let written = file.overwrite(offset as u64, bytes);
        // After an error it may reach anywhere; what is there is written over.
        if written.is_ok() {
            self.length = self.length.max(offset + bytes.len());
        }
        self.file = Some(file);
        written
    }
}

fn open(disk: &dyn Disk, name: &str) -> io::Result<Box<dyn DiskFile>> {
    let path = path_of(name);
    match disk.open_to_change(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            drop(disk.create(&path)?);
            disk.open_to_change(&path)
        }
        opened => opened,
    }
}

pub(super) fn path_of(name: &str) -> String {
    format!("{DIRECTORY}/{name}")
}

/// Makes what was read durable: the process that noted it was killed, and the power may go as well before it is
/// recorded.
pub(super) fn flush(disk: &dyn Disk, name: &str) -> io::Result<()> {
    disk.open(&path_of(name))?.flush()?;
    disk.flush_directory(DIRECTORY)
}

/// Reads a file of notes.
pub(super) fn read(disk: &dyn Disk, name: &str) -> io::Result<Text> {
    let file = disk.open(&path_of(name))?;
    let length = file.length()?.min(READ_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Text::of(&bytes))
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        let dirty = bytes.iter().rposition(|byte| *byte != BLANK).map_or(0, |last| last + 1);
        let mut text = Self { dirty, length: bytes.len(), ..Self::default() };
        let mut at = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            // The last line may be torn, and is what will be written over else.
            if let Some(line) = line.strip_suffix(b"\n") {
                text.add(at, &String::from_utf8_lossy(line));
            }
            at += line.len();
        }
        text
    }

    fn add(&mut self, at: usize, line: &str) {
        // Something may be missing before it, which a power cut kept from being written.
        let sound = line.rsplit("  ").next().unwrap_or(line);
        let sound = sound.trim_start_matches(' ').trim_start_matches('\0');
        let sound = sound.rsplit('\0').next().unwrap_or(sound);
        if at == 0
            && let Some(Ok(number)) = line.strip_prefix(NUMBER).map(str::parse)
        {
            self.number = number;
            return;
        }
        let begun = parse(sound);
        if begun.is_none() || sound.len() < line.len() {
            self.damaged.push(at);
        }
        self.begun.extend(begun);
    }
}
