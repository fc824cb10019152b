//! A mail's whole way through a spool on disk: commit, claim, finish, with 64 producers and one courier.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run may stop")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailId, Origin, Outcome, Receipt, Reply, ReversePath, Status,
    Timestamp,
};
use hedwig_spool::{Courier, CourierOptions, Spool, SpoolOptions};
use tokio::sync::{mpsc, oneshot};

const PRODUCERS: u64 = 64;

fn through_the_spool(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("commit, claim, finish");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.measurement_time(Duration::from_secs(10));
    for kibibytes in [4, 50] {
        group.bench_function(format!("{kibibytes} KiB"), |bencher| {
            let content = Bytes::from(vec![b'x'; kibibytes << 10]);
            bencher.to_async(&runtime).iter_custom(|mails| carry(mails, content.clone()));
        });
    }
    group.finish();
}

async fn carry(mails: u64, content: Bytes) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), SpoolOptions::default()).unwrap();
    let (done, mut all_done) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |mail: Mail| {
        let done = done.clone();
        async move {
            let reply = Reply::with_status(250, Status::OK, "Ok");
            done.send(()).unwrap();
            Ok(Receipt::uniform(mail.id, 1, Outcome::of_reply(reply, None)))
        }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let options = CourierOptions { concurrency_per_destination: 512, ..CourierOptions::default() };
    let courier = Courier::new(spool.clone(), service, options);
    let courier = tokio::spawn(courier.run(async { drop(stopped.await) }));
    let start = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let share = mails / PRODUCERS + u64::from(producer < mails % PRODUCERS);
            tokio::spawn(produce(spool.clone(), share, content.clone()))
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    for _ in 0..mails {
        all_done.recv().await.unwrap();
    }
    drop(stop);
    courier.await.unwrap();
    start.elapsed()
}

async fn produce(spool: Spool, mails: u64, content: Bytes) {
    let sender: ReversePath = "alice@example.org".parse().unwrap();
    let recipient: Address = "bob@example.net".parse().unwrap();
    for _ in 0..mails {
        let now = Timestamp::now();
        let mail = Mail {
            id: MailId::new(now, fastrand::u128(..)),
            envelope: Envelope::new(sender.clone(), [recipient.clone()]),
            content: Content::new(content.clone()),
            origin: Origin::local(now),
        };
        spool.commit(mail).await.unwrap();
    }
}

criterion_group!(benches, through_the_spool);
criterion_main!(benches);
