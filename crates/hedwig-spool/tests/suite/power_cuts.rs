//! The power goes at every single operation of a small life, and whatever of the unflushed is there when
//! it comes back, all that was promised holds. So it does when it goes again while the spool is opened.

use crate::{
    common::{
        at, claim, claim_one,
        cut::ways,
        deliver_all, id,
        life::{Life, letter},
        outcome,
        promise::{Promised, Promises, check},
        states,
    },
    faults::full,
};
use hedwig_envelope::State;
use hedwig_spool::{
    Claim, Filter, Selection,
    disk::{Fault, Kept, SimulatedDisk},
};

/// How many operations a life has when nothing goes wrong.
async fn operations(life: Life<'_>) -> u64 {
    let disk = SimulatedDisk::new();
    let promises = life.live(&disk).await;
    assert_eq!(promises.failures, 0);
    let spool = life.open(&disk).unwrap();
    check(&spool, &promises, life.leniency(), "without a fault").await;
    assert_eq!(spool.quarantined(), 0);
    let first = "log/0000000001.segment".to_owned();
    assert!(!disk.names().contains(&first), "segments should have come and gone");
    disk.operations()
}

async fn live_until(life: Life<'_>, number: u64) -> (SimulatedDisk, Promises) {
    let disk = SimulatedDisk::new();
    disk.plan(move |operation| (operation.number == number).then_some(Fault::PowerCut));
    let promises = life.live(&disk).await;
    (disk, promises)
}

/// Cuts the power at each operation; tells how many there were and how many disks were looked at.
async fn cut_at_every_operation(life: Life<'_>) -> (u64, usize) {
    let operations = operations(life).await;
    let mut disks = 0;
    for number in 0..operations {
        let (disk, promises) = live_until(life, number).await;
        for found in ways(&disk, number) {
            let story = format!("power cut at operation {number}; {}", found.story);
            let spool = life.open(&found.disk).unwrap_or_else(|e| panic!("{story}: {e}"));
            check(&spool, &promises, life.leniency(), &story).await;
            disks += 1;
        }
    }
    (operations, disks)
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_that_was_promised() {
    let (points, disks) = cut_at_every_operation(Life::KEEPING).await;
    println!("crash points: {points}, disks found: {disks}");
    assert!(points > 100 && disks as u64 > 5 * points, "{points} points, {disks} disks");
}

#[tokio::test]
async fn a_power_cut_while_finished_mails_are_forgotten_loses_nothing_that_was_promised() {
    let (points, disks) = cut_at_every_operation(Life::FORGETTING).await;
    println!("crash points: {points}, disks found: {disks}");
    assert!(points > 100 && disks as u64 > 5 * points, "{points} points, {disks} disks");
}

#[tokio::test]
async fn a_second_power_cut_while_the_spool_is_opened_loses_nothing_either() {
    let life = Life::KEEPING;
    let mut points = 0;
    for number in 0..operations(life).await {
        let (disk, promises) = live_until(life, number).await;
        let ways = ways(&disk, number);
        // The first time everything was lost, or this turn's way.
        for found in [&ways[ways.len().min(2) - 1], &ways[number as usize % ways.len()]] {
            let first = &found.disk;
            let before = first.after_power_cut(|_| Kept::All);
            drop(life.open(&before));
            for again in 0..before.operations() {
                let disk = first.after_power_cut(|_| Kept::All);
                disk.plan(move |o| (o.number == again).then_some(Fault::PowerCut));
                drop(life.open(&disk));
                let ways = crate::common::cut::ways(&disk, again);
                let second = &ways[(number + again) as usize % ways.len()];
                let story = format!(
                    "power cut at operation {number} ({}), then at {again} of opening ({})",
                    found.story, second.story
                );
                let spool = life.open(&second.disk).unwrap_or_else(|e| panic!("{story}: {e}"));
                check(&spool, &promises, life.leniency(), &story).await;
                points += 1;
            }
        }
    }
    println!("crash points while opening: {points}");
    assert!(points > 500, "{points}");
}

/// The process is killed at each operation; the next one finds what was written and not flushed, and shows it to
/// whoever asks. It is there for good, though nothing was asked of the spool before the power goes.
#[tokio::test]
async fn what_is_shown_after_a_kill_is_there_after_a_power_cut() {
    let life = Life::KEEPING;
    let mut unflushed = 0;
    let points = operations(life).await;
    for number in 0..points {
        let (disk, mut promises) = live_until(life, number).await;
        let disk = disk.after_kill();
        drop(disk.after_power_cut(|_| {
            unflushed += 1;
            Kept::All
        }));
        let spool = life.open(&disk).unwrap();
        for status in spool.list(&Filter::default()).await.unwrap() {
            promises.offered(status.id);
            for recipient in status.recipients.iter().filter(|r| r.state.is_final()) {
                let settled = Promised::Settled(recipient.state);
                promises.promise(status.id, &[&recipient.address], settled);
            }
        }
        let cut = disk.after_power_cut(|_| Kept::Nothing);
        drop(spool);
        let spool = life.open(&cut).unwrap();
        let story = format!("a kill at operation {number}, an opening, and a power cut");
        check(&spool, &promises, life.leniency(), &story).await;
    }
    println!("kills: {points}, unflushed pieces that the next process found: {unflushed}");
    assert!(points > 100 && unflushed > points, "{points} kills, {unflushed} pieces");
}

/// The disk is full when the power comes back, and then it is not: what could not be set aside or recorded waited.
#[tokio::test]
async fn a_disk_that_is_full_after_a_power_cut_loses_nothing_that_was_promised() {
    let life = Life::KEEPING;
    let mut waiting = 0;
    for number in 0..operations(life).await {
        let (disk, promises) = live_until(life, number).await;
        for found in ways(&disk, number) {
            found.disk.plan(full);
            if let Ok(spool) = life.open(&found.disk) {
                waiting += usize::from(spool.claim(at(161), Claim::up_to(0)).await.is_err());
            }
            found.disk.heal();
            let story = format!("power cut at operation {number}; {}, on a full disk", found.story);
            let spool = life.open(&found.disk).unwrap_or_else(|e| panic!("{story}: {e}"));
            check(&spool, &promises, life.leniency(), &story).await;
        }
    }
    println!("openings on a full disk that had to wait: {waiting}");
    assert!(waiting > 100, "{waiting}");
}

/// What an operator was told is done is done, whenever the power goes.
#[tokio::test]
async fn what_an_operator_did_is_there_after_a_power_cut() {
    let life = Life::KEEPING;
    let ids = [1, 2, 3].map(id);
    for number in 0.. {
        let disk = SimulatedDisk::new();
        let spool = life.open(&disk).unwrap();
        for number in 1..=3 {
            spool.commit(letter(number, 100)).await.unwrap();
        }
        let lease = claim(&spool, at(161)).await.pop().unwrap();
        let later = Some(at(90_000));
        spool.finish(&lease, vec![outcome(450, "Busy")], later, vec![]).await.unwrap();
        let begin = disk.operations();
        disk.plan(move |o| (o.number == begin + number).then_some(Fault::PowerCut));
        let [first, second, third] = ids.map(|id| Selection::ids([id]));
        let mut done = 0;
        done += usize::from(spool.hold(&first).await.is_ok());
        done += usize::from(spool.hold(&second).await.is_ok());
        done += usize::from(spool.release(&second).await.is_ok());
        done += usize::from(spool.retry(&third).await.is_ok());
        for kept in [Kept::Nothing, Kept::All] {
            let spool = life.open(&disk.after_power_cut(|_| kept)).unwrap();
            let story =
                format!("power cut at {number}, {done} done; of the rest there is {kept:?}");
            let is_held = async |id| states(&spool, id).await == [State::Held];
            assert!(done < 1 || is_held(ids[0]).await, "{story}: the first is not held");
            assert!(done != 2 || kept == Kept::All || is_held(ids[1]).await, "{story}: the second");
            assert!(done < 3 || !is_held(ids[1]).await, "{story}: the second is not released");
            let due = spool.show(ids[2]).await.unwrap().unwrap().recipients[0].next_due;
            assert!(done < 4 || due == Some(at(161)), "{story}: the third is due at {due:?}");
        }
        if done == 4 {
            assert!(number >= 8, "{number}");
            return;
        }
    }
}

#[tokio::test]
async fn what_is_done_after_a_power_cut_is_durable_too() {
    let life = Life::KEEPING;
    for number in 0..operations(life).await {
        let (disk, promises) = live_until(life, number).await;
        let ways = ways(&disk, number);
        let found = &ways[number as usize % ways.len()];
        let spool = life.open(&found.disk).unwrap();
        spool.release(&Selection::All).await.unwrap();
        let later = at(1_000_000);
        let mut delivered: Vec<_> = spool.list(&Filter::default()).await.unwrap();
        // Others are there until their senders are told.
        delivered.retain(|status| status.recipients.iter().any(|r| !r.state.is_final()));
        assert!(deliver_all(&spool, later).await >= delivered.len());
        let mail = letter(77_000, 2000);
        spool.commit(mail.clone()).await.unwrap();
        drop(spool);
        let story = format!("delivered after a power cut at operation {number}, and cut again");
        let spool = life.open(&found.disk.after_power_cut(|_| Kept::Nothing)).unwrap();
        for id in delivered.iter().map(|status| status.id).chain(promises.mails.into_keys()) {
            let states = states(&spool, id).await;
            assert!(states.iter().all(|state| state.is_final()), "{story}: {id} waits again");
        }
        assert_eq!(claim_one(&spool, later).await.mail, mail, "{story}");
    }
}

/// The checker itself: a disk that says it has flushed, and has not, is found out.
#[tokio::test]
async fn a_disk_that_lies_is_found_out() {
    use hedwig_spool::disk::OperationKind::{Append, Flush, FlushDirectory};
    let life = Life::KEEPING;
    for lie in [Append, Flush, FlushDirectory] {
        let disk = SimulatedDisk::new();
        disk.plan(move |operation| (operation.kind == lie).then_some(Fault::Forget));
        let promises = life.live(&disk).await;
        let disk = disk.after_power_cut(|_| Kept::Nothing);
        let checked = tokio::spawn(async move {
            let spool = life.open(&disk).unwrap();
            check(&spool, &promises, life.leniency(), "a lie").await;
        });
        let found_out = checked.await.is_err_and(|error| error.is_panic());
        assert!(found_out, "{lie:?} did nothing, and nobody noticed");
    }
}
