//! The index at every point of a life at which its process may end: as it is, from an earlier time, missing,
//! cut, with flipped bytes, or of another spool. The log is the truth, so none of it matters; and what the
//! index knows is always durable in the log.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::common::{
    life::Life,
    promise::{Promises, check},
};
use hedwig_spool::disk::{Fault, Kept, SimulatedDisk};

/// What SQLite, and the spool, keep beside the index's own file.
const FILES: [&str; 3] = ["", "-wal", ".seal"];

/// The index's files as they were at each operation of a life.
type Copies = Vec<[Option<Vec<u8>>; 3]>;

fn copy(index: &Path) -> [Option<Vec<u8>>; 3] {
    FILES.map(|suffix| fs::read(beside(index, suffix)).ok())
}

fn put(index: &Path, copy: &[Option<Vec<u8>>; 3]) {
    for (suffix, bytes) in FILES.iter().zip(copy) {
        let path = beside(index, suffix);
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
    drop(fs::remove_file(beside(index, "-shm")));
}

fn beside(index: &Path, suffix: &str) -> PathBuf {
    let mut name = index.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// How far the index has read, as a process that looks at copies of its files sees it.
fn position(copy: &[Option<Vec<u8>>; 3], scratch: &Path) -> Option<(u32, u64)> {
    put(scratch, copy);
    let read = "SELECT segment, offset FROM meta";
    let connection = rusqlite::Connection::open(scratch).unwrap();
    let position = connection.query_row(read, [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    position.ok().map(|(segment, offset)| (segment, offset as u64))
}

/// Lives with an index in a file, and copies it at each operation.
async fn live_and_copy(seed: u64) -> Copies {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("index.sqlite");
    let life = Life { index: Some(&index), seed, ..Life::KEEPING };
    let disk = SimulatedDisk::new();
    let copies = Arc::new(Mutex::new(Copies::new()));
    let (watched, seen, scratch) = (disk.clone(), copies.clone(), directory.path().join("scratch"));
    let path = index.clone();
    disk.plan(move |operation| {
        let mut copies = seen.lock().unwrap();
        if operation.number == copies.len() as u64 {
            let copy = copy(&path);
            if let Some((segment, offset)) = position(&copy, &scratch).filter(|p| p.0 > 0) {
                let durable = watched.durable_bytes(&format!("log/{segment:010}.segment"));
                assert!(
                    durable.is_some_and(|bytes| bytes as u64 >= offset),
                    "behind: at operation {} the index has read up to {offset} of segment \
                     {segment}, of which {durable:?} is durable",
                    operation.number
                );
            }
            copies.push(copy);
        }
        None
    });
    assert_eq!(life.live(&disk).await.failures, 0);
    disk.heal();
    Arc::into_inner(copies).unwrap().into_inner().unwrap()
}

/// The disk and what was promised when the life ended at this operation. Whether by a power cut or a kill, the
/// log's disk keeps what it was told to flush.
async fn live_until(number: u64, seed: u64) -> (SimulatedDisk, Promises) {
    let disk = SimulatedDisk::new();
    disk.plan(move |operation| (operation.number == number).then_some(Fault::PowerCut));
    let promises = Life { seed, ..Life::KEEPING }.live(&disk).await;
    (disk, promises)
}

#[tokio::test]
async fn whatever_becomes_of_the_index_at_any_operation_nothing_that_was_promised_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("index.sqlite");
    let copies = live_and_copy(1).await;
    let others = live_and_copy(2).await;
    let life = Life { index: Some(&index), ..Life::KEEPING };
    let mut looked_at = 0;
    for (number, copy) in copies.iter().enumerate() {
        let mut random = fastrand::Rng::with_seed(number as u64);
        let (disk, promises) = live_until(number as u64, 1).await;
        let earlier = random.usize(..=number);
        let other = others[random.usize(..others.len())].clone();
        for (what, copy, may_be_doubtful) in [
            ("as it was".to_owned(), copy.clone(), false),
            (format!("as at operation {earlier}"), copies[earlier].clone(), false),
            ("missing".into(), [None, None, None], false),
            ("cut".into(), cut(copy, &mut random), true),
            ("changed".into(), flip(copy, &mut random), true),
            ("of another spool".into(), other, false),
        ] {
            put(&index, &copy);
            let kept = if random.bool() { Kept::All } else { Kept::Nothing };
            let disk = disk.after_power_cut(|_| kept);
            let story = format!("ended at operation {number}, unflushed: {kept:?}, index {what}");
            // A log as short as this is read anew in an instant; a long one is not.
            let doubtful_log_bytes_max = if may_be_doubtful { 128 << 20 } else { 0 };
            let spool = life
                .open_with(&disk, |options| options.doubtful_log_bytes_max = doubtful_log_bytes_max)
                .unwrap_or_else(|error| panic!("{story}: {error}"));
            check(&spool, &promises, life.leniency(), &story).await;
            looked_at += 1;
        }
    }
    println!("crash points with an index: {}, indexes: {looked_at}", copies.len());
    assert!(copies.len() > 100);
}

/// The index's main file without its end.
fn cut(copy: &[Option<Vec<u8>>; 3], random: &mut fastrand::Rng) -> [Option<Vec<u8>>; 3] {
    let mut copy = copy.clone();
    for bytes in copy[..2].iter_mut().flatten() {
        let length = random.usize(..=bytes.len());
        bytes.truncate(length);
    }
    copy
}

/// The index's main file with some bytes flipped.
fn flip(copy: &[Option<Vec<u8>>; 3], random: &mut fastrand::Rng) -> [Option<Vec<u8>>; 3] {
    let mut copy = copy.clone();
    for bytes in copy[..2].iter_mut().flatten().filter(|bytes| !bytes.is_empty()) {
        for _ in 0..random.usize(1..8) {
            let place = random.usize(..bytes.len());
            bytes[place] ^= 1 << random.u8(..8);
        }
    }
    copy
}

#[tokio::test]
async fn an_index_that_was_closed_and_changed_since_is_made_anew_however_long_the_log_is() {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("index.sqlite");
    let life = Life { index: Some(&index), ..Life::KEEPING };
    let disk = SimulatedDisk::new();
    let promises = life.live(&disk).await;
    let closed = copy(&index);
    assert!(closed[2].is_some(), "it should have been sealed");
    let length = closed[0].as_ref().unwrap().len();
    for place in (0..length).step_by(length / 150) {
        let mut changed = closed.clone();
        changed[0].as_mut().unwrap()[place] ^= 0x10;
        put(&index, &changed);
        let story = format!("byte {place} of the index changed");
        let spool = life.open(&disk.after_kill()).unwrap_or_else(|e| panic!("{story}: {e}"));
        check(&spool, &promises, life.leniency(), &story).await;
    }
}

#[tokio::test]
async fn an_index_that_is_damaged_while_it_is_in_use_is_made_anew_when_it_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("index.sqlite");
    let life = Life { index: Some(&index), ..Life::KEEPING };
    let disk = SimulatedDisk::new();
    let promises = life.live(&disk).await;
    let spool = life.open(&disk).unwrap();
    let ruin = rusqlite::Connection::open(&index).unwrap();
    ruin.execute_batch("UPDATE unit SET state = 'nonsense'; DELETE FROM segment;").unwrap();
    drop(ruin);
    check(&spool, &promises, life.leniency(), "nonsense in the index").await;
}
