//! `hedwig-harness --kills 120 --seed 7`: prints the account, and ends with 1 when the promise was broken.

use std::process::ExitCode;

use clap::{Arg, Command, value_parser};
use hedwig_harness::{Plan, run};
use hedwig_lab::Program;

fn main() -> ExitCode {
    if let Some(code) = hedwig_lab::program::run_as_daemon() {
        return code;
    }
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(value_parser!(u64))
    };
    let arguments = Command::new("hedwig-harness")
        .about("Kills real daemons under load, and accounts for every accepted recipient")
        .arg(number("kills", "120").help("So many kills at least"))
        .arg(number("seed", "1").help("Draws what goes wrong, and when"))
        .get_matches();
    let get = |name: &str| arguments.get_one::<u64>(name).copied().unwrap_or_default();
    let plan = Plan { kills: get("kills"), seed: get("seed") };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::from(75);
        }
    };
    let outcome = runtime.block_on(async {
        let program = Program::this()?;
        run(&program, plan).await
    });
    match outcome {
        Ok(outcome) => {
            print!("{outcome}");
            if outcome.verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the harness itself failed: {error}");
            ExitCode::from(75)
        }
    }
}
