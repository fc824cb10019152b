//! A spool on files, closed and opened again: what it remembers, and what it makes of damage.

use std::{
    fs,
    io::IoSlice,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use crate::common::{
    at, claim, claim_one, deliver_all, done, id, life::Life, mail, options, outcome, states,
    with_key,
};
use hedwig_envelope::{Content, Mail, State};
use hedwig_spool::{
    Filter, Selection, Spool, SpoolError, SpoolOptions,
    disk::{Disk, Fault, Kept, OperationKind::Flush, SimulatedDisk},
};
use rustix::io::Errno;

fn open(directory: &Path) -> Spool {
    Spool::open(directory, options()).unwrap()
}

fn files(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(directory.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Flips a byte of the mail with this subject.
fn damage(path: &Path, subject: &str) {
    change(path, |bytes| {
        let found = bytes.windows(subject.len()).position(|part| part == subject.as_bytes());
        bytes[found.unwrap()] ^= 0x20;
    });
}

#[tokio::test]
async fn everything_is_remembered_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    for number in 1..=4 {
        let mail = mail(number, &["a@x.example"]);
        spool.commit(with_key(mail, &format!("key-{number}"))).await.unwrap();
    }
    let leases = claim(&spool, at(0)).await;
    spool.finish(&leases[0], vec![done()], None, vec![]).await.unwrap();
    let busy = vec![outcome(450, "Busy")];
    spool.finish(&leases[1], busy, Some(at(3600)), vec![mail(9, &["a@y.example"])]).await.unwrap();
    for lease in &leases[2..] {
        spool.give_back(lease.clone()).await.unwrap();
    }
    spool.hold(&Selection::ids([id(3)])).await.unwrap();
    let all = Filter::ids([1, 2, 3, 4, 9].map(id));
    let before = spool.list(&all).await.unwrap();
    drop(spool);

    for with_index in [true, false] {
        if !with_index {
            fs::remove_file(directory.path().join("index.sqlite")).unwrap();
        }
        let spool = open(directory.path());
        assert_eq!(spool.list(&all).await.unwrap(), before);
        let leases = claim(&spool, at(0)).await;
        assert_eq!(leases.len(), 2);
        for lease in leases {
            spool.give_back(lease).await.unwrap();
        }
        let mut again = with_key(mail(1, &["a@x.example"]), "key-1");
        again.id = id(77);
        assert_eq!(spool.commit(again).await.unwrap().id, id(1));
        let counts = spool.counts().await.unwrap();
        assert_eq!((counts.of(State::Delivered), counts.of(State::Held)), (1, 1));
    }
}

#[tokio::test]
async fn an_attempt_that_nobody_saw_the_end_of_is_recorded_as_ambiguous_once() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    for number in 1..=3 {
        spool.commit(mail(number, &["a@x.example"])).await.unwrap();
    }
    let leases = claim(&spool, at(0)).await;
    spool.finish(&leases[0], vec![done()], None, vec![]).await.unwrap();
    spool.finish(&leases[1], vec![outcome(450, "Busy")], Some(at(0)), vec![]).await.unwrap();
    drop(spool);
    for _ in 0..2 {
        let spool = open(directory.path());
        let all = spool.list(&Filter::ids([1, 2, 3].map(id))).await.unwrap();
        let ambiguous = all.iter().map(|status| {
            status.recipients[0].attempts.iter().map(|attempt| attempt.ambiguous).collect()
        });
        let ambiguous: Vec<Vec<bool>> = ambiguous.collect();
        assert_eq!(ambiguous, [vec![false], vec![false], vec![true]]);
        assert_eq!(all[2].recipients[0].state, State::Deferred);
        assert_eq!(all[2].recipients[0].next_due, Some(at(0)), "it is due as before");
    }
}

#[tokio::test]
async fn a_second_opener_is_told_where_the_spool_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let error = Spool::open(directory.path(), options()).unwrap_err();
    assert!(matches!(&error, SpoolError::InUse { directory: named } if named == directory.path()));
    assert!(error.to_string().contains(&directory.path().display().to_string()));
    spool.close().await;
    open(directory.path());
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::write(directory.path().join("format"), r#"{"format":3,"spool":"x"}"#).unwrap();
    let error = Spool::open(directory.path(), options()).unwrap_err();
    assert!(matches!(error, SpoolError::NewerFormat { found: 3, known: 2, .. }));
}

/// A disk with a spool as the version wrote it that knew format 1: of one mail's two destinations one refused it and
/// was reported on, the other is busy until a minute later; a second mail waits.
fn of_format_1() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    for (name, bytes) in [
        ("format", &include_bytes!("../fixtures/format-1/format")[..]),
        ("log/0000000001.segment", include_bytes!("../fixtures/format-1/log/0000000001.segment")),
    ] {
        if let Some((directory, _)) = name.split_once('/') {
            disk.create_directory(directory).unwrap();
        }
        disk.create(name).unwrap().append(&mut [IoSlice::new(bytes)]).unwrap();
    }
    disk
}

fn open_simulated(disk: &SimulatedDisk, reserve_bytes: u64) -> Result<Spool, SpoolError> {
    let options = SpoolOptions { reserve_bytes, ..options() };
    Spool::on_disk(Arc::new(disk.clone()), None, options)
}

#[tokio::test]
async fn a_spool_of_an_older_format_is_migrated_and_keeps_all() {
    let disk = of_format_1();
    let spool = open_simulated(&disk, 0).unwrap();
    assert!(disk.bytes("format").starts_with(br#"{"format":2,"spool":"a833"#));
    assert_eq!(states(&spool, id(1)).await, [State::Failed, State::Deferred]);
    assert_eq!(spool.untold().await.unwrap(), 0, "it was told in the way of that version");
    let mut offered: Vec<_> = claim(&spool, at(60)).await.into_iter().map(|l| l.mail).collect();
    offered.sort_by_key(|mail| mail.id);
    let narrow = Mail { content: mail(1, &[]).content, ..mail(1, &["b@y.example"]) };
    assert_eq!(offered, [narrow, mail(2, &["c@z.example"]), mail(9, &["alice@example.org"])]);
    drop(spool);
    let spool = open_simulated(&disk.after_power_cut(|_| Kept::Nothing), 0).unwrap();
    assert_eq!(deliver_all(&spool, at(60)).await, 3);
    assert_eq!(spool.quarantined(), 0);
}

#[tokio::test]
async fn an_older_format_stays_on_a_disk_without_room_unless_there_is_a_reserve() {
    for reserve_bytes in [0, 4000] {
        let disk = of_format_1();
        let mut failed = false;
        disk.plan(move |operation| {
            let fails = operation.name == "format.new" && !failed;
            failed |= fails;
            fails.then_some(Fault::Fail(Errno::NOSPC.raw_os_error()))
        });
        let opened = open_simulated(&disk, reserve_bytes);
        if reserve_bytes > 0 {
            opened.unwrap();
        } else {
            assert!(matches!(opened, Err(SpoolError::NoSpace(_))), "{opened:?}");
            assert!(disk.bytes("format").starts_with(br#"{"format":1,"#));
            open_simulated(&disk, 0).unwrap();
        }
        assert!(disk.bytes("format").starts_with(br#"{"format":2,"#));
    }
}

#[tokio::test]
async fn a_torn_tail_costs_only_what_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    spool.commit(mail(2, &["a@x.example"])).await.unwrap();
    drop(spool);
    fs::remove_file(directory.path().join("index.sqlite")).unwrap();
    let segment = files(directory.path(), "log").remove(0);
    change(&segment, |bytes| bytes.truncate(bytes.len() - 5));
    let spool = open(directory.path());
    assert_eq!(claim_one(&spool, at(0)).await.mail, mail(1, &["a@x.example"]));
    assert_eq!(spool.quarantined(), 0);
    spool.commit(mail(3, &["a@x.example"])).await.unwrap();
    drop(spool);
    let spool = open(directory.path());
    assert_eq!(deliver_all(&spool, at(0)).await, 2);
}

#[tokio::test]
async fn damage_in_the_log_is_set_aside_and_every_other_mail_survives() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let spool = open(directory.path());
        for number in 0..3 {
            spool.commit(mail(round * 10 + number, &["a@x.example"])).await.unwrap();
        }
    }
    fs::remove_file(directory.path().join("index.sqlite")).unwrap();
    let segments = files(directory.path(), "log");
    assert_eq!(segments.len(), 2);
    damage(&segments[0], "Subject: mail 1");
    damage(&segments[1], "Subject: mail 10");
    let spool = open(directory.path());
    assert_eq!(spool.quarantined(), 2);
    let mut found: Vec<_> = claim(&spool, at(0)).await.iter().map(|lease| lease.mail.id).collect();
    found.sort_unstable();
    assert_eq!(found, [0, 2, 11, 12].map(id));
    let quarantined = files(directory.path(), "quarantine");
    assert_eq!(quarantined.len(), 2);
    let bytes = fs::read(&quarantined[0]).unwrap();
    assert!(bytes.windows(14).any(|part| part == b"subject: mail "), "its bytes are kept");
}

#[tokio::test]
async fn a_segment_with_a_damaged_beginning_keeps_its_mails() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..3 {
        open(directory.path()).commit(mail(number, &["a@x.example"])).await.unwrap();
    }
    fs::remove_file(directory.path().join("index.sqlite")).unwrap();
    for segment in files(directory.path(), "log") {
        change(&segment, |bytes| bytes[30] ^= 1);
    }
    let spool = open(directory.path());
    assert_eq!(deliver_all(&spool, at(0)).await, 3);
    assert_eq!(spool.quarantined(), 3);
}

#[tokio::test]
async fn a_mail_that_cannot_be_read_any_more_is_held_and_seen() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    spool.commit(mail(2, &["a@x.example"])).await.unwrap();
    drop(spool);
    damage(&files(directory.path(), "log")[0], "Subject: mail 1");
    let spool = open(directory.path());
    assert_eq!(claim_one(&spool, at(0)).await.mail.id, id(2));
    assert_eq!(states(&spool, id(1)).await, [State::Held]);
}

#[tokio::test]
async fn an_index_that_is_no_database_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).commit(mail(1, &["a@x.example"])).await.unwrap();
    fs::write(directory.path().join("index.sqlite"), vec![0x55; 100_000]).unwrap();
    let spool = open(directory.path());
    assert_eq!(deliver_all(&spool, at(0)).await, 1);
}

#[tokio::test]
async fn the_index_of_another_spool_is_made_anew() {
    let [ours, theirs] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    open(ours.path()).commit(mail(1, &["a@x.example"])).await.unwrap();
    open(theirs.path()).commit(mail(2, &["a@x.example"])).await.unwrap();
    let index = |directory: &tempfile::TempDir| directory.path().join("index.sqlite");
    fs::copy(index(&theirs), index(&ours)).unwrap();
    let spool = open(ours.path());
    assert_eq!(claim_one(&spool, at(0)).await.mail.id, id(1));
    assert!(spool.show(id(2)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_old_index_reads_on_and_one_from_the_future_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("index.sqlite");
    let log = |number| directory.path().join(format!("log/{number:010}.segment"));
    open(directory.path()).commit(mail(1, &["a@x.example"])).await.unwrap();
    let old = fs::read(&index).unwrap();
    open(directory.path()).commit(mail(2, &["a@x.example"])).await.unwrap();
    let new = fs::read(&index).unwrap();
    fs::write(&index, old).unwrap();
    assert_eq!(open(directory.path()).list(&Filter::default()).await.unwrap().len(), 2);
    fs::write(&index, new).unwrap();
    fs::remove_file(log(2)).unwrap();
    let spool = open(directory.path());
    assert_eq!(spool.list(&Filter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn files_of_contents_go_with_their_mails_and_orphans_when_opened() {
    let directory = tempfile::tempdir().unwrap();
    let small = || SpoolOptions { inline_content_bytes_max: 10, ..options() };
    let contents = || files(directory.path(), "contents").len();
    let spool = Spool::open(directory.path(), small()).unwrap();
    let mut large = with_key(mail(1, &["a@x.example"]), "k");
    large.content = Content::new(vec![b'x'; 100_000].into());
    spool.commit(large.clone()).await.unwrap();
    assert_eq!(contents(), 1);
    large.id = id(2);
    spool.commit(large.clone()).await.unwrap();
    spool.counts().await.unwrap();
    assert_eq!(contents(), 1, "the second was not needed");
    drop(spool);
    fs::write(directory.path().join("contents/orphan"), "half a mail").unwrap();
    let spool = Spool::open(directory.path(), small()).unwrap();
    assert_eq!(contents(), 1);
    assert_eq!(claim_one(&spool, at(0)).await.mail.content, large.content);
    drop(spool);
    let spool = Spool::open(directory.path(), small()).unwrap();
    assert_eq!(deliver_all(&spool, at(0)).await, 1);
    spool.counts().await.unwrap();
    assert_eq!(contents(), 0);
}

fn reopened(disk: &SimulatedDisk) -> Spool {
    let options = SpoolOptions { inline_content_bytes_max: 1000, ..options() };
    Spool::on_disk(Arc::new(disk.clone()), None, options).unwrap()
}

/// A spool that refused a mail all of which got to the disk before the flush failed.
async fn refusing(large: &Mail) -> (SimulatedDisk, Spool) {
    let disk = SimulatedDisk::new();
    let spool = reopened(&disk);
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    disk.plan(|operation| {
        let fails = operation.kind == Flush && operation.name.starts_with("log/");
        fails.then_some(Fault::Tear(usize::MAX, Errno::IO.raw_os_error()))
    });
    assert!(spool.commit(large.clone()).await.is_err());
    disk.heal();
    (disk, spool)
}

#[tokio::test]
async fn a_refused_mail_that_comes_back_is_whole() {
    let large = with_key(mail(2, &["a@x.example"]), "key");
    let large = Mail { content: Content::new(vec![b'x'; 5000].into()), ..large };
    let check = async |disk: SimulatedDisk| {
        let next = reopened(&disk);
        assert_eq!(next.commit(large.clone()).await.unwrap().id, large.id);
        let leases = claim(&next, at(0)).await;
        let lease = leases.iter().find(|lease| lease.mail.id == large.id).unwrap();
        assert_eq!(lease.mail.content, large.content);
    };
    check(refusing(&large).await.0.after_kill()).await;
    // Where the process goes on, what was refused is gone with the next mail, whenever the power goes.
    for number in 0.. {
        let (disk, spool) = refusing(&large).await;
        let cut_at = disk.operations() + number;
        disk.plan(move |operation| (operation.number == cut_at).then_some(Fault::PowerCut));
        if spool.commit(mail(3, &["a@x.example"])).await.is_ok() && disk.operations() <= cut_at {
            assert!(number > 2, "{number}");
            assert!(!disk.names().iter().any(|name| name.starts_with("contents/")));
            let next = reopened(&disk.after_kill());
            assert!(next.show(large.id).await.unwrap().is_none());
            return;
        }
        check(disk.after_power_cut(|_| Kept::Nothing)).await;
        check(disk.after_power_cut(|_| Kept::All)).await;
    }
}

#[tokio::test]
async fn a_damaged_file_of_a_content_holds_its_mail() {
    let directory = tempfile::tempdir().unwrap();
    let small = SpoolOptions { inline_content_bytes_max: 10, cache_bytes_max: 0, ..options() };
    let spool = Spool::open(directory.path(), small).unwrap();
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    change(&files(directory.path(), "contents")[0], |bytes| bytes[3] ^= 1);
    assert!(claim(&spool, at(0)).await.is_empty());
    assert_eq!(states(&spool, id(1)).await, [State::Held]);
}

#[tokio::test]
async fn the_index_gives_its_room_back_when_most_of_it_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let size = || fs::metadata(directory.path().join("index.sqlite")).unwrap().len();
    let seconds = Arc::new(AtomicI64::new(0));
    let options = || SpoolOptions {
        segment_bytes_max: SpoolOptions::default().segment_bytes_max,
        ..Life::FORGETTING.options(&seconds)
    };
    let spool = Spool::open(directory.path(), options()).unwrap();
    let recipients: Vec<String> = (0..1000).map(|number| format!("a@d{number}.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    for number in 1..=30 {
        spool.commit(mail(number, &recipients)).await.unwrap();
    }
    spool.drop(&Selection::All).await.unwrap();
    spool.close().await;
    let full = size();
    seconds.store(1000, Ordering::Relaxed);
    let spool = Spool::open(directory.path(), options()).unwrap();
    // What it does for itself comes after what it is asked.
    while spool.show(id(1)).await.unwrap().is_some() {}
    spool.counts().await.unwrap();
    spool.close().await;
    assert!(full > 10 * size(), "{full} octets, and {} in the end", size());
}
