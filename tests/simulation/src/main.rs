//! Many seeds: `cargo run -p hedwig-simulation -- FIRST COUNT`. Ends with 1 when the promise was broken.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use hedwig_simulation::{promise::Account, run};

#[derive(Default)]
struct Total {
    account: Account,
    kills: u32,
    power_cuts: u32,
    disk_troubles: u32,
    broken: Vec<u64>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (first, count) = match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => (0, 1000),
        (Some(Ok(first)), Some(Ok(count)), None) => (first, count),
        _ => {
            eprintln!("usage: hedwig-simulation [FIRST COUNT]");
            return ExitCode::from(64);
        }
    };
    let (next, total) = (AtomicU64::new(first), Mutex::new(Total::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .filter(|seed| *seed < first.saturating_add(count))
                {
                    add(
                        &mut total.lock().unwrap_or_else(PoisonError::into_inner),
                        seed,
                        &run(seed),
                    );
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{count} seeds from {first}; {} kills, {} power cuts, {} times trouble with a disk",
        total.kills, total.power_cuts, total.disk_troubles
    );
    print!("{}", total.account);
    if total.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(total: &mut Total, seed: u64, run: &hedwig_simulation::Run) {
    total.kills += run.kills;
    total.power_cuts += run.power_cuts;
    total.disk_troubles += run.disk_troubles;
    match &run.verdict {
        Ok(account) => total.account.add(account),
        Err(breaches) => {
            println!("HEDWIG_SEED={seed} breaks the promise: {breaches:?}");
            total.broken.push(seed);
        }
    }
}
