//! Many seeds: `cargo run --release -p hedwig-simulation -- --seeds 0..3000`. Ends with 1 when the promise
//! was broken.

use std::{
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::{Arg, Command};
use hedwig_simulation::{Run, chronicle::Counts, promise::Account, run};

#[derive(Default)]
struct Total {
    account: Account,
    counts: Counts,
    broken: Vec<u64>,
}

fn main() -> ExitCode {
    let seeds = Arg::new("seeds").long("seeds").value_name("FIRST..END").default_value("0..1000");
    let matches = Command::new("hedwig-simulation")
        .about("Runs the simulation of many seeds, on all cores")
        .arg(
            seeds
                .value_parser(parse_seeds)
                .help("The seeds, without the end; of a single one all is told"),
        )
        .get_matches();
    let seeds = matches.get_one::<Range<u64>>("seeds").cloned().unwrap_or(0..1000);
    let start = Instant::now();
    let (next, total) = (AtomicU64::new(seeds.start), Mutex::new(Total::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed))
                {
                    let run = run(seed);
                    if seeds.end - seeds.start == 1 {
                        println!("{}", run.chronicle.join("\n"));
                    }
                    total.lock().unwrap_or_else(PoisonError::into_inner).add(&run);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (count, seconds) = (seeds.end - seeds.start, start.elapsed().as_secs_f64());
    println!("seeds {seeds:?}, {seconds:.0} s, {:.1} seeds a second", count as f64 / seconds);
    total.counts.iter().for_each(|(what, count)| println!("{count:>10}  {what}"));
    print!("{}", total.account);
    if total.broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} seeds broke the promise: {:?}", total.broken.len(), total.broken);
    ExitCode::FAILURE
}

impl Total {
    fn add(&mut self, run: &Run) {
        for (what, count) in &run.counts {
            *self.counts.entry(what).or_default() += count;
        }
        match &run.verdict {
            Ok(account) => self.account.add(account),
            Err(breaches) => {
                println!("HEDWIG_SEED={} breaks the promise: {breaches:?}", run.seed);
                self.broken.push(run.seed);
            }
        }
    }
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let parsed = text
        .split_once("..")
        .and_then(|(first, end)| Some(first.trim().parse().ok()?..end.trim().parse().ok()?));
    parsed
        .filter(|seeds: &Range<u64>| !seeds.is_empty())
        .ok_or_else(|| format!("{text:?} is no range such as 0..3000"))
}
