//! A long queue: what it costs in memory and on disk, how fast it opens and is listed, and what it does to new mails.
//!
//! `cargo bench -p hedwig-spool --bench million -- [MAILS [DOMAINS [DIRECTORY [OCTETS]]]]`
//!
//! OCTETS is how long the content of each mail is.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run may stop")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailId, Origin, Outcome, Receipt, Reply, ReversePath,
    Timestamp,
};
use hedwig_spool::{
    Claim, Courier, CourierOptions, Filter, Schedule, Selection, Spool, SpoolOptions,
};
use tokio::{sync::oneshot, task::JoinSet};

/// How many hand mails in at once where it is measured how fast a queue takes them.
const PRODUCERS: usize = 64;
/// How many do where it is only to be filled: with so many a flush serves many mails.
const FILLERS: usize = 1024;
const CONTENT_BYTES: usize = 2048;
/// How many mails tell how fast a queue takes them.
const SAMPLE_MAILS: usize = 50_000;

#[tokio::main]
async fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let number =
        |place: usize, default| arguments.get(place).map_or(default, |n| n.parse().unwrap());
    let (mails, domains) = (number(0, 1_000_000), number(1, 50_000));
    let parent = arguments.get(2).map_or_else(std::env::temp_dir, PathBuf::from);
    let load = Load { domains, content_bytes: number(3, CONTENT_BYTES) };
    let directory = tempfile::tempdir_in(parent).unwrap();

    let spool = Spool::open(directory.path(), SpoolOptions::default()).unwrap();
    let empty = commit_rate(&spool, SAMPLE_MAILS.min(mails), load).await;
    println!("empty queue             {empty:>9.0} commits/s");
    let rest = mails.saturating_sub(SAMPLE_MAILS);
    let spent = Spent::now();
    commit_all(&spool, rest, load, FILLERS).await;
    println!("the rest committed in   {}", spent.until_now(rest));
    let spent = Spent::now();
    defer_all(&spool, mails).await;
    println!("all deferred in         {}", spent.until_now(mails));
    print_memory("filled");
    print_disk(directory.path());
    drop(spool);

    print_memory("closed");
    let start = Instant::now();
    let spool = Spool::open(directory.path(), SpoolOptions::default()).unwrap();
    println!("opened in               {:>9.3} s", start.elapsed().as_secs_f64());
    let later = Timestamp::now() + Duration::from_hours(48);
    let leases = spool.claim(later, Claim::up_to(1)).await.unwrap().leases;
    assert_eq!(leases.len(), 1, "a deferred mail is due within a day");
    println!("first claim after       {:>9.3} s", start.elapsed().as_secs_f64());
    for lease in leases {
        spool.give_back(lease).await.unwrap();
    }
    list(&spool, mails, domains).await;
    let long = commit_rate(&spool, SAMPLE_MAILS.min(mails), load).await;
    println!(
        "long queue              {long:>9.0} commits/s, {:.0} % of empty",
        100.0 * long / empty
    );
    print_memory("long queue");
    deliver_all(&spool, directory.path()).await;
    print_memory("at the end");
}

/// Lets all mails go, forgets them, and tells what the files take then.
async fn deliver_all(spool: &Spool, directory: &Path) {
    let spent = Spent::now();
    spool.retry(&Selection::All).await.unwrap();
    println!("all made due in         {:>9.1} s", spent.start.elapsed().as_secs_f64());
    let (spent, mut gone) = (Spent::now(), 0);
    loop {
        let leases = spool.claim(Timestamp::now(), Claim::up_to(1024)).await.unwrap().leases;
        if leases.is_empty() {
            break;
        }
        gone += leases.len();
        let mut settling = JoinSet::new();
        for lease in leases {
            let spool = spool.clone();
            settling.spawn(async move {
                let outcome = Outcome::of_reply(Reply::new(250, None, "Ok"), None);
                spool.finish(&lease, vec![outcome], None, vec![]).await.unwrap();
            });
        }
        while let Some(ended) = settling.join_next().await {
            ended.unwrap();
        }
    }
    println!("all delivered in        {}", spent.until_now(gone));
    print_disk(directory);
    spool.close().await;
    // With no time to stay visible, all are forgotten and the files are given back.
    let options = SpoolOptions { retention: Duration::ZERO, ..SpoolOptions::default() };
    let (start, spool) = (Instant::now(), Spool::open(directory, options).unwrap());
    let mut counted = u64::MAX;
    while counted > 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let counts = spool.counts().await.unwrap();
        counted = counts.iter().map(|(_, count)| count).sum();
    }
    println!("all forgotten in        {:>9.1} s", start.elapsed().as_secs_f64());
    // The index is cut shorter bit by bit, while there is nothing else to do; its file shows that from time to time.
    let length = || {
        let files = ["index.sqlite", "index.sqlite-wal"].map(|name| directory.join(name));
        files.iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len()).sum::<u64>()
    };
    let (mut before, mut quiet) = (length(), 0);
    while quiet < 30 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        quiet = if before == length() { quiet + 1 } else { 0 };
        before = length();
    }
    spool.close().await;
    println!("room given back in      {:>9.1} s", start.elapsed().as_secs_f64());
    print_disk(directory);
}

async fn list(spool: &Spool, mails: usize, domains: usize) {
    let filter = Filter { domain: Some(domain(domains / 2)), ..Filter::default() };
    let start = Instant::now();
    let found = spool.list(&filter).await.unwrap().len();
    println!("list of one domain      {:>9.3} s, {found} mails", start.elapsed().as_secs_f64());
    assert!(found >= mails / domains, "each domain has its share");
    let filter = Filter { limit: Some(100), ..Filter::default() };
    let start = Instant::now();
    spool.list(&filter).await.unwrap();
    println!("list of the first 100   {:>9.3} s", start.elapsed().as_secs_f64());
}

/// Commits so many mails; tells how many a second.
async fn commit_rate(spool: &Spool, mails: usize, load: Load) -> f64 {
    let start = Instant::now();
    commit_all(spool, mails, load, PRODUCERS).await;
    mails as f64 / start.elapsed().as_secs_f64()
}

async fn commit_all(spool: &Spool, mails: usize, load: Load, at_once: usize) {
    let mut producers = JoinSet::new();
    for producer in 0..at_once {
        let spool = spool.clone();
        producers.spawn(async move {
            for number in (producer..mails).step_by(at_once) {
                spool.commit(load.mail(number)).await.unwrap();
            }
        });
    }
    while let Some(ended) = producers.join_next().await {
        ended.unwrap();
    }
}

/// Lets every mail be tried once, and wait.
async fn defer_all(spool: &Spool, mails: usize) {
    let (tried, mut all_tried) = tokio::sync::mpsc::unbounded_channel();
    let service = tower::service_fn(move |mail: Mail| {
        tried.send(()).unwrap();
        let reply = Reply::new(450, None, "4.2.1 The mailbox is busy, try again later");
        let outcome = Outcome::of_reply(reply, None);
        std::future::ready(Ok(Receipt::uniform(mail.id, 1, outcome)))
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let first = Duration::from_hours(12);
    let schedule = Schedule { first, longest: first, ..Schedule::default() };
    let options = CourierOptions { schedule, ..CourierOptions::default() };
    let courier = Courier::new(spool.clone(), service, options);
    let courier = tokio::spawn(courier.run(async { drop(stopped.await) }));
    for _ in 0..mails {
        all_tried.recv().await.unwrap();
    }
    drop(stop);
    courier.await.unwrap();
}

/// What the mails are like.
#[derive(Clone, Copy)]
struct Load {
    domains: usize,
    content_bytes: usize,
}

impl Load {
    /// The mail of this number; its recipient is at one of the domains, which take turns.
    fn mail(self, number: usize) -> Mail {
        let now = Timestamp::now();
        let sender: ReversePath = "alice@example.org".parse().unwrap();
        let recipient: Address = format!("bob@{}", domain(number % self.domains)).parse().unwrap();
        Mail {
            id: MailId::new(now, fastrand::u128(..)),
            envelope: Envelope::new(sender, [recipient]),
            content: Content::new(vec![b'x'; self.content_bytes].into()),
            origin: Origin::local(now),
        }
    }
}

fn domain(number: usize) -> String {
    format!("d{number}.example")
}

/// What a phase takes, of the clock and of the processors.
struct Spent {
    start: Instant,
    processor_seconds: f64,
}

impl Spent {
    fn now() -> Self {
        Self { start: Instant::now(), processor_seconds: processor_seconds() }
    }

    fn until_now(&self, mails: usize) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        let each = 1e6 * (processor_seconds() - self.processor_seconds) / mails.max(1) as f64;
        format!("{seconds:>9.1} s, {each:.0} us of CPU a mail")
    }
}

/// Of this process so far, in user and system mode; proc(5) counts hundredths.
fn processor_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let hundredths = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    hundredths.sum::<f64>() / 100.0
}

fn print_memory(when: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("unknown", str::trim).to_owned()
    };
    println!("memory, {when:<15} {:>9} resident, {} at most", of("VmRSS:"), of("VmHWM:"));
}

fn print_disk(directory: &Path) {
    let mib = |name: &str| {
        let path = directory.join(name);
        let files: Vec<_> = match fs::read_dir(&path) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => vec![path],
        };
        let lengths =
            files.iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len());
        lengths.sum::<u64>() >> 20
    };
    let (log, index, wal) = (mib("log"), mib("index.sqlite"), mib("index.sqlite-wal"));
    println!("disk                    {log:>9} MiB log, {index} MiB index, {wal} MiB its journal");
}
