//! When reports of TLS leave, and when they are tried again, under virtual time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hedwig_envelope::{Mail, MailService, Outcome, Receipt, Reply, Status, Timestamp};
use hedwig_mx::{
    Resolver, SessionPolicy, TlsObserver, TlsSession,
    tlsrpt::{
        Clock, HttpsPoster, Reporting, TlsCountLimits, TlsCounts, TlsReportTimes, TlsReporter,
    },
};
use tokio::time::{Instant, sleep};

use crate::support::{Dns, certificates::Authority};

const HOUR: Duration = Duration::from_secs(3600);
/// How often a reporter looks at the time.
const TICK: Duration = Duration::from_secs(60);

/// A clock that goes as the runtime's does, from a minute before midnight on.
fn clock() -> Clock {
    let (begin, midnight) = (Instant::now(), "2026-11-26T00:00:00Z".parse::<Timestamp>().unwrap());
    Arc::new(move || midnight - TICK + begin.elapsed())
}

/// How long after midnight the reporter gives mails to a queue, until so long after it. The queue takes none before
/// this time.
async fn reports(times: TlsReportTimes, takes_from: Duration, until: Duration) -> Vec<Duration> {
    reports_of(times, None, takes_from, until).await
}

/// The same, with another session so long after midnight.
async fn reports_of(
    times: TlsReportTimes,
    another: Option<Duration>,
    takes_from: Duration,
    until: Duration,
) -> Vec<Duration> {
    let dns = Dns::start().await.unwrap();
    dns.txt("_smtp._tls.example.com", "v=TLSRPTv1; rua=mailto:tls@example.com").await;
    let resolver = Resolver::with_server(dns.address()).unwrap();
    let midnight = Instant::now() + TICK;
    let counts = Arc::new(TlsCounts::new(clock(), TlsCountLimits::default()));
    let session = TlsSession {
        domain: "example.com",
        policy: SessionPolicy::Absent,
        host: "mx.example.com",
        address: None,
        source: None,
        failure: None,
    };
    counts.observe(&session);
    let given = Arc::<Mutex<Vec<Duration>>>::default();
    let taken = given.clone();
    let queue = tower::service_fn(move |mail: Mail| {
        let now = Instant::now().duration_since(midnight);
        taken.lock().unwrap().push(now);
        let reply = if now < takes_from {
            Reply::with_status(452, Status::transient(3, 1), "Full")
        } else {
            Reply::with_status(250, Status::OK, "Queued")
        };
        let outcome = Outcome::of_reply(reply, None);
        let receipt = Receipt::uniform(mail.id, mail.envelope.recipients.len(), outcome);
        async move { Ok(receipt) }
    });
    let certificates = Authority::new().alone().client_config();
    let poster = HttpsPoster::new(resolver.clone(), certificates, Duration::from_secs(10), true);
    let reporting = Reporting {
        organization: "Sender, Inc.".into(),
        submitter: "mail.sender.example".into(),
        contact: "tls@sender.example".parse().unwrap(),
        from: "noreply@sender.example".parse().unwrap(),
    };
    let queue = queue.boxed_mail_service();
    let observed = counts.clone();
    let reporter = TlsReporter::new(counts, resolver, poster, queue, reporting, times);
    let another = async {
        if let Some(time) = another {
            sleep(TICK + time).await;
            observed.observe(&session);
        }
    };
    tokio::join!(reporter.run(sleep(TICK + until)), another);
    given.lock().unwrap().clone()
}

/// Whether each came at its time, or at the next look at the clock. The question to DNS takes next to no time.
#[track_caller]
fn assert_at(given: &[Duration], hours: &[u32]) {
    assert_eq!(given.len(), hours.len(), "{given:?}");
    for ((number, given), hours) in (1..).zip(given).zip(hours) {
        let due = HOUR * *hours;
        assert!(*given >= due && *given < due + TICK * (number + 1), "{given:?} is not {due:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_tried_again_ever_later_until_it_is_given_up() {
    let times = TlsReportTimes { delay_max: Duration::ZERO, ..TlsReportTimes::default() };
    let given = reports(times, HOUR * 1000, HOUR * 72).await;
    assert_at(&given, &[0, 1, 3, 7, 15, 28]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_at_last_is_not_sent_again() {
    let times = TlsReportTimes { delay_max: Duration::ZERO, ..TlsReportTimes::default() };
    assert_at(&reports(times, HOUR * 2, HOUR * 72).await, &[0, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_new_day_is_reported_at_its_time_and_the_waiting_begins_anew() {
    let times = TlsReportTimes { delay_max: Duration::ZERO, ..TlsReportTimes::default() };
    let given = reports_of(times, Some(HOUR * 12), HOUR * 1000, HOUR * 96).await;
    // Of the first day, and from the 24th hour on of the second as well; the first is given up at the 28th.
    assert_at(&given, &[0, 1, 3, 7, 15, 24, 24, 25, 25, 27, 27, 28, 28, 36, 52]);
}

#[tokio::test(start_paused = true)]
async fn reports_leave_at_a_random_time_within_the_delay() {
    let times = TlsReportTimes::default();
    let mut all = Vec::new();
    for seed in 0..16 {
        fastrand::seed(seed);
        let given = reports(times, Duration::ZERO, HOUR * 5).await;
        let [at] = given[..] else { panic!("{given:?}") };
        assert!(at < times.delay_max + TICK * 2, "{at:?}");
        all.push(at);
    }
    let hours = |at: &Duration| at.as_secs() / 3600;
    let (earliest, latest) = (all.iter().map(hours).min(), all.iter().map(hours).max());
    assert!(earliest == Some(0) && latest >= Some(3), "spread over the four hours: {all:?}");
}
