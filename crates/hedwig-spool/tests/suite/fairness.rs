//! Who is tried when: destinations at fault, priorities, deadlines and rates, under virtual time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{at, done, id, mail, outcome, seconds, states};
use hedwig_envelope::{
    BoxError, Hold, Mail, Outcome, Priority, Receipt, Refusal, RefusalKind, State, Status,
    Timestamp,
};
use hedwig_spool::{
    Clock, Courier, CourierOptions, Event, Owed, Rate, Rates, Schedule, Selection, Spool,
    SpoolOptions,
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, sleep_until},
};
use tower::service_fn;

/// What a destination does to a mail, and for how long.
type Manners = Arc<dyn Fn(&Mail) -> (Duration, Result<Outcome, BoxError>) + Send + Sync>;

/// What was tried: when, of which mail, for which domain.
type Tries = Arc<Mutex<Vec<(Timestamp, Mail, String)>>>;

struct Scene {
    spool: Spool,
    tries: Tries,
    events: Arc<Mutex<Vec<(Event, Status, Timestamp)>>>,
    shutdown: oneshot::Sender<()>,
    courier: JoinHandle<()>,
    start: tokio::time::Instant,
}

fn domain_of(mail: &Mail) -> String {
    mail.envelope.recipients[0].address.domain_text().unwrap().to_owned()
}

fn new_spool() -> Spool {
    let clock = Clock::of_tokio(at(0));
    Spool::in_memory(SpoolOptions { clock, ..SpoolOptions::default() }).unwrap()
}

impl Scene {
    fn start(spool: Spool, options: CourierOptions, manners: Manners) -> Self {
        let (tries, events) = (Tries::default(), Arc::<Mutex<Vec<_>>>::default());
        let (seen, clock, told) = (tries.clone(), spool.clock().clone(), events.clone());
        let service = service_fn(move |mail: Mail| {
            let (takes, result) = manners(&mail);
            let recipients = mail.envelope.recipients.len();
            let id = mail.id;
            let domain = domain_of(&mail);
            seen.lock().unwrap().push((clock.now(), mail, domain));
            async move {
                sleep(takes).await;
                Ok::<_, BoxError>(Receipt::uniform(id, recipients, result?))
            }
        });
        let reporter = move |_: &Mail, event, told_of: &[(usize, Owed)], now| {
            told.lock().unwrap().push((event, told_of[0].1.answer.status, now));
            None
        };
        let schedule = Schedule { jitter: 0.0, ..options.schedule };
        let options = CourierOptions { schedule, reporter: Some(Arc::new(reporter)), ..options };
        let (shutdown, stopped) = oneshot::channel();
        let courier = Courier::new(spool.clone(), service, options);
        let courier = tokio::spawn(courier.run(async { drop(stopped.await) }));
        let start = tokio::time::Instant::now();
        Self { spool, tries, events, shutdown, courier, start }
    }

    async fn until(&self, second: u64) {
        sleep_until(self.start + Duration::from_secs(second)).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// When each try at a domain was, in seconds.
    fn tries_at(&self, domain: &str) -> Vec<i64> {
        let tries = self.tries.lock().unwrap();
        let tries = tries.iter().filter(|(_, _, tried)| tried == domain);
        tries.map(|(when, _, _)| when.duration_since(at(0)).as_secs()).collect()
    }

    fn told(&self, event: Event) -> Vec<(String, i64)> {
        let events = self.events.lock().unwrap();
        let events = events.iter().filter(|(told, _, _)| *told == event);
        events
            .map(|(_, status, when)| (status.to_string(), when.duration_since(at(0)).as_secs()))
            .collect()
    }

    async fn stop(self) -> Spool {
        self.shutdown.send(()).unwrap();
        self.courier.await.unwrap();
        self.spool
    }
}

fn well() -> Manners {
    Arc::new(|_| (Duration::ZERO, Ok(done())))
}

fn unreached() -> Result<Outcome, BoxError> {
    Ok(outcome(451, "4.4.1 No connection").unreached())
}

/// A domain that lets every connection hang for so long, beside others that are well.
fn dead(domain: &'static str, hangs: Duration) -> Manners {
    Arc::new(move |mail| {
        if domain_of(mail) == domain { (hangs, unreached()) } else { (Duration::ZERO, Ok(done())) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_dead_destination_is_tried_by_one_mail_at_a_time_and_delays_nobody() {
    let options = CourierOptions { concurrency: 8, ..CourierOptions::default() };
    let scene = Scene::start(new_spool(), options, dead("dead.example", seconds(30)));
    for number in 0..500 {
        scene.spool.commit(mail(number, &["a@dead.example"])).await.unwrap();
    }
    scene.until(1).await;
    for number in 500..600 {
        scene.spool.commit(mail(number, &["a@live.example"])).await.unwrap();
    }
    scene.until(2).await;
    assert_eq!(scene.tries_at("live.example").len(), 100);
    scene.until(3600).await;
    // Five before anything was known of it; then one after 5, 10, 20 and 30 minutes, and its time-out.
    let tries = scene.tries_at("dead.example");
    assert_eq!(tries[..5], [0; 5]);
    assert!((6..=8).contains(&tries.len()), "{tries:?}");
    let status = scene.spool.show(id(400)).await.unwrap().unwrap();
    assert_eq!(status.recipients[0].state, State::Queued);
    assert!(status.recipients[0].next_due.unwrap() > at(3600), "they wait together");
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_comes_back_gets_all_its_mail() {
    let clock = Clock::of_tokio(at(0));
    let manners: Manners = Arc::new(move |_| {
        let is_up = clock.now() >= at(100);
        (Duration::ZERO, if is_up { Ok(done()) } else { unreached() })
    });
    let scene = Scene::start(new_spool(), CourierOptions::default(), manners);
    for number in 0..300 {
        scene.spool.commit(mail(number, &["a@x.example"])).await.unwrap();
    }
    scene.until(310).await;
    assert_eq!(scene.spool.counts().await.unwrap().of(State::Delivered), 300);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mail_at_fault_waits_by_itself() {
    let manners: Manners = Arc::new(|mail| {
        let busy = mail.id == id(0);
        (Duration::ZERO, Ok(if busy { outcome(450, "4.2.1 Busy") } else { done() }))
    });
    let scene = Scene::start(new_spool(), CourierOptions::default(), manners);
    for number in 0..20 {
        scene.spool.commit(mail(number, &["a@x.example"])).await.unwrap();
    }
    scene.until(1).await;
    assert_eq!(scene.spool.counts().await.unwrap().of(State::Delivered), 19);
    assert_eq!(states(&scene.spool, id(0)).await, [State::Deferred]);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn destinations_with_the_same_servers_wait_together() {
    let sharing: hedwig_spool::Sharing =
        Arc::new(|domain| domain.ends_with(".shared.example").then(|| "mx.example".into()));
    let manners: Manners = Arc::new(|_| (Duration::ZERO, unreached()));
    let options = CourierOptions { sharing: Some(sharing), ..CourierOptions::default() };
    let scene = Scene::start(new_spool(), options, manners);
    scene.spool.commit(mail(0, &["a@a.shared.example"])).await.unwrap();
    scene.until(1).await;
    scene.spool.commit(mail(1, &["a@b.shared.example"])).await.unwrap();
    scene.spool.commit(mail(2, &["a@other.example"])).await.unwrap();
    scene.until(2).await;
    assert_eq!(scene.tries_at("b.shared.example").len(), 0);
    assert_eq!(scene.tries_at("other.example").len(), 1);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_wakes_a_destination() {
    let scene = Scene::start(
        new_spool(),
        CourierOptions::default(),
        Arc::new(|_| (Duration::ZERO, unreached())),
    );
    scene.spool.commit(mail(0, &["a@x.example"])).await.unwrap();
    scene.until(10).await;
    scene.spool.retry(&Selection::All).await.unwrap();
    scene.until(11).await;
    assert_eq!(scene.tries_at("x.example"), [0, 10]);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rest_outlives_a_restart() {
    let manners: Manners = Arc::new(|_| (Duration::ZERO, unreached()));
    let scene = Scene::start(new_spool(), CourierOptions::default(), manners.clone());
    scene.spool.commit(mail(0, &["a@x.example"])).await.unwrap();
    scene.until(10).await;
    let spool = scene.stop().await;
    let scene = Scene::start(spool, CourierOptions::default(), manners);
    scene.spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    scene.until(60).await;
    assert_eq!(scene.tries_at("x.example").len(), 0);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn mails_for_a_dead_destination_expire_untried() {
    let options = CourierOptions {
        schedule: Schedule { expiry: Duration::from_hours(2), ..Schedule::default() },
        ..CourierOptions::default()
    };
    let scene = Scene::start(new_spool(), options, dead("dead.example", seconds(1)));
    for number in 0..100 {
        scene.spool.commit(mail(number, &["a@dead.example"])).await.unwrap();
    }
    scene.until(2 * 3600 + 200).await;
    assert_eq!(scene.spool.counts().await.unwrap().of(State::Expired), 100);
    assert_eq!(scene.told(Event::Failed).len(), 100);
    assert!(scene.tries_at("dead.example").len() < 12);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_costs_a_mail_no_attempt() {
    let manners: Manners = Arc::new(|_| {
        let refusal = Refusal::new(RefusalKind::TooMany, "Slower").retry_after(seconds(10));
        (Duration::ZERO, Err(refusal.into()))
    });
    let scene = Scene::start(new_spool(), CourierOptions::default(), manners);
    scene.spool.commit(mail(0, &["a@x.example"])).await.unwrap();
    scene.until(25).await;
    let tries = scene.tries_at("x.example").len();
    assert!((2..=3).contains(&tries), "{tries}");
    let status = scene.spool.show(id(0)).await.unwrap().unwrap();
    assert_eq!(
        (status.recipients[0].state, status.recipients[0].attempts.len()),
        (State::Queued, 0)
    );
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_sender_does_not_take_all_places() {
    let options =
        CourierOptions { concurrency: 10, concurrency_per_sender: 4, ..CourierOptions::default() };
    let manners: Manners = Arc::new(|_| (seconds(5), Ok(done())));
    let scene = Scene::start(new_spool(), options, manners);
    for number in 0..50 {
        let domain = format!("a@d{number}.example");
        scene.spool.commit(mail(number, &[&domain])).await.unwrap();
    }
    let mut other = mail(50, &["a@other.example"]);
    other.envelope.sender = "bob@example.org".parse().unwrap();
    scene.spool.commit(other).await.unwrap();
    scene.until(1).await;
    assert_eq!(scene.tries.lock().unwrap().len(), 5);
    assert_eq!(scene.tries_at("other.example").len(), 1);
    scene.until(600).await;
    assert_eq!(scene.spool.counts().await.unwrap().of(State::Delivered), 51);
    scene.stop().await;
}

fn of_priority(number: u128, priority: i8, received_at: Timestamp) -> Mail {
    let mut mail = mail(number, &["a@x.example"]);
    mail.envelope.parameters.priority = Priority::new(priority);
    mail.origin.received_at = received_at;
    mail
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_high_priority_goes_first_and_starves_nobody() {
    // One place, a second for each mail, and more mails than seconds.
    let options = CourierOptions {
        concurrency: 1,
        concurrency_per_destination: 1,
        ..CourierOptions::default()
    };
    let manners: Manners = Arc::new(|_| (seconds(1), Ok(done())));
    let scene = Scene::start(new_spool(), options, manners);
    let mut number = 1000;
    scene.until(1).await;
    for low in 0..5 {
        scene.spool.commit(of_priority(low, -9, at(0))).await.unwrap();
    }
    for second in 1..6000 {
        for _ in 0..if second % 2 == 0 { 2 } else { 1 } {
            number += 1;
            scene.spool.commit(of_priority(number, 9, at(0))).await.unwrap();
        }
        scene.until(second).await;
    }
    let tries = scene.tries.lock().unwrap().clone();
    let low: Vec<i64> = tries
        .iter()
        .filter(|(_, mail, _)| mail.envelope.parameters.priority == Priority::new(-9))
        .map(|(when, _, _)| when.duration_since(at(0)).as_secs())
        .collect();
    // Eighteen steps of two minutes, in a queue that is worked off at two thirds of the speed it grows at.
    assert_eq!(low.len(), 5, "{low:?}");
    assert!(low[1..].iter().all(|second| *second > 2000), "{low:?}");
    scene.stop().await;
}

fn with_deadline(number: u128, by: &str) -> Mail {
    let mut mail = mail(number, &["a@x.example"]);
    mail.envelope.parameters.deliver_by = Some(by.parse().unwrap());
    mail
}

fn busy() -> Manners {
    Arc::new(|_| (Duration::ZERO, Ok(outcome(450, "4.2.1 Busy"))))
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_is_to_be_returned_in_time_is() {
    for manners in [busy(), dead("x.example", seconds(1))] {
        let scene = Scene::start(new_spool(), CourierOptions::default(), manners);
        scene.spool.commit(with_deadline(1, "120;R")).await.unwrap();
        scene.until(119).await;
        assert!(!states(&scene.spool, id(1)).await[0].is_final());
        scene.until(125).await;
        assert_eq!(states(&scene.spool, id(1)).await, [State::Failed]);
        assert_eq!(scene.told(Event::Failed), [("5.4.7".to_owned(), 120)]);
        assert_eq!(scene.tries_at("x.example").len(), 1);
        scene.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_wants_to_know_is_told_once_that_it_is_late() {
    for manners in [busy(), dead("x.example", seconds(1))] {
        let options = CourierOptions { delay_warning: None, ..CourierOptions::default() };
        let scene = Scene::start(new_spool(), options, manners);
        scene.spool.commit(with_deadline(1, "120;N")).await.unwrap();
        scene.until(119).await;
        assert_eq!(scene.told(Event::Delayed), []);
        scene.until(20_000).await;
        assert_eq!(scene.told(Event::Delayed), [("4.4.7".to_owned(), 120)]);
        assert_eq!(states(&scene.spool, id(1)).await, [State::Deferred]);
        assert!(scene.tries_at("x.example").len() > 3, "delivery goes on");
        scene.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_outlives_a_hold_and_a_mail_that_is_held_is_not_tried() {
    let scene = Scene::start(new_spool(), CourierOptions::default(), well());
    let mut held = mail(1, &["a@x.example"]);
    held.envelope.parameters.hold = Some(Hold::For(600));
    scene.spool.commit(held).await.unwrap();
    scene.until(599).await;
    let status = scene.spool.show(id(1)).await.unwrap().unwrap();
    assert_eq!(status.recipients[0].state, State::Held);
    assert_eq!(status.recipients[0].next_due, Some(at(600)));
    scene.until(620).await;
    assert_eq!(states(&scene.spool, id(1)).await, [State::Delivered]);
    scene.stop().await;
}

fn hundred_a_minute() -> CourierOptions {
    let rate = Rate::new(100, seconds(60)).unwrap();
    let rates: Rates = [("x.example".parse().unwrap(), rate)].into_iter().collect();
    CourierOptions { rates, ..CourierOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_others_are_not_held_up_by_it() {
    let scene = Scene::start(new_spool(), hundred_a_minute(), well());
    for number in 0..1000 {
        scene.spool.commit(mail(number, &["a@x.example"])).await.unwrap();
    }
    scene.spool.commit(mail(1000, &["a@y.example"])).await.unwrap();
    scene.until(1).await;
    assert_eq!(scene.tries_at("y.example").len(), 1);
    scene.until(300).await;
    let mut by_minute = HashMap::<i64, usize>::new();
    for second in scene.tries_at("x.example") {
        *by_minute.entry(second / 60).or_default() += 1;
    }
    assert!(by_minute.values().all(|mails| *mails <= 110), "{by_minute:?}");
    assert!((450..=510).contains(&scene.tries_at("x.example").len()), "{by_minute:?}");
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_outlives_a_restart() {
    let spool = new_spool();
    for number in 0..300 {
        spool.commit(mail(number, &["a@x.example"])).await.unwrap();
    }
    let (mut spool, mut tried) = (spool, 0);
    for _ in 0..10 {
        let scene = Scene::start(spool, hundred_a_minute(), well());
        scene.until(1).await;
        tried += scene.tries_at("x.example").len();
        spool = scene.stop().await;
    }
    assert!((10..=27).contains(&tried), "{tried} in ten seconds");
}
