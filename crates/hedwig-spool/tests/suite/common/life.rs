//! A small life of a spool on a simulated disk: it commits, delivers, refuses with reports and owing them, tells,
//! defers, holds, drops, cleans up and starts again, and notes what was promised.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use hedwig_envelope::{Address, Content, Mail, State};
use hedwig_spool::{
    Claim, Clock, Event, Lease, Owed, Selection, Spool, SpoolError, SpoolOptions,
    disk::SimulatedDisk,
};

use super::{
    at, done, id, mail, outcome,
    promise::{Leniency, Promised, Promises},
    with_key,
};

/// Longer than a life here.
pub(crate) const LONG: Duration = Duration::from_hours(24);
/// Shorter than a round of one.
pub(crate) const SHORT: Duration = Duration::from_secs(30);

/// A kind of life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life<'a> {
    pub(crate) retention: Duration,
    /// The index's file; without one it is in memory, and made anew at each start.
    pub(crate) index: Option<&'a Path>,
    /// What chance is drawn from: the same seed leads to the same life.
    pub(crate) seed: u64,
}

impl Life<'_> {
    pub(crate) const KEEPING: Self = Self { retention: LONG, index: None, seed: 1 };
    pub(crate) const FORGETTING: Self = Self { retention: SHORT, index: None, seed: 1 };

    pub(crate) fn leniency(&self) -> Leniency {
        Leniency { forgets: self.retention == SHORT }
    }

    /// Small segments and a clock that a test can turn, so that a short life sees segments come and go.
    pub(crate) fn options(&self, seconds: &Arc<AtomicI64>) -> SpoolOptions {
        let seconds = seconds.clone();
        SpoolOptions {
            clock: Clock::new(move || at(seconds.load(Ordering::Relaxed))),
            segment_bytes_max: 4000,
            reserve_bytes: 4000,
            doubtful_log_bytes_max: 0,
            inline_content_bytes_max: 3000,
            cache_bytes_max: 5000,
            retention: self.retention,
            ..SpoolOptions::default()
        }
    }

    /// Opens the spool some time after the life.
    pub(crate) fn open(&self, disk: &SimulatedDisk) -> Result<Spool, SpoolError> {
        self.open_with(disk, |_| {})
    }

    /// Opens it with other options.
    pub(crate) fn open_with(
        &self,
        disk: &SimulatedDisk,
        change: impl FnOnce(&mut SpoolOptions),
    ) -> Result<Spool, SpoolError> {
        let mut options = self.options(&Arc::new(AtomicI64::new(161)));
        change(&mut options);
        Spool::on_disk(Arc::new(disk.clone()), self.index, options)
    }

    /// Lives, whatever goes wrong, and tells what was promised.
    pub(crate) async fn live(&self, disk: &SimulatedDisk) -> Promises {
        fastrand::seed(self.seed);
        let mut promises = Promises::default();
        let seconds = Arc::new(AtomicI64::new(0));
        for round in 0..4_u128 {
            seconds.fetch_add(40, Ordering::Relaxed);
            let disk = Arc::new(disk.clone());
            match Spool::on_disk(disk, self.index, self.options(&seconds)) {
                Ok(spool) => live_a_round(&spool, round, &mut promises).await,
                Err(_) => promises.failures += 1,
            }
        }
        promises
    }
}

async fn live_a_round(spool: &Spool, round: u128, promises: &mut Promises) {
    for step in 0..6 {
        let number = round * 100 + step * 10;
        let is_large = step == 4 || (step == 2 && round == 1);
        let mut mail = letter(number, if is_large { 4000 } else { 2500 });
        if step == 2 {
            mail.envelope.recipients = two_recipients();
        }
        match spool.commit(mail.clone()).await {
            Ok(_) => promises.accepted(mail),
            Err(_) => promises.refused(mail),
        }
        if step % 2 == 1 {
            settle(spool, number, promises).await;
            tell(spool, number, promises).await;
        }
    }
    operate(spool, promises).await;
}

/// Holds the oldest mail and drops the one after it.
async fn operate(spool: &Spool, promises: &mut Promises) {
    let Some(oldest) = promises.oldest_waiting() else { return };
    let selection = Selection::ids([oldest]);
    promises.failures += usize::from(spool.hold(&selection).await.is_err());
    promises.failures += usize::from(spool.release(&selection).await.is_err());
    let recipients = promises.mails[&oldest].mail.envelope.recipients.clone();
    let addresses: Vec<&Address> = recipients.iter().map(|r| &r.address).collect();
    match spool.drop(&selection).await {
        Ok(_) => promises.promise(oldest, &addresses, Promised::Settled(State::Dropped)),
        Err(_) => unknown(promises, oldest, &addresses),
    }
}

/// Tries what is due: two are delivered, one is refused with two reports, one deferred. Of a mail at several
/// destinations all are refused, together or one later, and the reports are owed.
async fn settle(spool: &Spool, number: u128, promises: &mut Promises) {
    let now = spool.clock().now();
    let Ok(claimed) = spool.claim(now, Claim::up_to(4)).await else {
        promises.failures += 1;
        return;
    };
    for (turn, lease) in claimed.leases.iter().enumerate() {
        promises.offered(lease.mail.id);
        let (id, recipients) = (lease.mail.id, &lease.mail.envelope.recipients);
        let addresses: Vec<&Address> = recipients.iter().map(|r| &r.address).collect();
        if promises.mails[&id].mail.envelope.recipients.len() > 1 {
            settle_owing(spool, lease, number, promises).await;
            continue;
        }
        let (answer, next_due, promised) = match turn {
            0 | 3 => (done(), None, Promised::Settled(State::Delivered)),
            1 => (outcome(550, "No"), None, Promised::Settled(State::Failed)),
            _ => (outcome(450, "Busy"), Some(now), Promised::Deferred),
        };
        let reports: Vec<_> = match turn {
            1 => [number + 1, number + 2].map(|number| letter(number, 100)).into(),
            _ => vec![],
        };
        for report in &reports {
            promises.reports.push((id, addresses[0].clone(), report.clone()));
        }
        let answers = vec![answer; addresses.len()];
        match spool.finish(lease, answers, next_due, reports.clone()).await {
            Ok(()) => {
                promises.promise(id, &addresses, promised);
                reports.into_iter().for_each(|report| promises.accepted(report));
            }
            Err(SpoolError::LeaseLost) => panic!("nobody else claims"),
            Err(_) => unknown(promises, id, &addresses),
        }
    }
}

/// In every second round one of the destinations wants to be asked twice.
async fn settle_owing(spool: &Spool, lease: &Lease, number: u128, promises: &mut Promises) {
    let now = spool.clock().now();
    let recipient = &lease.mail.envelope.recipients[0].address;
    let waits = &*lease.destination == "y.example" && lease.attempts == 0;
    let (answer, next_due, promised) = match waits && (number / 100) % 2 == 1 {
        true => (outcome(450, "Busy"), Some(now), Promised::Deferred),
        false => (outcome(550, "No"), None, Promised::Settled(State::Failed)),
    };
    let failed = promised != Promised::Deferred;
    let owed = Owed { event: Event::Failed, answer: answer.answer().clone(), at: now };
    let owed: Vec<_> = failed.then_some((0, owed)).into_iter().collect();
    if failed {
        promises.owed.insert((lease.mail.id, recipient.clone()));
    }
    match spool.finish_owing(lease, vec![answer], next_due, owed).await {
        Ok(()) => promises.promise(lease.mail.id, &[recipient], promised),
        Err(SpoolError::LeaseLost) => panic!("nobody else claims"),
        Err(_) => unknown(promises, lease.mail.id, &[recipient]),
    }
}

/// Tells the senders: in the first rounds nobody, so that what is owed is moved with its mail; then all of whom
/// nothing waits, and at times others.
async fn tell(spool: &Spool, number: u128, promises: &mut Promises) {
    let gathering = if number % 100 == 30 { Duration::ZERO } else { LONG };
    if number < 200 {
        return;
    }
    let Ok(untold) = spool.claim_untold(spool.clock().now(), gathering, 4).await else {
        promises.failures += 1;
        return;
    };
    for (place, untold) in (0..).zip(untold) {
        let recipients =
            untold.owed.iter().map(|(place, _)| &untold.mail.envelope.recipients[*place]);
        let addresses = recipients.map(|recipient| recipient.address.clone()).collect();
        let reports = [number + 3 + 2 * place, number + 4 + 2 * place].map(|n| letter(n, 100));
        promises.told.push((untold.mail.id, addresses, reports.to_vec()));
        match spool.tell(&untold, reports.to_vec()).await {
            Ok(()) => reports.into_iter().for_each(|report| promises.accepted(report)),
            Err(SpoolError::LeaseLost) => panic!("nobody else tells"),
            Err(_) => promises.failures += 1,
        }
    }
}

fn unknown(promises: &mut Promises, id: hedwig_envelope::MailId, addresses: &[&Address]) {
    promises.failures += 1;
    promises.promise(id, addresses, Promised::Unknown);
}

/// A mail of so many octets to one recipient, with a key.
pub(crate) fn letter(number: u128, bytes: usize) -> Mail {
    let mut mail = with_key(mail(number, &["a@x.example"]), &format!("key-{}", id(number)));
    mail.content = Content::with_added("R: x\r\n".into(), noise(number, bytes).into());
    mail
}

/// Octets that no other mail has, so that a piece of one in the place of another is noticed.
fn noise(number: u128, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    (0..bytes).map(|_| random.alphanumeric() as u8).collect()
}

fn two_recipients() -> Vec<hedwig_envelope::Recipient> {
    mail(0, &["b@x.example", "c@y.example"]).envelope.recipients
}
