//! Bytes flipped, zeroed and cut in every kind of file of a spool: every other mail survives, and what is damaged is
//! seen by whoever looks.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use crate::common::{at, claim, id, life::letter, options, states};
use hedwig_envelope::State;
use hedwig_spool::{Filter, Inspection, Selection, Spool, SpoolError, SpoolOptions};

const MAILS: u128 = 6;

fn small() -> SpoolOptions {
    SpoolOptions { inline_content_bytes_max: 1000, cache_bytes_max: 0, ..options() }
}

/// A spool with mails in its log and in files of their own, closed.
async fn spool_of_mails() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), small()).unwrap();
    for number in 1..=MAILS {
        spool.commit(letter(number, if number == 3 { 2000 } else { 500 })).await.unwrap();
    }
    spool.close().await;
    directory
}

fn copy_of(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in files(directory) {
        let target = copy.path().join(path.strip_prefix(directory).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, target).unwrap();
    }
    copy
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

type Change = fn(&mut Vec<u8>, usize);

const CHANGES: [(&str, Change); 3] = [
    ("flipped", |bytes, place| bytes[place] ^= 0x20),
    ("zeroed", |bytes, place| {
        let end = (place + 40).min(bytes.len());
        bytes[place..end].fill(0);
    }),
    ("cut", |bytes, place| bytes.truncate(place)),
];

/// Changes this file of a copy at this place, and tells which mails can still be tried, and what was counted.
async fn damaged(
    whole: &Path,
    file: &Path,
    place: usize,
    change: Change,
) -> (BTreeSet<u128>, u64, Inspection) {
    let copy = copy_of(whole);
    let path = copy.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes, place);
    fs::write(&path, bytes).unwrap();
    let before = files(copy.path());
    let inspection = Inspection::of(copy.path(), small()).await.unwrap();
    assert_eq!(files(copy.path()), before, "a look changes nothing");
    let spool = Spool::open(copy.path(), small()).unwrap();
    let mut readable = BTreeSet::new();
    for lease in claim(&spool, at(100)).await {
        let number = (1..=MAILS).find(|number| id(*number) == lease.mail.id).unwrap();
        assert_eq!(
            lease.mail.content,
            letter(number, if number == 3 { 2000 } else { 500 }).content
        );
        readable.insert(number);
    }
    check_set_aside(copy.path());
    (readable, spool.quarantined(), inspection)
}

/// What was set aside of the log is what lies there, from that octet to the next record, the next such place or
/// the end.
fn check_set_aside(spool: &Path) {
    let aside = files(&spool.join("quarantine"));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names: BTreeSet<String> = aside.iter().map(|path| name(path)).collect();
    for path in aside {
        let name = name(&path);
        let place = name.split_once('-').map(|(segment, from)| (segment, from.parse::<usize>()));
        let Some((number, Ok(from))) = place else { continue };
        let segment = fs::read(spool.join(format!("log/{number}.segment"))).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.is_empty(), "{name}");
        let to = from + bytes.len();
        assert_eq!(bytes, segment[from..to], "{name}");
        let is_whole = to == segment.len()
            || segment[to..].starts_with(b"HdwR")
            || names.contains(&format!("{number}-{to}"));
        assert!(is_whole, "{name}: not all of it is set aside, it ends at octet {to}");
    }
}

#[tokio::test]
async fn damage_anywhere_in_the_log_costs_one_mail_at_most_and_is_told() {
    let whole = spool_of_mails().await;
    let log = Path::new("log/0000000001.segment");
    let length = fs::read(whole.path().join(log)).unwrap().len();
    let (mut looked_at, mut lost) = (0, 0);
    for place in (0..length).step_by(37) {
        for (what, change) in &CHANGES[..2] {
            let (readable, quarantined, inspection) =
                damaged(whole.path(), log, place, *change).await;
            let story = format!("{what} at {place}");
            let missing = MAILS as usize - readable.len();
            // Forty zeros may reach from one record into the next.
            assert!(missing <= 1 + usize::from(*what == "zeroed"), "{story}: {readable:?}");
            assert!(missing == 0 || quarantined > 0, "{story}: nobody was told");
            // Without an index the last record may as well have been torn by a power cut.
            let told = inspection.is_damaged() || !readable.contains(&MAILS);
            assert!(missing == 0 || told, "{story}: a look finds nothing");
            looked_at += 1;
            lost += missing;
        }
    }
    println!("damaged places in the log: {looked_at}, mails that could not be read: {lost}");
    assert!(lost > looked_at / 2);
}

#[tokio::test]
async fn a_log_that_was_cut_keeps_what_lies_before() {
    let whole = spool_of_mails().await;
    let log = Path::new("log/0000000001.segment");
    let length = fs::read(whole.path().join(log)).unwrap().len();
    let mut before = 0;
    for place in (0..length).step_by(200) {
        let (readable, ..) = damaged(whole.path(), log, place, CHANGES[2].1).await;
        let first: BTreeSet<u128> = (1..=readable.len() as u128).collect();
        assert_eq!(readable, first, "cut at {place}");
        assert!(readable.len() >= before);
        before = readable.len();
    }
    assert_eq!(before as u128, MAILS - 1);
}

#[tokio::test]
async fn a_damaged_content_is_set_aside_with_its_bytes_and_its_mail_held() {
    let whole = spool_of_mails().await;
    let content = files(&whole.path().join("contents")).remove(0);
    let file = content.strip_prefix(whole.path()).unwrap();
    for (what, change) in CHANGES {
        for place in [0, 700, 1999] {
            let (readable, quarantined, inspection) =
                damaged(whole.path(), file, place, change).await;
            assert_eq!(readable, BTreeSet::from([1, 2, 4, 5, 6]), "{what} at {place}");
            assert_eq!((quarantined, inspection.unreadable), (1, vec![id(3)]), "{what} at {place}");
        }
    }
    let mut bytes = fs::read(&content).unwrap();
    bytes[9] ^= 1;
    fs::write(&content, &bytes).unwrap();
    let spool = Spool::open(whole.path(), small()).unwrap();
    claim(&spool, at(100)).await;
    assert_eq!(states(&spool, id(3)).await, [State::Held]);
    spool.drop(&Selection::All).await.unwrap();
    spool.close().await;
    let kept = files(&whole.path().join("quarantine"));
    assert_eq!(fs::read(&kept[0]).unwrap(), bytes, "whatever becomes of its mail");
    let inspection = Inspection::of(whole.path(), small()).await.unwrap();
    assert!(inspection.is_damaged() && inspection.quarantine.len() == 1);
}

/// The notes of what is being tried: a place that is damaged costs the marks of the attempts there and no mail, and is
/// told unless nothing sound follows, as after a write that was torn.
#[tokio::test]
async fn damage_to_the_notes_of_attempts_costs_no_mail_and_no_mark_of_another() {
    let whole = spool_of_mails().await;
    let spool = Spool::open(whole.path(), small()).unwrap();
    assert_eq!(claim(&spool, at(0)).await.len() as u128, MAILS);
    drop(spool);
    let notes = files(&whole.path().join("attempts")).remove(0);
    let noted = fs::read(&notes).unwrap();
    let file = notes.strip_prefix(whole.path()).unwrap();
    let end = noted.iter().rposition(|byte| *byte == b'\n').unwrap();
    let lines: Vec<&[u8]> = noted[..=end].split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len() as u128, 1 + MAILS, "its number, and a line for each mail");
    let mut unmarked = 0;
    for (what, change) in CHANGES {
        for place in (0..end).step_by(11) {
            let story = format!("{what} at {place}");
            let copy = copy_of(whole.path());
            let mut bytes = noted.clone();
            change(&mut bytes, place);
            fs::write(copy.path().join(file), &bytes).unwrap();
            let inspection = Inspection::of(copy.path(), small()).await.unwrap();
            let spool = Spool::open(copy.path(), small()).unwrap();
            let left: BTreeSet<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            for status in spool.list(&Filter::default()).await.unwrap() {
                let attempts = &status.recipients[0].attempts;
                let is_marked = attempts.len() == 1 && attempts[0].ambiguous;
                assert!(is_marked || attempts.is_empty(), "{story}: {attempts:?}");
                let id = status.id.to_string();
                let line = lines.iter().find(|line| line.starts_with(id.as_bytes())).unwrap();
                assert!(is_marked || !left.contains(line), "{story}: {id} is not marked");
                let is_told = inspection.is_damaged() && !inspection.damaged_notes.is_empty();
                let follows = bytes.get(place..).is_some_and(|rest| rest.contains(&b'\n'));
                assert!(is_marked || is_told || !follows, "{story}: nobody was told");
                unmarked += usize::from(!is_marked);
            }
            assert_eq!(claim(&spool, at(100)).await.len() as u128, MAILS, "{story}");
        }
    }
    println!("marks lost: {unmarked}");
    assert!(unmarked > 0);
}

/// What was set aside is for people: nothing reads it, and nothing writes it again.
#[tokio::test]
async fn damage_in_quarantine_costs_nothing_and_is_left_as_it_is() {
    let whole = spool_of_mails().await;
    let log = whole.path().join("log/0000000001.segment");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
    let spool = Spool::open(whole.path(), small()).unwrap();
    assert_eq!(claim(&spool, at(0)).await.len() as u128, MAILS - 1);
    spool.close().await;
    let aside = files(&whole.path().join("quarantine"));
    assert_eq!(aside.len(), 1);
    let file = aside[0].strip_prefix(whole.path()).unwrap();
    for (what, change) in CHANGES {
        let copy = copy_of(whole.path());
        let mut bytes = fs::read(&aside[0]).unwrap();
        change(&mut bytes, 30);
        fs::write(copy.path().join(file), &bytes).unwrap();
        // With the index made anew the place is found once more.
        fs::remove_file(copy.path().join("index.sqlite")).unwrap();
        let inspection = Inspection::of(copy.path(), small()).await.unwrap();
        assert!(inspection.is_damaged() && inspection.quarantine.len() == 1, "{what}");
        let spool = Spool::open(copy.path(), small()).unwrap();
        assert_eq!(claim(&spool, at(10_000)).await.len() as u128, MAILS - 1, "{what}");
        assert_eq!(spool.quarantined(), 1, "{what}");
        assert_eq!(fs::read(copy.path().join(file)).unwrap(), bytes, "{what}");
    }
}

#[tokio::test]
async fn a_damaged_format_is_told_and_nothing_is_touched() {
    let whole = spool_of_mails().await;
    for text in ["", "{", r#"{"format":1,"spool":"another"}"#] {
        let copy = copy_of(whole.path());
        fs::write(copy.path().join("format"), text).unwrap();
        let error = Spool::open(copy.path(), small()).unwrap_err();
        assert!(matches!(&error, SpoolError::Damaged { file, .. } if file == "format"), "{error}");
    }
}

#[tokio::test]
async fn a_look_at_a_spool_that_is_whole_or_in_use() {
    let whole = spool_of_mails().await;
    let inspection = Inspection::of(whole.path(), small()).await.unwrap();
    assert!(!inspection.is_damaged(), "{inspection:?}");
    assert_eq!(inspection.counts.waiting() as u128, MAILS);
    let spool = Spool::open(whole.path(), small()).unwrap();
    let error = Inspection::of(whole.path(), small()).await.unwrap_err();
    assert!(matches!(error, SpoolError::InUse { .. }));
    assert_eq!(spool.list(&Filter::default()).await.unwrap().len() as u128, MAILS);
}

#[tokio::test]
async fn an_index_of_an_older_schema_is_made_anew() {
    let whole = spool_of_mails().await;
    let index = whole.path().join("index.sqlite");
    let connection = rusqlite::Connection::open(&index).unwrap();
    connection.execute_batch("UPDATE meta SET schema = 1; DROP TABLE unit").unwrap();
    drop(connection);
    fs::remove_file(whole.path().join("index.sqlite.seal")).unwrap();
    let long = SpoolOptions { doubtful_log_bytes_max: 0, ..small() };
    let spool = Spool::open(whole.path(), long).unwrap();
    assert_eq!(claim(&spool, at(100)).await.len() as u128, MAILS);
}

/// What root's `queue` command makes while the daemon is away must be the daemon's.
#[tokio::test]
async fn what_root_makes_belongs_to_the_owner_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    if fs::metadata(directory.path()).unwrap().uid() != 0 {
        println!("not run by root: nothing to hand over");
        return;
    }
    chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
    let spool = Spool::open(directory.path(), small()).unwrap();
    spool.commit(letter(1, 2000)).await.unwrap();
    spool.commit(letter(2, 10)).await.unwrap();
    claim(&spool, at(0)).await;
    let while_open = files(directory.path());
    let owner = |path: &PathBuf| fs::metadata(path).unwrap().uid();
    assert!(while_open.len() > 6, "{while_open:?}");
    assert!(while_open.iter().all(|path| owner(path) == 65_534), "{while_open:?}");
    spool.close().await;
    for path in files(directory.path()) {
        assert_eq!(owner(&path), 65_534, "{}", path.display());
        assert_eq!(owner(&path.parent().unwrap().to_owned()), 65_534, "{}", path.display());
    }
}
