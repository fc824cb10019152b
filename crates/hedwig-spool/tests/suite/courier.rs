//! The courier under virtual time: nothing here really waits.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{
    at, id, mail, outcome,
    running::{Running, ok, plain},
    seconds, states,
};
use hedwig_envelope::{BoxError, Mail, Receipt, Refusal, RefusalKind, State, Verdict};
use hedwig_spool::{Clock, Courier, CourierOptions, Event, Owed, Selection, Spool, SpoolOptions};
use tokio::sync::mpsc;
use tower::service_fn;

#[tokio::test(start_paused = true)]
async fn a_commit_wakes_the_courier_at_once() {
    let mut running = Running::start(plain());
    running.settle().await;
    running.spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    let carried = running.answer(ok()).await;
    assert_eq!((carried.id, running.now()), (id(1), at(0)));
    running.settle().await;
    assert_eq!(states(&running.spool, id(1)).await, [State::Delivered]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deferred_is_tried_again_when_it_is_due() {
    let mut running = Running::with_a_mail(plain()).await;
    running.answer(Ok(outcome(450, "Not now"))).await;
    running.answer(Ok(outcome(450, "Not yet"))).await;
    // A far due time is rounded up a little.
    assert!((at(300)..at(310)).contains(&running.now()), "{}", running.now());
    running.answer(ok()).await;
    assert!((at(900)..at(920)).contains(&running.now()), "{}", running.now());
    running.settle().await;
    let status = running.spool.show(id(1)).await.unwrap().unwrap();
    let verdicts: Vec<_> = status.recipients[0].attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(verdicts, [Verdict::Deferred, Verdict::Deferred, Verdict::Done]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_defers_with_the_words_of_rescue() {
    let mut running = Running::start(plain());
    running.spool.commit(mail(1, &["a@x.example", "b@x.example"])).await.unwrap();
    running.answer(Err("password is hunter2".into())).await;
    running.settle().await;
    let status = running.spool.show(id(1)).await.unwrap().unwrap();
    for recipient in &status.recipients {
        assert_eq!(recipient.state, State::Deferred);
        let reply = &recipient.attempts[0].reply;
        assert_eq!(reply, "451 4.3.0 Local error in processing, try again later");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_respected() {
    let mut running = Running::with_a_mail(plain()).await;
    let refusal = Refusal::new(RefusalKind::TooMany, "Slower").retry_after(seconds(3600));
    running.answer(Err(refusal.into())).await;
    running.answer(ok()).await;
    assert!(running.now() >= at(3600), "{}", running.now());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_defers_the_mail() {
    let clock = Clock::of_tokio(at(0));
    let spool = Spool::in_memory(SpoolOptions { clock, ..SpoolOptions::default() }).unwrap();
    let (tried, mut tries) = mpsc::unbounded_channel();
    let service = service_fn(move |mail: Mail| {
        let tried = tried.clone();
        async move {
            tried.send(mail.id).unwrap();
            if true {
                panic!("as the test wants");
            }
            Err::<Receipt, BoxError>("never said".into())
        }
    });
    let courier = Courier::new(spool.clone(), service, plain());
    let courier = tokio::spawn(courier.run(std::future::pending()));
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    tries.recv().await.unwrap();
    tries.recv().await.unwrap();
    courier.abort();
    let attempts = spool.show(id(1)).await.unwrap().unwrap().recipients.remove(0).attempts;
    assert_eq!(attempts[0].outcome, Verdict::Deferred);
}

/// What a reporter was told: the event, and of how many recipients.
type Events = Arc<Mutex<VecDeque<(Event, usize)>>>;

/// A reporter that reports everything, to be told apart by the event.
fn reporting() -> (CourierOptions, Events) {
    let events = Arc::new(Mutex::new(VecDeque::new()));
    let seen = events.clone();
    let options = CourierOptions {
        reporter: Some(Arc::new(move |reported: &Mail, event, recipients: &[(usize, Owed)], _| {
            seen.lock().unwrap().push_back((event, recipients.len()));
            let report = mail(reported.id.to_bytes()[15].into(), &["alice@example.org"]);
            let number = 100 + seen.lock().unwrap().len() as u128;
            (event != Event::Done).then_some(Mail { id: id(number), ..report })
        })),
        ..plain()
    };
    (options, events)
}

#[tokio::test(start_paused = true)]
async fn a_refused_recipient_is_reported_in_the_same_commit() {
    let (options, events) = reporting();
    let mut running = Running::with_a_mail(options).await;
    running.answer(Ok(outcome(550, "No such user"))).await;
    let report = running.answer(ok()).await;
    assert_eq!(report.id, id(101));
    running.settle().await;
    assert_eq!(states(&running.spool, id(1)).await, [State::Failed]);
    assert_eq!(events.lock().unwrap().pop_front(), Some((Event::Failed, 1)));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mail_past_its_expiry_is_given_up_and_reported_after_one_warning() {
    let (mut options, events) = reporting();
    options.schedule.expiry = Duration::from_hours(12);
    let mut running = Running::with_a_mail(options).await;
    loop {
        let (tried, reply) = running.calls.recv().await.unwrap();
        if tried.id == id(1) {
            reply.send(Ok(outcome(450, "Never"))).unwrap();
            running.settle().await;
            if states(&running.spool, id(1)).await == [State::Expired] {
                break;
            }
        } else {
            reply.send(ok()).unwrap();
        }
    }
    assert!((at(12 * 3600)..at(13 * 3600)).contains(&running.now()), "{}", running.now());
    let mut events: Vec<_> = events.lock().unwrap().drain(..).map(|(event, _)| event).collect();
    events.retain(|event| *event != Event::Done);
    assert_eq!(events, [Event::Delayed, Event::Failed]);
    running.answer(ok()).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_gives_up_fails_untried_and_is_reported() {
    let (options, events) = reporting();
    let mut running = Running::with_a_mail(options).await;
    running.answer(Ok(outcome(450, "Not now"))).await;
    running.settle().await;
    assert_eq!(running.spool.fail(&Selection::ids([id(1)])).await.unwrap(), 1);
    let report = running.answer(ok()).await;
    assert_eq!((report.id, running.now()), (id(101), at(0)));
    assert_eq!(states(&running.spool, id(1)).await, [State::Failed]);
    assert_eq!(events.lock().unwrap()[0], (Event::Failed, 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_slow_destination_does_not_hold_up_the_rest() {
    let options = CourierOptions { concurrency: 8, concurrency_per_destination: 2, ..plain() };
    let mut running = Running::start(options);
    for number in 0..50 {
        running.spool.commit(mail(number, &["a@slow.example"])).await.unwrap();
    }
    let mut slow = Vec::new();
    for _ in 0..2 {
        slow.push(running.calls.recv().await.unwrap());
    }
    for number in 50..60 {
        running.spool.commit(mail(number, &["a@swift.example"])).await.unwrap();
        assert_eq!(running.answer(ok()).await.id, id(number));
    }
    assert!(running.calls.try_recv().is_err(), "the slow one has its two already");
    for (_, reply) in slow {
        reply.send(ok()).unwrap();
    }
    for _ in 2..50 {
        running.answer(ok()).await;
    }
    assert_eq!(running.now(), at(0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_are_under_way() {
    let options = CourierOptions { concurrency: 3, ..plain() };
    let mut running = Running::start(options);
    for number in 0..10 {
        running.spool.commit(mail(number, &["a@x.example"])).await.unwrap();
    }
    running.settle().await;
    let mut held = Vec::new();
    while let Ok(call) = running.calls.try_recv() {
        held.push(call);
    }
    assert_eq!(held.len(), 3);
    held.pop().unwrap().1.send(ok()).unwrap();
    assert!(running.calls.recv().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_what_is_under_way_and_begins_nothing() {
    let mut running = Running::start(CourierOptions { concurrency: 1, ..plain() });
    running.spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    running.spool.commit(mail(2, &["a@x.example"])).await.unwrap();
    let (_, reply) = running.calls.recv().await.unwrap();
    running.shutdown.send(()).unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(!running.courier.is_finished());
    reply.send(ok()).unwrap();
    running.courier.await.unwrap();
    assert_eq!(states(&running.spool, id(1)).await, [State::Delivered]);
    assert_eq!(states(&running.spool, id(2)).await, [State::Queued]);
}

#[tokio::test(start_paused = true)]
async fn a_long_attempt_keeps_its_lease() {
    let mut running = Running::with_a_mail(plain()).await;
    let (_, reply) = running.calls.recv().await.unwrap();
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert!(running.calls.try_recv().is_err(), "nobody else may have it");
    reply.send(ok()).unwrap();
    running.settle().await;
    assert_eq!(states(&running.spool, id(1)).await, [State::Delivered]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_courier_ends_with_its_spool() {
    let running = Running::start(plain());
    running.settle().await;
    running.spool.close().await;
    running.courier.await.unwrap();
}

/// A process that was stopped, or a host that stood still: nobody could extend a lease, and when all goes on again, what
/// was being tried still is.
#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_lets_nothing_be_tried_twice_at_a_time() {
    let mut running = Running::with_a_mail(plain()).await;
    let (first, _under_way) = running.calls.recv().await.unwrap();
    for (number, minutes) in [(2, 16), (3, 200)] {
        tokio::time::advance(seconds(minutes * 60)).await;
        // This comes first, before a lease can be extended.
        running.spool.commit(mail(number, &["a@y.example"])).await.unwrap();
        let now = running.now();
        for lease in running.spool.claim(now, hedwig_spool::Claim::up_to(9)).await.unwrap().leases {
            assert_ne!(lease.mail.id, first.id, "it is still being tried");
        }
        running.assert_not_tried(first.id).await;
    }
    running.courier.abort();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_lets_nothing_be_tried_twice_at_a_time() {
    let ahead = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let (base, set) = (Clock::of_tokio(at(0)), ahead.clone());
    let clock = Clock::new(move || {
        let seconds = set.load(std::sync::atomic::Ordering::Relaxed);
        base.now().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap()
    });
    let mut running = Running::by_clock(clock, plain());
    running.spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    let (first, _under_way) = running.calls.recv().await.unwrap();
    for hours in [30, -30] {
        ahead.store(hours * 3600, std::sync::atomic::Ordering::Relaxed);
        // Something comes, so that the courier looks what is due.
        running.spool.commit(mail(hours.unsigned_abs().into(), &["a@y.example"])).await.unwrap();
        running.assert_not_tried(first.id).await;
    }
    running.courier.abort();
}
