//! Which attempts are under way, for the process that comes after one that was killed: it cannot know
//! whether the servers have taken what was being sent, and has to say so (RFC 1047).
//!
//! What begins is noted in a file of its own, outside the log, and not flushed: a flush for each attempt
//! would cost as much as a commit. So a kill leaves every note, and a power cut may take the last ones.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    sync::Arc,
};

use hedwig_envelope::{Answer, Outcome, Reply, Status};
use tokio::sync::oneshot;

use crate::{
    SpoolError,
    disk::{Disk, DiskFile},
    engine::{Engine, Request, Settle},
    leases::UnitKey,
    record::{Encoded, Kind},
    state::{Settlement, Unit},
};

const DIRECTORY: &str = "attempts";
/// A file of so many bytes is left for a new one, which begins with what is under way then.
const FILE_BYTES_MAX: usize = 1 << 20;
/// More than a file ever has.
const READ_BYTES_MAX: u64 = 16 << 20;

/// So often nothing was tried before.
const NOT_TRIED: u32 = u32::MAX;

/// A unit that is tried, and how often it was tried before.
pub(crate) type Begun = (UnitKey, u32);

/// The notes.
pub(crate) struct UnderWay {
    disk: Arc<dyn Disk>,
    /// The file that is written, its name and its length.
    file: Option<(Box<dyn DiskFile>, String, usize)>,
    next: u64,
}

/// What an earlier process left: units that it had begun to try, and how often each had been tried before.
#[derive(Debug, Default)]
pub(crate) struct LeftBehind {
    begun: HashMap<UnitKey, u32>,
    files: Vec<String>,
}

impl UnderWay {
    /// Reads what was left behind.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<(Self, LeftBehind), SpoolError> {
        let doing = || SpoolError::io("read which attempts were under way");
        disk.create_directory(DIRECTORY).map_err(doing())?;
        let mut files = disk.list(DIRECTORY).map_err(doing())?;
        files.sort();
        let next = files.iter().filter_map(|name| name.parse::<u64>().ok()).max().unwrap_or(0) + 1;
        let mut begun = HashMap::new();
        for name in &files {
            let text = read(&*disk, name).map_err(doing())?;
            // The last line may be torn.
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            for line in whole {
                match parse(line) {
                    Some((key, attempts)) => drop(begun.insert(key, attempts)),
                    None => tracing::warn!(name, ?line, "a note of an attempt is damaged"),
                }
            }
        }
        Ok((Self { disk, file: None, next }, LeftBehind { begun, files }))
    }

    /// Notes what is going to be tried: `begun`, or `all` that is under way when a new file begins. What
    /// cannot be noted is tried all the same, for a full disk is emptied by delivering.
    pub(crate) fn begin(&mut self, begun: &[Begun], all: impl FnOnce() -> Vec<Begun>) {
        if begun.is_empty() {
            return;
        }
        let noted = match self.file.take() {
            Some((file, name, bytes)) if bytes < FILE_BYTES_MAX => {
                append(&*file, begun).map(|more| (file, name, bytes + more))
            }
            old => self.begin_file(&all()).inspect(|_| {
                if let Some((_, name, _)) = old {
                    self.unlink(&name);
                }
            }),
        };
        match noted {
            Ok(file) => self.file = Some(file),
            Err(error) => tracing::warn!(%error, "what is under way could not be noted"),
        }
    }

    /// Notes that a unit was not tried after all.
    pub(crate) fn withdraw(&mut self, key: UnitKey) {
        if self.file.is_some() {
            self.begin(&[(key, NOT_TRIED)], || vec![(key, NOT_TRIED)]);
        }
    }

    fn begin_file(&mut self, all: &[Begun]) -> io::Result<(Box<dyn DiskFile>, String, usize)> {
        // In the order of their numbers also as text.
        let name = format!("{:020}", self.next);
        self.next += 1;
        let file = self.disk.create(&format!("{DIRECTORY}/{name}"))?;
        let bytes = append(&*file, all)?;
        Ok((file, name, bytes))
    }

    /// Removes a file. What stays behind is read once more and says nothing new.
    fn unlink(&self, name: &str) {
        if let Err(error) = self.disk.unlink(&format!("{DIRECTORY}/{name}")) {
            tracing::warn!(%error, name, "a note of attempts stays behind");
        }
    }
}

impl Engine {
    /// Records each attempt that was under way when the process before ended, as one of which nobody knows
    /// how it went. Those units are due as before.
    pub(crate) fn record_interrupted(&mut self, left: LeftBehind) {
        let mut begun: Vec<_> = left.begun.into_iter().collect();
        begun.sort_unstable();
        let mut answers = Vec::new();
        let mut requests = Vec::new();
        for (key, attempts) in begun {
            let unit = match self.index.unit(key.0, key.1) {
                Ok(unit) => unit,
                Err(error) => {
                    return tracing::error!(%error, "interrupted attempts are not recorded");
                }
            };
            // One that was tried more often since was recorded; one to be given up is not tried at all.
            let is_open = |unit: &Unit| unit.attempts == attempts && unit.give_up.is_none();
            let Some(unit) = unit.filter(|unit| is_open(unit) && !unit.is_final()) else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            requests.push(Request::Settle(Box::new(self.interrupted(key, &unit, reply))));
            answers.push(answer);
        }
        let count = requests.len();
        self.handle(requests, self.now);
        let all = answers.into_iter().all(|mut answer| matches!(answer.try_recv(), Ok(Ok(()))));
        if !all {
            return tracing::error!(count, "interrupted attempts could not be recorded");
        }
        if count > 0 {
            tracing::info!(count, "attempts were interrupted; how they went is not known");
        }
        left.files.iter().for_each(|name| self.under_way.unlink(name));
    }

    fn interrupted(
        &mut self,
        key: UnitKey,
        unit: &Unit,
        reply: oneshot::Sender<Result<(), SpoolError>>,
    ) -> Settle {
        let (token, _) = self.leases.grant(key, unit, None, self.now, self.options.lease);
        let status = Status::transient(4, 2);
        let text = "This attempt was cut short when the queue's process ended: the server may have taken the mail";
        let reply_text = Reply::with_status(451, status, text);
        let answer = Answer { ambiguous: true, ..Answer::new(status, reply_text, None) };
        let outcome = |position| (position, Outcome::Deferred(answer.clone()));
        let settlement = Settlement {
            mail: key.0,
            unit: key.1,
            at: self.now,
            outcomes: unit.waiting().map(|recipient| outcome(recipient.position)).collect(),
            next_due: Some(unit.due.unwrap_or(self.now)),
            delay_reported: unit.delay_reported,
            deadline_over: false,
            conversation: None,
        };
        let encoded = Encoded::new(Kind::Settlement, &settlement, Default::default());
        Settle { token, settlement, encoded, follow_ups: Vec::new(), reply }
    }
}

/// Writes a line for each; tells how many bytes.
fn append(file: &dyn DiskFile, begun: &[Begun]) -> io::Result<usize> {
    let lines = begun.iter().map(|((mail, unit), attempts)| format!("{mail} {unit} {attempts}\n"));
    let text: String = lines.collect();
    file.append(&mut [IoSlice::new(text.as_bytes())])?;
    Ok(text.len())
}

fn read(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let file = disk.open(&format!("{DIRECTORY}/{name}"))?;
    let length = file.length()?.min(READ_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

fn parse(line: &str) -> Option<Begun> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let key = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let attempts = words.next()?.parse().ok()?;
    words.next().is_none().then_some((key, attempts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let id = "01m7q5cqj7dyyc0k0tnfpgexwv";
        let key = (id.parse().unwrap(), 3);
        assert_eq!(parse(&format!("{id} 3 12\n")), Some((key, 12)));
        for torn in
            [format!("{id} 3 1"), format!("{id} 3\n"), format!("{id} 3 1 2\n"), "\0\n".into()]
        {
            assert_eq!(parse(&torn), None, "{torn:?}");
        }
    }

    #[test]
    fn a_long_file_is_left_for_one_with_what_is_under_way() {
        let disk = crate::disk::SimulatedDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (mut under_way, _) = UnderWay::open(shared.clone()).unwrap();
        let key =
            |number: u128| ((hedwig_envelope::MailId::from_bytes(number.to_be_bytes()), 0), 0);
        let all: Vec<_> = (0..40_000).map(key).collect();
        under_way.begin(&all, || all.clone());
        under_way.begin(&[key(50_000)], || vec![key(1), key(50_000)]);
        assert_eq!(disk.names().len(), 1);
        let (_, left) = UnderWay::open(shared).unwrap();
        assert_eq!(left.begun, HashMap::from([key(1), key(50_000)]));
    }
}
