//! Calls to the disk that fail, each at a time and until it is repaired: what was asked is refused, what was
//! promised holds, and the spool goes on by itself.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use crate::common::{
    at, claim_one, deliver_all, done, id,
    life::{Life, letter},
    outcome,
    promise::{check, check_counted},
    states, with_wishes,
};
use hedwig_envelope::{Refusal, RefusalKind, State};
use hedwig_spool::{
    Claim, Lease, Selection, Spool, SpoolError, SpoolOptions,
    disk::{
        Disk, Fault, Kept, Operation,
        OperationKind::{
            self, Allocate, Append, Create, Flush, FlushDirectory, List, Open, Overwrite, Read,
        },
        SimulatedDisk,
    },
};
use rustix::io::Errno;

/// What a system says: a device that fails, one that is full, no descriptor left, and a file system that was
/// made read-only.
const ERRORS: [Errno; 4] = [Errno::IO, Errno::NOSPC, Errno::MFILE, Errno::ROFS];

fn name(error: Errno) -> &'static str {
    match error {
        Errno::IO => "EIO",
        Errno::NOSPC => "ENOSPC",
        Errno::MFILE => "EMFILE",
        _ => "EROFS",
    }
}

/// Whether a call can end with this error.
fn can_fail(operation: OperationKind, error: Errno) -> bool {
    match error {
        Errno::NOSPC => !matches!(operation, Open | List | Read),
        Errno::MFILE => matches!(operation, Open | List | Create | FlushDirectory),
        Errno::ROFS => !matches!(operation, Open | List | Read | Flush),
        _ => true,
    }
}

/// How many calls a life makes that can end with this error.
async fn calls(life: Life<'_>, error: Errno) -> u64 {
    let disk = SimulatedDisk::new();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    disk.plan(move |operation| {
        counted.fetch_add(u64::from(can_fail(operation.kind, error)), Ordering::Relaxed);
        None
    });
    assert_eq!(life.live(&disk).await.failures, 0);
    calls.load(Ordering::Relaxed)
}

/// Lets so many calls that can fail so do it, from this one on.
fn failing(
    error: Errno,
    first: u64,
    count: u64,
) -> impl FnMut(Operation<'_>) -> Option<Fault> + Send {
    let mut calls = 0;
    move |operation| {
        if !can_fail(operation.kind, error) {
            return None;
        }
        calls += 1;
        let fails = (first..first + count).contains(&(calls - 1));
        // A write, or a flush, may get somewhere before it fails.
        let kept = (first % 3) as usize * 300;
        fails.then_some(Fault::Tear(kept, error.raw_os_error()))
    }
}

/// Fails at every call, and asks the next process for what was promised, and one after a power cut. Tells how
/// many calls there were.
async fn fail_at_every_call(life: Life<'_>, error: Errno, count: u64) -> u64 {
    let calls = calls(life, error).await;
    for first in 0..calls {
        let disk = SimulatedDisk::new();
        disk.plan(failing(error, first, count));
        let promises = life.live(&disk).await;
        let story = format!("{error:?} at call {first} and {} after it", count - 1);
        let after_kill = disk.after_kill();
        let after_both = after_kill.after_power_cut(|_| Kept::Nothing);
        for (what, disk) in [("in the next process", after_kill), ("after a power cut", after_both)]
        {
            let story = format!("{story}: {what}");
            let spool = life.open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
            check(&spool, &promises, life.leniency(), &story).await;
        }
    }
    calls
}

#[tokio::test]
async fn an_error_at_any_call_is_told_and_the_next_ones_are_well() {
    for error in ERRORS {
        let calls = fail_at_every_call(Life::KEEPING, error, 1).await;
        println!("fault points, {} once: {calls}", name(error));
        assert!(calls > 20, "{error:?}: {calls}");
    }
}

#[tokio::test]
async fn an_error_that_lasts_for_a_while_from_any_call_on_loses_nothing_that_was_promised() {
    for error in ERRORS {
        let calls = fail_at_every_call(Life::FORGETTING, error, 25).await;
        println!("fault points, {} for 25 calls: {calls}", name(error));
        assert!(calls > 20, "{error:?}: {calls}");
    }
}

/// A disk on which nothing takes any more room, and nothing new can be made.
pub(crate) fn full(operation: Operation<'_>) -> Option<Fault> {
    let grows = operation.kind == Create || operation.room > 0;
    grows.then_some(Fault::Fail(Errno::NOSPC.raw_os_error()))
}

async fn is_marked(spool: &Spool, number: u128) -> bool {
    let status = spool.show(id(number)).await.unwrap().unwrap();
    status.recipients[0].attempts.iter().any(|attempt| attempt.ambiguous)
}

/// Whoever delivers on a full disk and is killed leaves a note of it, however often that happens.
#[tokio::test]
async fn an_attempt_on_a_full_disk_is_noted() {
    let life = Life::KEEPING;
    let disk = SimulatedDisk::new();
    let spool = life.open(&disk).unwrap();
    for number in 1..=3 {
        spool.commit(letter(number, 10)).await.unwrap();
    }
    disk.plan(full);
    let room = disk.used();
    for _ in 0..50 {
        spool.give_back(claim_one_of(&spool).await).await.unwrap();
    }
    let tried = claim_one_of(&spool).await;
    assert_eq!(disk.used(), room);
    let spool = life.open(&disk.after_kill()).unwrap();
    for number in 1..=3 {
        assert_eq!(is_marked(&spool, number).await, id(number) == tried.mail.id, "{number}");
    }
}

async fn claim_one_of(spool: &Spool) -> Lease {
    spool.claim(at(1000), Claim::up_to(1)).await.unwrap().leases.remove(0)
}

/// Nobody could tell later that it was tried: so it is not, until that can be noted.
#[tokio::test]
async fn what_cannot_be_noted_is_not_tried() {
    for error in [Errno::NOSPC, Errno::IO] {
        let disk = SimulatedDisk::new();
        let without_reserve = |options: &mut SpoolOptions| options.reserve_bytes = 0;
        let spool = Life::KEEPING.open_with(&disk, without_reserve).unwrap();
        spool.commit(letter(1, 10)).await.unwrap();
        disk.plan(failing_at(Overwrite, error));
        let refused = spool.claim(at(1000), Claim::up_to(1)).await;
        assert_eq!(matches!(&refused, Err(SpoolError::NoSpace(_))), error == Errno::NOSPC);
        assert!(refused.is_err());
        assert_eq!(states(&spool, id(1)).await, [State::Queued]);
        disk.heal();
        assert_eq!(deliver_all(&spool, at(1000)).await, 1);
    }
}

/// The room for notes comes out of the reserve if it was never there before.
#[tokio::test]
async fn the_reserve_is_given_up_for_the_first_note() {
    let disk = SimulatedDisk::new();
    let seconds = Arc::new(AtomicI64::new(0));
    disk.resize(100_000);
    let options = || SpoolOptions { reserve_bytes: 12_000, ..Life::KEEPING.options(&seconds) };
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, options()).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    drop(spool);
    for name in ["attempts/first", "attempts/second"] {
        disk.unlink(name).unwrap();
    }
    disk.resize(disk.used());
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, options()).unwrap();
    claim_one(&spool, at(0)).await;
    assert!(!disk.names().contains(&"reserve".to_owned()));
    let spool = Spool::on_disk(Arc::new(disk.after_kill()), None, options()).unwrap();
    assert!(is_marked(&spool, 1).await);
}

/// What was interrupted is recorded before it is tried again, however long the disk refuses.
#[tokio::test]
async fn what_was_interrupted_waits_until_that_is_recorded() {
    let life = Life::KEEPING;
    let disk = SimulatedDisk::new();
    let spool = life.open(&disk).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    claim_one(&spool, at(1000)).await;
    let disk = disk.after_kill();
    disk.plan(full);
    let seconds = Arc::new(AtomicI64::new(161));
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, life.options(&seconds)).unwrap();
    for _ in 0..3 {
        let refused = spool.claim(at(1000), Claim::up_to(1)).await;
        assert!(matches!(refused, Err(SpoolError::NoSpace(_))));
        assert!(!is_marked(&spool, 1).await);
        seconds.fetch_add(2, Ordering::Relaxed);
    }
    // Whatever ends the process in between changes nothing.
    for disk in [disk.after_kill(), disk.after_power_cut(|_| Kept::Nothing)] {
        let spool = life.open(&disk).unwrap();
        assert!(is_marked(&spool, 1).await);
    }
    let spool = life.open(&disk.after_kill()).unwrap();
    assert!(is_marked(&spool, 1).await);
    assert_eq!(claim_one(&spool, at(1000)).await.attempts, 1);
}

/// What a spool promised to one that sends again with its key, though the first flush failed, it keeps: what
/// the system remembers of a write that failed is not what the disk has.
#[tokio::test]
async fn what_a_failed_flush_left_in_memory_is_not_believed_by_the_next_process() {
    let life = Life::KEEPING;
    let disk = SimulatedDisk::new();
    let spool = life.open(&disk).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    disk.plan(failing_at(Flush, Errno::IO));
    spool.commit(letter(2, 10)).await.unwrap_err();
    drop(spool);
    disk.heal();
    let spool = life.open(&disk).unwrap();
    spool.commit(letter(2, 10)).await.unwrap();
    drop(spool);
    let spool = life.open(&disk.after_power_cut(|_| Kept::Nothing)).unwrap();
    assert_eq!(states(&spool, id(2)).await, [State::Queued]);
    assert_eq!(deliver_all(&spool, at(1000)).await, 2);
}

/// What a killed process wrote and did not flush, the next one finds and answers for: so it flushes it first.
#[tokio::test]
async fn what_a_killed_process_did_not_flush_is_durable_before_it_is_believed() {
    let life = Life::KEEPING;
    let disk = SimulatedDisk::new();
    let spool = life.open(&disk).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    // It gets no further than to this flush.
    disk.plan(|operation| (operation.kind == Flush).then_some(Fault::PowerCut));
    spool.commit(letter(2, 10)).await.unwrap_err();
    let disk = disk.after_kill();
    let spool = life.open(&disk).unwrap();
    assert_eq!(states(&spool, id(2)).await, [State::Queued], "all that was written is there");
    let mut again = letter(2, 10);
    again.id = id(3);
    assert_eq!(spool.commit(again).await.unwrap().id, id(2));
    let spool = life.open(&disk.after_power_cut(|_| Kept::Nothing)).unwrap();
    assert_eq!(states(&spool, id(2)).await, [State::Queued]);
    assert_eq!(deliver_all(&spool, at(1000)).await, 2);
}

fn failing_at(
    kind: OperationKind,
    error: Errno,
) -> impl FnMut(Operation<'_>) -> Option<Fault> + Send {
    move |operation| (operation.kind == kind).then_some(Fault::Fail(error.raw_os_error()))
}

#[tokio::test]
async fn a_full_disk_is_told_apart_from_a_broken_one_and_both_mend_without_a_new_start() {
    let life = Life::KEEPING;
    for operation in [Append, Flush, Create, FlushDirectory] {
        for error in ERRORS.into_iter().filter(|error| can_fail(operation, *error)) {
            let disk = SimulatedDisk::new();
            let spool = life.open(&disk).unwrap();
            spool.commit(letter(1, 10)).await.unwrap();
            // A large content is written before anybody else is asked.
            for bytes in [5000, 4000] {
                spool.commit(letter(bytes as u128, bytes)).await.unwrap();
            }
            let mut refused = 0;
            disk.plan(failing_at(operation, error));
            for (number, bytes) in [(2, 10), (3, 4000), (4, 10)] {
                let Err(error_told) = spool.commit(letter(number, bytes)).await else { continue };
                let kind = Refusal::from(error_told).kind;
                let wanted = match error {
                    Errno::NOSPC => RefusalKind::NoSpace,
                    _ => RefusalKind::Unavailable,
                };
                assert_eq!(kind, wanted, "{operation:?}: {error:?}");
                assert!(spool.show(id(number)).await.unwrap().is_none());
                refused += 1;
            }
            assert!(refused > 0, "{operation:?}: {error:?}");
            disk.heal();
            spool.commit(letter(5, 10)).await.unwrap();
            spool.commit(letter(6, 4000)).await.unwrap();
            drop(spool);
            let spool = life.open(&disk.after_power_cut(|_| Kept::Nothing)).unwrap();
            assert_eq!(deliver_all(&spool, at(1000)).await, 5 + 3 - refused);
            assert_eq!(spool.quarantined(), 0, "{operation:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_mail_that_cannot_be_read_just_now_is_tried_again_later() {
    let life = Life::KEEPING;
    for (operation, error) in [(Read, Errno::IO), (Open, Errno::MFILE)] {
        let disk = SimulatedDisk::new();
        let seconds = Arc::new(AtomicI64::new(0));
        let options = life.options(&seconds);
        let lease = options.lease.as_secs() as i64;
        let spool = Spool::on_disk(Arc::new(disk.clone()), None, options).unwrap();
        spool.commit(letter(1, 4000)).await.unwrap();
        disk.plan(failing_at(operation, error));
        assert_eq!(deliver_all(&spool, at(0)).await, 0);
        disk.heal();
        assert_eq!(deliver_all(&spool, at(lease + 1)).await, 1, "{operation:?}: {error:?}");
        assert_eq!(spool.quarantined(), 0);
    }
}

#[tokio::test]
async fn a_file_that_failed_a_flush_is_never_written_again() {
    let disk = SimulatedDisk::new();
    let spool = Life::KEEPING.open(&disk).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    let mut failed = None;
    let (written, writes) = std::sync::mpsc::channel();
    disk.plan(move |operation| match operation.kind {
        Flush if failed.is_none() => {
            failed = Some(operation.name.to_owned());
            Some(Fault::Fail(Errno::IO.raw_os_error()))
        }
        Append => {
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
    let disk = SimulatedDisk::new();
    let spool = Life::KEEPING.open(&disk).unwrap();
    spool.commit(letter(1, 10)).await.unwrap();
    let lease = claim_one(&spool, at(1000)).await;
    disk.plan(failing_at(Append, Errno::NOSPC));
    let full = spool.finish(&lease, vec![done()], None, vec![]).await;
    assert!(matches!(full, Err(SpoolError::NoSpace(_))));
    disk.heal();
    spool.finish(&lease, vec![done()], None, vec![]).await.unwrap();
    assert_eq!(states(&spool, id(1)).await, [State::Delivered]);
}

#[tokio::test]
async fn the_log_stays_short_and_one_survivor_is_carried_along() {
    let life = Life::FORGETTING;
    let seconds = Arc::new(AtomicI64::new(0));
    let disk = SimulatedDisk::new();
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, life.options(&seconds)).unwrap();
    let survivor = with_wishes(letter(0, 2500));
    spool.commit(survivor.clone()).await.unwrap();
    let lease = claim_one(&spool, at(0)).await;
    let busy = vec![outcome(450, "Busy")];
    spool.finish(&lease, busy, Some(at(60)), vec![]).await.unwrap();
    spool.hold(&Selection::All).await.unwrap();
    let shown = spool.show(survivor.id).await.unwrap().unwrap();
    for number in 1..200 {
        seconds.fetch_add(10, Ordering::Relaxed);
        spool.commit(letter(number, 2500)).await.unwrap();
        assert_eq!(deliver_all(&spool, spool.clock().now()).await, 1);
        let segments = disk.names().iter().filter(|name| name.starts_with("log/")).count();
        assert!(segments <= 12, "{segments} segments after {number} mails");
    }
    assert!(!disk.names().contains(&"log/0000000001.segment".to_owned()));
    drop(spool);
    let disk = Arc::new(disk.after_power_cut(|_| Kept::Nothing));
    let spool = Spool::on_disk(disk, None, life.options(&seconds)).unwrap();
    assert_eq!(
        spool.show(survivor.id).await.unwrap().unwrap(),
        shown,
        "with all that became of it"
    );
    assert_eq!(spool.release(&Selection::All).await.unwrap(), 1);
    assert_eq!(claim_one(&spool, spool.clock().now()).await.mail, survivor);
    assert_eq!(spool.quarantined(), 0);
}

#[tokio::test]
async fn finished_mails_and_their_keys_are_known_for_their_retention_and_no_longer() {
    let seconds = Arc::new(AtomicI64::new(0));
    let spool = Spool::in_memory(Life::FORGETTING.options(&seconds)).unwrap();
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
    check_counted(&spool, "forgotten").await;
}

#[tokio::test]
async fn a_disk_without_room_for_a_reserve_takes_mail_once_there_is() {
    let life = Life::KEEPING;
    let disk = SimulatedDisk::new();
    disk.plan(failing_at(Allocate, Errno::NOSPC));
    let seconds = Arc::new(AtomicI64::new(0));
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, life.options(&seconds)).unwrap();
    for bytes in [10, 4000] {
        let refused = spool.commit(letter(1, bytes)).await.unwrap_err();
        assert_eq!(Refusal::from(refused).kind, RefusalKind::NoSpace);
    }
    disk.heal();
    seconds.store(2, Ordering::Relaxed);
    spool.commit(letter(1, 10)).await.unwrap();
}
