//! Which attempts are under way, for the process that comes after one that was killed: it cannot know
//! whether the servers have taken what was being sent, and has to say so (RFC 1047).
//!
//! What begins is noted in a file of its own, outside the log, and not flushed: a flush for each attempt
//! would cost as much as a commit. So a kill leaves every note, and a power cut may take the last ones.
//!
//! There are two such files, which have their room from the beginning: when one is full, the other begins with
//! what is under way then, and the first is filled with blanks. So a full disk keeps no attempt
//! from being noted, and what cannot be noted is not tried.

mod interrupted;
mod notes;

use std::{collections::HashMap, io, sync::Arc};

pub(crate) use interrupted::Interrupted;

use crate::{
    SpoolError,
    disk::Disk,
    leases::UnitKey,
    under_way::notes::{Notes, Text},
};

const DIRECTORY: &str = "attempts";
const FILES: [&str; 2] = ["first", "second"];
/// A file has so much room at the most.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The part of the reserve, beside it, that each of the files has.
const PART_OF_RESERVE: u64 = 32;

/// So often nothing was tried before.
const NOT_TRIED: u32 = u32::MAX;

/// A unit that is tried, and how often it was tried before.
pub(crate) type Begun = (UnitKey, u32);

/// The notes.
pub(crate) struct UnderWay {
    disk: Arc<dyn Disk>,
    files: [Notes; 2],
    /// Which of them is written.
    current: usize,
    /// How long it was when it was begun.
    began_with: usize,
    /// Whether a write failed: then nobody knows what is there.
    is_broken: bool,
    /// The number of the file that was begun last.
    number: u64,
    /// How much room each takes, in bytes.
    room: usize,
}

/// What an earlier process left: units that it had begun to try, and how often each had been tried before.
#[derive(Debug, Default)]
pub(crate) struct LeftBehind {
    begun: HashMap<UnitKey, u32>,
    /// Files of an earlier version.
    files: Vec<String>,
    /// The lines that could not be read: the file, and the octet where it begins.
    pub(crate) damaged: Vec<String>,
}

impl UnderWay {
    /// Reads what was left behind. Each file takes a part of so much room as is reserved.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        reserve_bytes: u64,
    ) -> Result<(Self, LeftBehind), SpoolError> {
        let doing = || SpoolError::io("read which attempts were under way");
        disk.create_directory(DIRECTORY).map_err(doing())?;
        let mut names = disk.list(DIRECTORY).map_err(doing())?;
        names.sort();
        let mut left = LeftBehind::default();
        let mut texts = Vec::new();
        for name in names {
            texts.push((notes::read(&*disk, &name).map_err(doing())?, name));
        }
        // What was begun later knows better.
        texts.sort_by_key(|(text, _)| text.number);
        let text_of =
            |name: &str| texts.iter().find(|(_, other)| other == name).map(|(text, _)| text);
        let files = FILES.map(|name| Notes::new(name, text_of(name).unwrap_or(&Text::default())));
        let number = texts.last().map_or(0, |(text, _)| text.number);
        for (text, name) in texts {
            for octet in &text.damaged {
                tracing::warn!(name, octet, "a note of an attempt is damaged");
                left.damaged.push(format!("{} at octet {octet}", notes::path_of(&name)));
            }
            if !text.begun.is_empty()
                && let Err(error) = notes::flush(&*disk, &name)
            {
                tracing::warn!(name, %error, "notes of attempts could not be made durable");
            }
            left.begun.extend(text.begun);
            if !FILES.contains(&name.as_str()) {
                left.files.push(name);
            }
        }
        let room = (reserve_bytes / PART_OF_RESERVE).min(FILE_BYTES_MAX) as usize;
        let (current, began_with, is_broken) = (0, 0, false);
        let mut notes = Self { disk, files, current, began_with, is_broken, number, room };
        for file in &mut notes.files {
            if let Err(error) = file.take_room(&*notes.disk, room) {
                tracing::warn!(%error, "there is no room yet to note what is under way");
            }
        }
        Ok((notes, left))
    }

    /// Notes what is going to be tried: `begun`, or that and `others`, which are under way, when a new file begins.
    ///
    /// # Errors
    /// When that cannot be written: then it must not be tried.
    pub(crate) fn begin(
        &mut self,
        begun: &[Begun],
        others: impl FnOnce() -> Vec<Begun>,
    ) -> Result<(), SpoolError> {
        if begun.is_empty() {
            return Ok(());
        }
        let text = lines_of(begun);
        let current = &mut self.files[self.current];
        let most = self.room.max(2 * self.began_with);
        let begun = if current.end() > 0 && current.end() + text.len() <= most && !self.is_broken {
            let written = current.write(&*self.disk, &text);
            self.is_broken = written.is_err();
            written
        } else {
            let mut all = others();
            all.extend(begun);
            self.turn_over(&all)
        };
        begun.map_err(SpoolError::io("note what is under way"))
    }

    /// Notes that a unit was not tried after all. If that cannot be noted, the next process may take it for
    /// an attempt.
    pub(crate) fn withdraw(&mut self, key: UnitKey, others: impl FnOnce() -> Vec<Begun>) {
        if let Err(error) = self.begin(&[(key, NOT_TRIED)], others) {
            tracing::warn!(%error, "an attempt that was not made stays noted");
        }
    }

    /// Begins the other file, and fills the one before it with blanks.
    fn turn_over(&mut self, all: &[Begun]) -> io::Result<()> {
        let before = self.current;
        let next = if self.files[before].end() == 0 { before } else { 1 - before };
        let file = &mut self.files[next];
        // One that is half begun must not be taken for the newer one: nothing else is written before it is whole.
        self.is_broken = true;
        file.clear(&*self.disk, 0)?;
        file.begin(&*self.disk, self.number + 1, all)?;
        (self.number, self.current, self.is_broken) = (self.number + 1, next, false);
        self.began_with = file.end();
        if before != next
            && let Err(error) = self.files[before].clear(&*self.disk, self.room)
        {
            // It is cleared once more before it is begun. Until then it is read as well, and says nothing new.
            tracing::warn!(%error, "notes of attempts stay behind");
        }
        Ok(())
    }

    /// Forgets what was left behind: it was recorded.
    fn forget(&mut self, left: &LeftBehind) {
        let disk = &*self.disk;
        let cleared = self.files.iter_mut().map(|file| file.clear(disk, self.room));
        let unlinked = left.files.iter().map(|name| disk.unlink(&notes::path_of(name)));
        for error in cleared.chain(unlinked).filter_map(Result::err) {
            tracing::warn!(%error, "notes of attempts stay behind");
        }
    }
}

/// A line for each.
fn lines_of(begun: &[Begun]) -> String {
    begun.iter().map(|((mail, unit), attempts)| format!("{mail} {unit} {attempts}\n")).collect()
}

fn parse(line: &str) -> Option<Begun> {
    let mut words = line.split(' ');
    let key = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let attempts = words.next()?.parse().ok()?;
    words.next().is_none().then_some((key, attempts))
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::MailId;

    use super::*;
    use crate::disk::{Fault, Kept, Operation, OperationKind, SimulatedDisk};

    const RESERVE_BYTES: u64 = 32 * 400;

    fn open(disk: &SimulatedDisk) -> (UnderWay, LeftBehind) {
        UnderWay::open(Arc::new(disk.clone()), RESERVE_BYTES).unwrap()
    }

    fn key(number: u128) -> Begun {
        ((MailId::from_bytes(number.to_be_bytes()), 0), 0)
    }

    fn left_behind(disk: &SimulatedDisk) -> HashMap<UnitKey, u32> {
        open(&disk.after_kill()).1.begun
    }

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let id = "01m7q5cqj7dyyc0k0tnfpgexwv";
        let key = (id.parse().unwrap(), 3);
        assert_eq!(parse(&format!("{id} 3 12")), Some((key, 12)));
        for torn in [format!("{id} 3"), format!("{id} 3 1 2"), "\0".into(), String::new()] {
            assert_eq!(parse(&torn), None, "{torn:?}");
        }
    }

    #[test]
    fn files_are_written_in_turn_and_take_no_more_room_than_at_first() {
        let disk = SimulatedDisk::new();
        let (mut under_way, _) = open(&disk);
        let room = disk.used();
        assert_eq!(room, 800);
        disk.resize(room);
        for number in 0..1000 {
            under_way.begin(&[key(number)], || vec![key(5000)]).unwrap();
            let left = left_behind(&disk);
            assert!(left.contains_key(&key(number).0), "{number}");
            assert!(number < 20 || left.contains_key(&key(5000).0), "{number}");
            assert!(left.len() <= 15, "{left:?}");
            assert_eq!(disk.used(), room, "{number}");
        }
        let (mut next, left) = open(&disk);
        next.forget(&left);
        assert!(left_behind(&disk).is_empty());
    }

    #[test]
    fn what_is_under_way_may_be_more_than_a_file_has_room_for() {
        let disk = SimulatedDisk::new();
        let (mut under_way, _) = open(&disk);
        let all: Vec<_> = (0..100).map(key).collect();
        under_way.begin(&all, Vec::new).unwrap();
        for number in 100..1000 {
            under_way.begin(&[key(number)], || all.clone()).unwrap();
        }
        assert!(left_behind(&disk).len() >= 101);
    }

    #[test]
    fn what_was_noted_later_counts_whichever_file_it_is_in() {
        let disk = SimulatedDisk::new();
        let (mut under_way, _) = open(&disk);
        for attempts in 0..100 {
            let (unit, _) = key(1);
            under_way.begin(&[(unit, attempts)], Vec::new).unwrap();
            assert_eq!(left_behind(&disk), HashMap::from([(unit, attempts)]));
        }
        under_way.withdraw(key(1).0, Vec::new);
        assert_eq!(left_behind(&disk), HashMap::from([(key(1).0, NOT_TRIED)]));
    }

    /// Whichever write fails, and whatever of it is there: what was noted is there, and nothing older in its place.
    #[test]
    fn a_write_that_fails_loses_no_note_that_was_made() {
        for failing in 0..60 {
            for kept in [0, 1, 20, 31, 40, 64, 400] {
                let disk = SimulatedDisk::new();
                let (mut under_way, _) = open(&disk);
                let mut writes = 0;
                disk.plan(move |operation: Operation<'_>| {
                    writes += u64::from(operation.kind == OperationKind::Overwrite);
                    let fails = writes > failing && writes <= failing + 2;
                    fails.then_some(Fault::Tear(kept, rustix::io::Errno::IO.raw_os_error()))
                });
                let mut noted = HashMap::new();
                for turn in 0..60 {
                    let (unit, attempts) = (key(u128::from(turn % 3)).0, turn / 3);
                    let others: Vec<_> = noted.iter().map(|(k, a)| (*k, *a)).collect();
                    if under_way.begin(&[(unit, attempts)], || others).is_ok() {
                        noted.insert(unit, attempts);
                    }
                    let left = left_behind(&disk);
                    for (unit, attempts) in &noted {
                        // A note that failed may be there all the same: it is of an attempt that was not made.
                        assert!(left[unit] >= *attempts, "{failing} {kept} {turn}: {left:?}");
                    }
                }
                assert_eq!(noted.len(), 3);
            }
        }
    }

    #[test]
    fn what_a_power_cut_tore_is_told_and_the_rest_is_read() {
        let disk = SimulatedDisk::new();
        let (mut under_way, _) = open(&disk);
        for number in 0..8 {
            under_way.begin(&[key(number)], Vec::new).unwrap();
        }
        let mut pieces = 0;
        let found = disk.after_power_cut(|_| {
            pieces += 1;
            if pieces == 3 { Kept::First(5) } else { Kept::All }
        });
        let (_, left) = open(&found);
        assert_eq!(left.begun.len(), 7);
        assert_eq!(left.damaged.len(), 1, "{:?}", left.damaged);
        assert!(left.damaged[0].starts_with("attempts/first at octet "));
    }
}
