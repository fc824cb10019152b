//! A disk that fails, tears, forgets and loses its power at every single operation of a small life.
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test is to stop it")]

mod common;

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::ErrorKind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use common::{at, claim, deliver_all, done, id, mail, outcome, with_key};
use hedwig_envelope::{Content, Mail, MailId, Refusal, RefusalKind, State};
use hedwig_spool::{
    Clock, Filter, Selection, Spool, SpoolError, SpoolOptions,
    disk::{Fault, OperationKind, SimulatedDisk},
};

/// Small segments, a short memory, and a clock that a test can turn: so that a short life sees segments
/// come and go.
fn options(seconds: &Arc<AtomicI64>, retention: Duration) -> SpoolOptions {
    let seconds = seconds.clone();
    SpoolOptions {
        clock: Clock::new(move || at(seconds.load(Ordering::Relaxed))),
        segment_bytes_max: 4000,
        inline_content_bytes_max: 3000,
        cache_bytes_max: 5000,
        retention,
        ..SpoolOptions::default()
    }
}

/// Longer than a life here.
const LONG: Duration = Duration::from_hours(24);
/// Shorter than a round of one.
const SHORT: Duration = Duration::from_secs(30);

/// What a spool has promised.
#[derive(Clone, Debug, Default)]
struct Promises {
    /// Mails that were taken, and what was promised of them since.
    mails: BTreeMap<MailId, Promise>,
    /// Refused mails and the reports on them, stored or not.
    reports: Vec<(MailId, MailId)>,
    /// Some call failed.
    failures: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Promise {
    Waits(Mail),
    /// The state, and the report that went with it.
    Settled(State, Option<MailId>),
    /// Its settlement failed: nobody knows.
    Unknown(Mail),
}

impl Promises {
    fn promise(&mut self, id: MailId, promise: Promise) {
        self.mails.insert(id, promise);
    }
}

fn key_of(id: MailId) -> String {
    format!("key-{id}")
}

fn letter(number: u128, bytes: usize) -> Mail {
    let mut mail = with_key(mail(number, &["a@x.example"]), &key_of(id(number)));
    mail.content = Content::with_added("R: x\r\n".into(), vec![b'a'; bytes].into());
    mail
}

/// Commits, settles, refuses with a report, defers, drops and restarts, and notes what was promised.
async fn live(disk: &SimulatedDisk, index: Option<&Path>, retention: Duration) -> Promises {
    let mut promises = Promises::default();
    let seconds = Arc::new(AtomicI64::new(0));
    for round in 0..3_u128 {
        seconds.fetch_add(40, Ordering::Relaxed);
        let disk = Arc::new(disk.clone());
        let Ok(spool) = Spool::on_disk(disk, index, options(&seconds, retention)) else {
            promises.failures += 1;
            continue;
        };
        for step in 0..6 {
            let number = round * 100 + step * 10;
            let mail = letter(number, if step == 4 { 4000 } else { 2500 });
            match spool.commit(mail.clone()).await {
                Ok(receipt) => promises.promise(receipt.id, Promise::Waits(mail)),
                Err(_) => promises.failures += 1,
            }
            if step % 2 == 1 {
                settle(&spool, number, &mut promises).await;
            }
        }
        let oldest =
            promises.mails.iter().find(|(_, promise)| matches!(promise, Promise::Waits(_)));
        if let Some((&oldest, _)) = oldest {
            match spool.drop(&Selection::ids([oldest])).await {
                Ok(_) => promises.promise(oldest, Promise::Settled(State::Dropped, None)),
                Err(_) => unknown(&mut promises, oldest),
            }
        }
    }
    promises
}

/// Tries what is due: the first is delivered, the second refused with a report, the others deferred.
async fn settle(spool: &Spool, number: u128, promises: &mut Promises) {
    let now = spool.clock().now();
    let Ok(claimed) = spool.claim(now, hedwig_spool::Claim::up_to(3)).await else { return };
    for (turn, lease) in claimed.leases.iter().enumerate() {
        let report = letter(number + 1 + turn as u128, 100);
        let (answer, next_due, reports, promise) = match turn {
            0 => (done(), None, vec![], Promise::Settled(State::Delivered, None)),
            1 => {
                let promise = Promise::Settled(State::Failed, Some(report.id));
                (outcome(550, "No"), None, vec![report.clone()], promise)
            }
            _ => (outcome(450, "Busy"), Some(now), vec![], Promise::Waits(lease.mail.clone())),
        };
        let id = lease.mail.id;
        if turn == 1 {
            promises.reports.push((id, report.id));
        }
        match spool.finish(lease, vec![answer], next_due, reports).await {
            Ok(()) => {
                promises.promise(id, promise);
                if turn == 1 {
                    promises.promise(report.id, Promise::Waits(report));
                }
            }
            Err(SpoolError::LeaseLost) => panic!("nobody else claims"),
            Err(_) => unknown(promises, id),
        }
    }
}

fn unknown(promises: &mut Promises, id: MailId) {
    promises.failures += 1;
    if let Some(Promise::Waits(mail)) = promises.mails.get(&id).cloned() {
        promises.promise(id, Promise::Unknown(mail));
    }
}

/// Opens the spool again on a disk that works, and asks for everything that was promised.
async fn verify(
    disk: SimulatedDisk,
    index: Option<&Path>,
    promises: &Promises,
    retention: Duration,
    story: &str,
) {
    let seconds = Arc::new(AtomicI64::new(121));
    let again = Spool::on_disk(Arc::new(disk), index, options(&seconds, retention));
    let forgets = retention == SHORT;
    let spool = again.unwrap_or_else(|error| panic!("{story}: {error}"));
    for (id, promise) in &promises.mails {
        // Finished mails are forgotten after their retention.
        let status = spool.show(*id).await.unwrap();
        let state = status.as_ref().map(|status| status.recipients[0].state);
        match promise {
            Promise::Waits(_) => {
                let waits = state.is_some_and(|state| !state.is_final());
                assert!(waits, "{story}: {id} should wait and is {state:?}");
            }
            Promise::Unknown(_) => assert!(forgets || state.is_some(), "{story}: {id} is gone"),
            Promise::Settled(settled, report) => {
                let as_settled = state.map_or(forgets, |state| state == *settled);
                assert!(as_settled, "{story}: {id} should be {settled:?} and is {state:?}");
                let told = report.is_none_or(|report| promises.mails.contains_key(&report));
                assert!(told, "{story}: the report on {id} is gone");
            }
        }
        if let Promise::Waits(mail) = promise {
            let mut again = mail.clone();
            again.id = common::id(9999);
            let known = spool.commit(again).await.map(|receipt| receipt.id);
            assert_eq!(known.unwrap(), *id, "{story}: the key of {id} is not known");
        }
    }
    for (id, report) in &promises.reports {
        if !forgets && spool.show(*report).await.unwrap().is_some() {
            let states = common::states(&spool, *id).await;
            assert_eq!(states, [State::Failed], "{story}: a report on {id}, which waits");
        }
    }
    let mut carried = BTreeMap::new();
    for lease in claim(&spool, at(100_000)).await {
        carried.insert(lease.mail.id, lease.mail);
    }
    for (id, promise) in &promises.mails {
        if let Promise::Waits(mail) = promise {
            assert_eq!(carried.get(id), Some(mail), "{story}: {id} is not what was sent");
        }
    }
    assert_counts(&spool, story).await;
}

/// The counts are what a look at every mail gives.
async fn assert_counts(spool: &Spool, story: &str) {
    let counts = spool.counts().await.unwrap();
    for (state, count) in counts.iter() {
        let filter = Filter { state: Some(state), ..Filter::default() };
        let listed = spool.list(&filter).await.unwrap().len() as u64;
        assert_eq!(count, listed, "{story}: {state:?}");
    }
}

/// How many of so many unflushed bytes are there after a power cut.
type Survive = fn(usize) -> usize;

async fn operations(retention: Duration) -> u64 {
    let disk = SimulatedDisk::new();
    let promises = live(&disk, None, retention).await;
    assert_eq!(promises.failures, 0);
    verify(disk.clone(), None, &promises, retention, "without a fault").await;
    let first = "log/0000000001.segment".to_owned();
    assert!(!disk.names().contains(&first), "segments should have come and gone");
    disk.operations()
}

async fn cut_the_power(number: u64, retention: Duration) {
    let survivors: [(&str, Survive); 4] = [
        ("nothing", |_| 0),
        ("a half", |n| n / 2),
        ("almost all", |n| n.saturating_sub(1)),
        ("all", |n| n),
    ];
    let disk = SimulatedDisk::new();
    disk.plan(move |operation| (operation.number == number).then_some(Fault::PowerCut));
    let promises = live(&disk, None, retention).await;
    for (what, survive) in survivors {
        let story = format!("power cut at operation {number}, {what} unflushed survives");
        let unflushed = Cell::new(0);
        let disk = disk.after_power_cut(|bytes| {
            unflushed.set(unflushed.get().max(bytes));
            survive(bytes)
        });
        verify(disk, None, &promises, retention, &story).await;
        if unflushed.get() == 0 {
            // Whatever would survive, the disk is the same.
            break;
        }
    }
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_that_was_promised() {
    for number in 0..operations(LONG).await {
        cut_the_power(number, LONG).await;
    }
}

#[tokio::test]
async fn a_power_cut_while_finished_mails_are_forgotten_loses_nothing_that_was_promised() {
    for number in (0..operations(SHORT).await).step_by(4) {
        cut_the_power(number, SHORT).await;
    }
}

#[tokio::test]
async fn a_process_killed_at_any_operation_goes_on_with_its_index() {
    for number in (0..operations(LONG).await).step_by(3) {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("index.sqlite");
        let disk = SimulatedDisk::new();
        disk.plan(move |operation| (operation.number == number).then_some(Fault::PowerCut));
        let promises = live(&disk, Some(&index), LONG).await;
        // What a killed process wrote is in the system's hands, and so is its index.
        let story = format!("killed at operation {number}");
        verify(disk.after_power_cut(|n| n), Some(&index), &promises, LONG, &story).await;
    }
}

#[tokio::test]
async fn an_error_at_any_operation_is_told_and_the_next_ones_are_well() {
    for number in 0..operations(LONG).await {
        let kind = [ErrorKind::StorageFull, ErrorKind::Other][number as usize % 2];
        let disk = SimulatedDisk::new();
        disk.plan(move |o| (o.number == number).then_some(Fault::Tear(40, kind)));
        let promises = live(&disk, None, LONG).await;
        let story = format!("{kind} at operation {number}");
        assert!(promises.failures <= 8, "{story}: {} calls failed", promises.failures);
        verify(disk.after_power_cut(|_| 0), None, &promises, LONG, &story).await;
        disk.heal();
        verify(disk, None, &promises, LONG, &story).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_apart_from_a_broken_one_and_both_can_mend() {
    let seconds = Arc::new(AtomicI64::new(0));
    for operation in [OperationKind::Append, OperationKind::Flush] {
        for (kind, refusal) in [
            (ErrorKind::StorageFull, RefusalKind::NoSpace),
            (ErrorKind::Other, RefusalKind::Unavailable),
        ] {
            let disk = SimulatedDisk::new();
            let spool =
                Spool::on_disk(Arc::new(disk.clone()), None, options(&seconds, SHORT)).unwrap();
            spool.commit(letter(1, 10)).await.unwrap();
            disk.plan(move |o| (o.kind == operation).then_some(Fault::Fail(kind)));
            for _ in 0..3 {
                let error = spool.commit(letter(2, 10)).await.unwrap_err();
                assert_eq!(Refusal::from(error).kind, refusal);
            }
            assert!(spool.show(id(2)).await.unwrap().is_none());
            disk.heal();
            spool.commit(letter(3, 10)).await.unwrap();
            drop(spool);
            let disk = Arc::new(disk.after_power_cut(|_| 0));
            let spool = Spool::on_disk(disk, None, options(&seconds, SHORT)).unwrap();
            assert!(spool.show(id(2)).await.unwrap().is_none());
            assert_eq!((deliver_all(&spool, at(0)).await, spool.quarantined()), (2, 0));
        }
    }
}

#[tokio::test]
async fn a_file_that_failed_a_flush_is_never_written_again() {
    let seconds = Arc::new(AtomicI64::new(0));
    let disk = SimulatedDisk::new();
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, options(&seconds, SHORT)).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    let mut failed = None;
    let (written, writes) = std::sync::mpsc::channel();
    disk.plan(move |operation| match operation.kind {
        OperationKind::Flush if failed.is_none() => {
            failed = Some(operation.name.to_owned());
            Some(Fault::Fail(ErrorKind::Other))
        }
        OperationKind::Append => {
            written.send((operation.name.to_owned(), failed.is_some())).unwrap();
            None
        }
        _ => None,
    });
    spool.commit(letter(2, 10)).await.unwrap_err();
    spool.commit(letter(3, 10)).await.unwrap();
    spool.commit(letter(4, 10)).await.unwrap();
    let writes: Vec<_> = writes.try_iter().collect();
    assert_eq!(writes.len(), 3);
    assert!(writes[1..].iter().all(|(name, after)| *after && *name != writes[0].0), "{writes:?}");
}

#[tokio::test]
async fn a_settlement_that_could_not_be_stored_can_be_stored_again() {
    let seconds = Arc::new(AtomicI64::new(0));
    let disk = SimulatedDisk::new();
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, options(&seconds, SHORT)).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    let lease = common::claim_one(&spool, at(0)).await;
    disk.plan(|o| (o.kind == OperationKind::Append).then_some(Fault::Fail(ErrorKind::StorageFull)));
    let full = spool.finish(&lease, vec![done()], None, vec![]).await;
    assert!(matches!(full, Err(SpoolError::NoSpace(_))));
    disk.heal();
    spool.finish(&lease, vec![done()], None, vec![]).await.unwrap();
    assert_eq!(common::states(&spool, id(1)).await, [State::Delivered]);
}

#[tokio::test]
async fn the_log_stays_short_and_one_survivor_is_carried_along() {
    let seconds = Arc::new(AtomicI64::new(0));
    let disk = SimulatedDisk::new();
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, options(&seconds, SHORT)).unwrap();
    let survivor = letter(0, 2500);
    spool.commit(survivor.clone()).await.unwrap();
    spool.hold(&Selection::All).await.unwrap();
    for number in 1..200 {
        seconds.fetch_add(10, Ordering::Relaxed);
        spool.commit(letter(number, 2500)).await.unwrap();
        assert_eq!(deliver_all(&spool, spool.clock().now()).await, 1);
        let segments = disk.names().iter().filter(|name| name.starts_with("log/")).count();
        assert!(segments <= 12, "{segments} segments after {number} mails");
    }
    assert!(!disk.names().contains(&"log/0000000001.segment".to_owned()));
    drop(spool);
    let disk = Arc::new(disk.after_power_cut(|_| 0));
    let spool = Spool::on_disk(disk, None, options(&seconds, SHORT)).unwrap();
    assert_eq!(spool.release(&Selection::All).await.unwrap(), 1);
    assert_eq!(common::claim_one(&spool, spool.clock().now()).await.mail, survivor);
    assert_eq!(spool.quarantined(), 0);
}

#[tokio::test]
async fn finished_mails_and_their_keys_are_known_for_their_retention_and_no_longer() {
    let seconds = Arc::new(AtomicI64::new(0));
    let spool = Spool::in_memory(options(&seconds, SHORT)).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    deliver_all(&spool, at(0)).await;
    seconds.store(30, Ordering::Relaxed);
    let mut again = letter(1, 10);
    again.id = id(2);
    assert_eq!(spool.commit(again.clone()).await.unwrap().id, id(1));
    seconds.store(31, Ordering::Relaxed);
    spool.counts().await.unwrap();
    assert!(spool.show(id(1)).await.unwrap().is_none());
    assert_eq!(spool.commit(again).await.unwrap().id, id(2));
    assert_counts(&spool, "forgotten").await;
}
