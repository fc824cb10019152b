//! What a dead destination with a long queue costs the others: how long 1,000 mails to 100 domains take, with
//! 100,000 mails for a domain that cannot be reached and without.
//!
//! `cargo bench -p hedwig-spool --bench dead -- [DEAD [LIVE [DIRECTORY]]]`
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run may stop")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailId, Origin, Outcome, Receipt, Reply, ReversePath, Status,
    Timestamp,
};
use hedwig_spool::{Courier, CourierOptions, Spool, SpoolOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

const DOMAINS: usize = 100;
const CONTENT_BYTES: usize = 2048;
/// How long a server takes for a mail, and how long a dead one lets a connection hang.
const TAKES: Duration = Duration::from_millis(20);
const HANGS: Duration = Duration::from_secs(5);
/// How far the mails to live domains come one after the other.
const APART: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let number =
        |place: usize, default| arguments.get(place).map_or(default, |n| n.parse().unwrap());
    let (dead, live) = (number(0, 100_000), number(1, 1000));
    let parent = arguments.get(2).map_or_else(std::env::temp_dir, PathBuf::from);
    let mut medians = Vec::new();
    for dead in [0, dead] {
        let (mut latencies, tries) = measure(&parent, dead, live).await;
        latencies.sort_unstable();
        let median = latencies[latencies.len() / 2].as_secs_f64() * 1e3;
        let late = latencies[latencies.len() * 99 / 100].as_secs_f64() * 1e3;
        println!(
            "{dead:>7} mails to a dead domain, {tries:>3} tries there: \
             {live} live ones in {median:.1} ms (median), {late:.1} ms (99 in 100)"
        );
        medians.push(median);
    }
    println!("ratio of the medians: {:.2}", medians[1] / medians[0]);
}

/// How long each live mail took from its commit to its server's reply, and how often the dead domain was
/// tried meanwhile.
async fn measure(parent: &Path, dead: usize, live: usize) -> (Vec<Duration>, usize) {
    let directory = tempfile::tempdir_in(parent).unwrap();
    let spool = Spool::open(directory.path(), SpoolOptions::default()).unwrap();
    let (done, mut all_done) = mpsc::unbounded_channel();
    let (tried, mut tries) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |mail: Mail| {
        let is_dead = mail.envelope.recipients[0].address.domain_text() == Some("dead.example");
        let (done, tried) = (done.clone(), tried.clone());
        async move {
            if is_dead {
                tried.send(()).unwrap();
                sleep(HANGS).await;
                let reply = Reply::with_status(451, Status::transient(4, 1), "No connection");
                let outcome = Outcome::of_reply(reply, None).unreached();
                return Ok(Receipt::uniform(mail.id, 1, outcome));
            }
            sleep(TAKES).await;
            done.send((mail.id, Instant::now())).unwrap();
            let reply = Reply::with_status(250, Status::OK, "Ok");
            Ok(Receipt::uniform(mail.id, 1, Outcome::of_reply(reply, None)))
        }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let courier = Courier::new(spool.clone(), service, CourierOptions::default());
    let courier = tokio::spawn(courier.run(async { drop(stopped.await) }));
    commit_dead(&spool, dead).await;
    let mut begun = std::collections::HashMap::new();
    for number in 0..live {
        let mail = mail(&format!("live{}.example", number % DOMAINS));
        begun.insert(mail.id, Instant::now());
        spool.commit(mail).await.unwrap();
        sleep(APART).await;
    }
    let mut latencies = Vec::with_capacity(live);
    for _ in 0..live {
        let (id, at) = all_done.recv().await.unwrap();
        latencies.push(at - begun[&id]);
    }
    drop(stop);
    courier.await.unwrap();
    let mut count = 0;
    while tries.try_recv().is_ok() {
        count += 1;
    }
    (latencies, count)
}

async fn commit_dead(spool: &Spool, mails: usize) {
    const PRODUCERS: usize = 64;
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let spool = spool.clone();
        producers.spawn(async move {
            for _ in (producer..mails).step_by(PRODUCERS) {
                spool.commit(mail("dead.example")).await.unwrap();
            }
        });
    }
    while let Some(ended) = producers.join_next().await {
        ended.unwrap();
    }
}

fn mail(domain: &str) -> Mail {
    let now = Timestamp::now();
    let sender: ReversePath = "alice@example.org".parse().unwrap();
    let recipient: Address = format!("bob@{domain}").parse().unwrap();
    Mail {
        id: MailId::new(now, fastrand::u128(..)),
        envelope: Envelope::new(sender, [recipient]),
        content: Content::new(vec![b'x'; CONTENT_BYTES].into()),
        origin: Origin::local(now),
    }
}
