//! A batch of several requests, on a disk that fails or loses its power at each operation of it: what each was
//! told is true in the next process, and after a power cut.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hedwig_envelope::{Mail, MailId, Outcome, State};
use rustix::io::Errno;

use super::tests::{claim, in_one_batch, mail, refusal};
use crate::{
    Filter, Selection, Spool, SpoolOptions,
    disk::{Fault, Kept, SimulatedDisk},
    state::Act,
};

/// Whether each was told that it is done.
#[derive(Debug)]
struct Told {
    refused: bool,
    held: bool,
    taken: Option<MailId>,
    taken_again: Option<MailId>,
}

fn options() -> SpoolOptions {
    SpoolOptions { reserve_bytes: 4000, ..SpoolOptions::default() }
}

fn with_key(number: u128) -> Mail {
    let mut mail = mail(number, &["c@z.example"]);
    mail.origin.idempotency_key = Some("key".parse().unwrap());
    mail
}

/// Refuses mail 1 with report 10, holds mail 2, and takes mail 3, which comes twice, all in one batch.
async fn live(disk: &SimulatedDisk, fault: impl Fn(u64) -> Option<Fault> + Send + 'static) -> Told {
    let spool = Spool::on_disk_by_thread(disk, options()).unwrap();
    for (number, to) in [(1, "a@x.example"), (2, "b@y.example")] {
        spool.commit(mail(number, &[to])).await.unwrap();
    }
    let [first, second] = claim(&spool).await.try_into().unwrap();
    let before = disk.operations();
    disk.plan(move |operation| {
        let changes = operation.kind.changes() && operation.number >= before;
        changes.then(|| fault(operation.number - before)).flatten()
    });
    let reports = vec![mail(10, &["alice@example.org"])];
    let refuse = spool.finish(&first, vec![Outcome::Failed(refusal())], None, reports);
    let hold = spool.act_on(Act::Hold, vec![(second.mail.id, second.unit)]);
    let work = async { tokio::join!(refuse, hold) };
    let mails = async { tokio::join!(spool.commit(with_key(3)), spool.commit(with_key(4))) };
    let ((refused, held), (taken, again)) = in_one_batch(&spool, work, mails).await;
    Told {
        refused: refused.is_ok(),
        held: held.is_ok(),
        taken: taken.ok().map(|receipt| receipt.id),
        taken_again: again.ok().map(|receipt| receipt.id),
    }
}

async fn check(disk: &SimulatedDisk, told: &Told, story: &str) {
    disk.heal();
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, options()).unwrap();
    let state = async |number: u128| {
        let status = spool.show(MailId::from_bytes(number.to_be_bytes())).await.unwrap();
        status.map(|status| status.recipients[0].state)
    };
    let (refused, report) = (state(1).await.unwrap(), state(10).await);
    assert!(!told.refused || refused == State::Failed, "{story}: {told:?}, and is {refused:?}");
    assert_eq!(refused == State::Failed, report.is_some(), "{story}: {told:?}: together");
    assert!(!told.held || state(2).await == Some(State::Held), "{story}: {told:?}: held");
    let third = state(3).await;
    for taken in told.taken.iter().chain(&told.taken_again) {
        assert_eq!(*taken, with_key(3).id, "{story}: {told:?}: its key stands for it");
        assert!(third.is_some(), "{story}: {told:?}: taken, and gone");
    }
    assert_eq!(state(4).await, None, "{story}: it was the third");
    let waiting = spool.list(&Filter::default()).await.unwrap().len();
    spool.release(&Selection::All).await.unwrap();
    assert_eq!(claim(&spool).await.len(), waiting, "{story}: all that waits can be tried");
}

#[tokio::test]
async fn what_each_of_a_batch_is_told_is_true_whatever_the_disk_does() {
    let [eio, enospc] = [Errno::IO, Errno::NOSPC].map(Errno::raw_os_error);
    let (mut points, mut mails_alone_refused) = (0, 0);
    for what in ["EIO", "EIO after some of it", "ENOSPC", "ENOSPC after some of it", "power cut"] {
        for number in 0.. {
            let met = Arc::new(AtomicU64::new(0));
            let (disk, count) = (SimulatedDisk::new(), met.clone());
            let told = live(&disk, move |operation| {
                let fault = match what {
                    "EIO" => Fault::Fail(eio),
                    "EIO after some of it" => Fault::Tear(700, eio),
                    "ENOSPC" => Fault::Fail(enospc),
                    "ENOSPC after some of it" => Fault::Tear(700, enospc),
                    _ => Fault::PowerCut,
                };
                (operation == number).then(|| {
                    count.fetch_add(1, Ordering::Relaxed);
                    fault
                })
            })
            .await;
            if met.load(Ordering::Relaxed) == 0 {
                break;
            }
            points += 1;
            mails_alone_refused += usize::from(told.refused && told.taken.is_none());
            let story = format!("{what} at operation {number}");
            for kept in [Kept::Nothing, Kept::All] {
                let cut = disk.after_power_cut(|_| kept);
                check(&cut, &told, &format!("{story}, a power cut: {kept:?}")).await;
            }
            check(&disk.after_kill(), &told, &format!("{story}, a kill")).await;
        }
    }
    assert!(points >= 10 && mails_alone_refused >= 1, "{points}, {mails_alone_refused}");
}
