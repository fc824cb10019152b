//! One report for all recipients of a mail that ended together, whatever their destinations: what a sender is owed
//! stays with the mail until it is told, once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{
    at, claim, deliver_all, done, id,
    life::{self, LONG, Life},
    mail, options, outcome, seconds, states,
};
use hedwig_envelope::{Answer, BoxError, Content, Mail, Receipt, State, Timestamp};
use hedwig_spool::{
    Clock, Courier, CourierOptions, Event, Filter, Lease, Owed, Reporter, Schedule, Selection,
    Spool, SpoolError, SpoolOptions, Untold, Waits, disk::SimulatedDisk,
};
use tokio::{sync::oneshot, task::JoinHandle};
use tower::service_fn;

/// A report that was written: when, of what, and of whom.
type Written = (Timestamp, Event, Vec<String>);

/// Writes down what it is to report, and reports failures and delays of whoever is not silent.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Written>>>);

impl Notes {
    fn take(&self) -> Vec<Written> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Reporter for Notes {
    fn is_owed(&self, mail: &Mail, recipient: usize, event: Event, _: &Answer) -> bool {
        let address = &mail.envelope.recipients[recipient].address;
        event != Event::Done && !address.local_part().starts_with("silent")
    }

    fn write(
        &self,
        mail: &Mail,
        event: Event,
        recipients: &[(usize, Owed)],
        now: Timestamp,
    ) -> Option<Mail> {
        let mut written = self.0.lock().unwrap();
        let name =
            |(place, _): &(usize, Owed)| mail.envelope.recipients[*place].address.to_string();
        written.push((now, event, recipients.iter().map(name).collect()));
        assert!(mail.content.len() > 20, "a report can give the mail back");
        Some(letter(1000 + written.len() as u128))
    }
}

/// A report, to be told apart by its number.
fn letter(number: u128) -> Mail {
    mail(number, &["alice@example.org"])
}

struct Running {
    spool: Spool,
    notes: Notes,
    shutdown: oneshot::Sender<()>,
    courier: JoinHandle<()>,
}

impl Running {
    /// A courier to a service that answers by the first letters of an address: `no`, `busy` until so many seconds
    /// have passed, or yes.
    fn start(busy_until: i64, change: impl FnOnce(&mut CourierOptions)) -> Self {
        let clock = Clock::of_tokio(at(0));
        let options = SpoolOptions { clock: clock.clone(), ..SpoolOptions::default() };
        let spool = Spool::in_memory(options).unwrap();
        let service = service_fn(move |mail: Mail| {
            let is_busy = clock.now() < at(busy_until);
            let recipients = mail.envelope.recipients.iter();
            let outcomes = recipients.map(|to| match to.address.local_part() {
                name if name.starts_with("busy") && is_busy => outcome(450, "Busy"),
                name if name.starts_with("busy") || name.starts_with("yes") => done(),
                "alice" => done(),
                _ => outcome(550, "No"),
            });
            let receipt = Receipt { id: mail.id, outcomes: outcomes.collect() };
            async move { Ok::<_, BoxError>(receipt) }
        });
        let notes = Notes::default();
        let schedule = Schedule { jitter: 0.0, ..Schedule::default() };
        let reporter = Some(Arc::new(notes.clone()) as Arc<dyn Reporter>);
        let mut options = CourierOptions { schedule, reporter, ..CourierOptions::default() };
        change(&mut options);
        let (shutdown, stopped) = oneshot::channel();
        let courier = Courier::new(spool.clone(), service, options);
        let courier = tokio::spawn(courier.run(async { drop(stopped.await) }));
        Self { spool, notes, shutdown, courier }
    }

    /// What was reported within so many seconds.
    async fn within(&self, time: u64) -> Vec<Written> {
        tokio::time::sleep(seconds(time)).await;
        self.notes.take()
    }

    async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.courier.await.unwrap();
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn of_recipients_at_many_domains_that_fail_together_one_report_tells_at_once() {
    let running = Running::start(0, |_| {});
    let recipients: Vec<String> = (0..10).map(|n| format!("no{n}@{n}.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    running.spool.commit(mail(1, &recipients)).await.unwrap();
    assert_eq!(running.within(1).await, [(at(0), Event::Failed, names(&recipients))]);
    assert_eq!(states(&running.spool, id(1)).await, [State::Failed; 10]);
    assert_eq!(running.spool.untold().await.unwrap(), 0);
    assert!(running.spool.list(&Filter::default()).await.unwrap().is_empty(), "all is finished");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_still_waits_is_not_waited_for_longer_than_a_minute() {
    let running = Running::start(200, |_| {});
    running
        .spool
        .commit(mail(1, &["no@x.example", "busy@y.example", "no@z.example"]))
        .await
        .unwrap();
    assert_eq!(running.within(59).await, []);
    let status = running.spool.show(id(1)).await.unwrap().unwrap();
    let due: Vec<_> = status.recipients.iter().map(|recipient| recipient.report_due).collect();
    assert_eq!(due, [true, false, true]);
    let told = running.within(2).await;
    assert_eq!(told, [(at(60), Event::Failed, names(&["no@x.example", "no@z.example"]))]);
    running.within(400).await;
    assert_eq!(
        states(&running.spool, id(1)).await,
        [State::Failed, State::Delivered, State::Failed]
    );
    assert!(running.spool.list(&Filter::default()).await.unwrap().is_empty(), "all is finished");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_last_recipient_lets_the_others_be_told_at_once() {
    let running = Running::start(200, |options| options.gathering = Duration::from_hours(1));
    running.spool.commit(mail(1, &["no@x.example", "busy@y.example"])).await.unwrap();
    assert_eq!(running.within(299).await, []);
    let told = running.within(20).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!((at(300)..at(310)).contains(&told[0].0), "{told:?}");
    assert_eq!(told[0].2, ["no@x.example"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_whom_nobody_is_to_be_told() {
    let running = Running::start(0, |_| {});
    running.spool.commit(mail(1, &["silent@x.example", "yes@y.example"])).await.unwrap();
    let finished = async {
        while !running.spool.list(&Filter::default()).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    finished.await;
    assert_eq!(running.spool.clock().now(), at(0));
    assert_eq!(running.within(100).await, []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_operators_failing_is_told_for_all_domains_and_dropping_for_none() {
    let running = Running::start(1_000_000_000, |options| {
        options.delay_warning = Some(Duration::ZERO);
        options.gathering = Duration::from_hours(1);
    });
    for number in [1, 2] {
        running.spool.commit(mail(number, &["busy@x.example", "busy@y.example"])).await.unwrap();
    }
    running.within(1).await;
    assert_eq!(running.spool.untold().await.unwrap(), 2, "the delay is owed");
    assert_eq!(running.spool.fail(&Selection::ids([id(1)])).await.unwrap(), 2);
    assert_eq!(running.spool.drop(&Selection::ids([id(2)])).await.unwrap(), 2);
    let told = running.within(1).await;
    let both = names(&["busy@x.example", "busy@y.example"]);
    assert_eq!(told, [(at(1), Event::Failed, both)]);
    assert_eq!(running.within(10_000).await, []);
    assert_eq!(states(&running.spool, id(2)).await, [State::Dropped; 2]);
    running.stop().await;
}

fn failed() -> Owed {
    let answer = outcome(550, "No").answer().clone();
    Owed { event: Event::Failed, answer, at: at(0) }
}

/// Lets a unit of one recipient fail, with a report that is owed.
async fn fail_owing(spool: &Spool, lease: &Lease) {
    spool.finish_owing(lease, vec![outcome(550, "No")], None, vec![(0, failed())]).await.unwrap();
}

/// A mail to two destinations, one of which refused it.
async fn owing(spool: &Spool, mail: Mail) -> Vec<Lease> {
    spool.commit(mail).await.unwrap();
    let leases = claim(spool, spool.clock().now()).await;
    fail_owing(spool, &leases[0]).await;
    leases
}

async fn untold(spool: &Spool, gathering: Duration) -> Vec<Untold> {
    spool.claim_untold(spool.clock().now(), gathering, 10).await.unwrap()
}

fn two() -> Mail {
    mail(1, &["a@x.example", "b@y.example"])
}

#[tokio::test]
async fn a_sender_is_told_once_whoever_tells_it() {
    let spool = Spool::in_memory(options()).unwrap();
    let leases = owing(&spool, two()).await;
    assert!(untold(&spool, seconds(1)).await.is_empty(), "it is gathered still");
    let first = untold(&spool, Duration::ZERO).await.remove(0);
    assert!(untold(&spool, Duration::ZERO).await.is_empty(), "somebody tells it already");
    assert_eq!((first.mail.clone(), first.owed.clone()), (two(), vec![(0, failed())]));
    // What is owed meanwhile is not a part of it.
    fail_owing(&spool, &leases[1]).await;
    spool.tell(&first, vec![letter(9)]).await.unwrap();
    let again = spool.tell(&first, vec![letter(10)]).await;
    assert!(matches!(again, Err(SpoolError::LeaseLost)), "{again:?}");
    assert_eq!(spool.show(id(10)).await.unwrap(), None);
    let second = untold(&spool, LONG).await.remove(0);
    assert_eq!(second.owed, [(1, failed())]);
    let units = spool.explain(id(1)).await.unwrap().unwrap().units;
    assert_eq!([units[0].waits, units[1].waits], [Waits::Finished, Waits::ForReport]);
    spool.tell(&second, vec![]).await.unwrap();
    assert!(untold(&spool, Duration::ZERO).await.is_empty());
    assert_eq!(states(&spool, id(1)).await, [State::Failed; 2]);
    assert_eq!(claim(&spool, at(0)).await.len(), 1, "the first report");
}

#[tokio::test]
async fn an_outcome_replaces_a_delay_that_was_not_told() {
    let spool = Spool::in_memory(options()).unwrap();
    spool.commit(two()).await.unwrap();
    let delayed = Owed { event: Event::Delayed, ..failed() };
    for lease in claim(&spool, at(0)).await {
        let busy = vec![outcome(450, "Busy")];
        spool.finish_owing(&lease, busy, Some(at(0)), vec![(0, delayed.clone())]).await.unwrap();
    }
    let before = untold(&spool, Duration::ZERO).await.remove(0);
    let leases = claim(&spool, at(0)).await;
    fail_owing(&spool, &leases[0]).await;
    let late = spool.tell(&before, vec![letter(9)]).await;
    assert!(matches!(late, Err(SpoolError::LeaseLost)), "{late:?}");
    spool.finish(&leases[1], vec![done()], None, vec![]).await.unwrap();
    let later = spool.claim_untold(at(61), Duration::ZERO, 1).await.unwrap().remove(0);
    assert_eq!(later.owed, [(0, failed())], "who has it is not told that it was late");
}

#[tokio::test]
async fn what_is_owed_moves_with_its_mail_and_is_in_an_index_made_anew() {
    let disk = SimulatedDisk::new();
    let spool = Life::KEEPING.open(&disk).unwrap();
    let mut large = two();
    large.content = Content::new(vec![b'x'; 5000].into());
    owing(&spool, large.clone()).await;
    for number in 100..150 {
        spool.commit(life::letter(number, 2500)).await.unwrap();
        let leases = spool.claim(at(100_000), hedwig_spool::Claim::up_to(9)).await.unwrap().leases;
        for lease in leases.iter().filter(|lease| lease.mail.id != large.id) {
            spool.finish(lease, vec![done()], None, vec![]).await.unwrap();
        }
    }
    assert!(!disk.names().contains(&"log/0000000001.segment".to_owned()), "it was moved");
    drop(spool);
    // The index is in memory.
    let spool = Life::KEEPING.open(&disk).unwrap();
    let found = untold(&spool, Duration::ZERO).await.remove(0);
    assert_eq!((found.mail.clone(), found.owed.clone()), (large, vec![(0, failed())]));
    spool.tell(&found, vec![letter(9)]).await.unwrap();
    assert_eq!(deliver_all(&spool, at(100_000)).await, 2, "the report and the other recipient");
    drop(spool);
    let spool = Life::KEEPING.open(&disk).unwrap();
    assert_eq!(spool.untold().await.unwrap(), 0);
    let names = disk.names();
    assert!(!names.iter().any(|name| name.starts_with("contents/")), "{names:?}");
}

#[tokio::test]
async fn a_sender_is_told_even_if_its_mail_cannot_be_read() {
    let disk = SimulatedDisk::new();
    let spool = Life::KEEPING.open(&disk).unwrap();
    let mut large = two();
    large.content = Content::new(vec![b'x'; 5000].into());
    owing(&spool, large).await;
    let content = disk.names().into_iter().find(|name| name.starts_with("contents/")).unwrap();
    disk.corrupt(&content, |bytes| bytes.fill(b'y'));
    let found = untold(&spool, Duration::ZERO).await.remove(0);
    assert_eq!(found.owed, [(0, failed())]);
    let (known, sent) = (&found.mail, two());
    assert_eq!((known.id, &known.envelope.sender), (sent.id, &sent.envelope.sender));
    let addresses: Vec<_> = known.envelope.recipients.iter().map(|r| r.address.as_str()).collect();
    assert_eq!(addresses, ["a@x.example", "b@y.example"]);
    assert!(known.content.is_empty());
    spool.tell(&found, vec![letter(9)]).await.unwrap();
    assert_eq!(spool.quarantined(), 1);
}

#[tokio::test]
async fn a_place_that_no_recipient_has_is_owed_nothing() {
    let spool = Spool::in_memory(options()).unwrap();
    spool.commit(two()).await.unwrap();
    let lease = claim(&spool, at(0)).await.remove(0);
    let owed = vec![(1, failed())];
    let settled = spool.finish_owing(&lease, vec![outcome(550, "No")], None, owed).await;
    assert!(matches!(settled, Err(SpoolError::OutcomesMismatch { wanted: 1, given: 2 })));
}
