//! A fixed set of seeds, and the one of `HEDWIG_SEED`.

use hedwig_simulation::{Run, promise::Account, run};

/// How many seeds are run each time.
const SEEDS: u64 = 24;

fn assert_kept(run: &Run) -> Account {
    match &run.verdict {
        Ok(account) => *account,
        Err(breaches) => panic!(
            "{}\nthe promise was broken: {breaches:#?}\nrun it again with: HEDWIG_SEED={} cargo test -p hedwig-simulation",
            run.chronicle.join("\n"),
            run.seed
        ),
    }
}

#[test]
fn the_promise_is_kept_whatever_goes_wrong() {
    if let Ok(seed) = std::env::var("HEDWIG_SEED") {
        let run = run(seed.parse().expect("HEDWIG_SEED is a number"));
        println!("{}", run.chronicle.join("\n"));
        println!("{}", assert_kept(&run));
        return;
    }
    let mut account = Account::default();
    for seed in 0..SEEDS {
        account.add(&assert_kept(&run(seed)));
    }
    println!("{SEEDS} seeds\n{account}");
    assert_eq!(account.accepted, account.sum());
}

#[test]
fn one_seed_does_the_same_twice() {
    for seed in [3, 11] {
        let (one, other) = (run(seed), run(seed));
        for (line, again) in one.chronicle.iter().zip(&other.chronicle) {
            assert_eq!(line, again, "seed {seed}");
        }
        assert_eq!(one.chronicle.len(), other.chronicle.len(), "seed {seed}");
    }
}
