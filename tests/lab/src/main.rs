//! Either daemon, for the laboratory's tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    hedwig_lab::program::run_as_daemon().unwrap_or_else(|| {
        eprintln!("usage: hedwig-lab mailman|postoffice ARGUMENTS");
        ExitCode::from(64)
    })
}
