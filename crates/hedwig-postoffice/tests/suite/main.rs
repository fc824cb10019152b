//! The program as an operator runs it: its configuration, and its queue from near and far.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod check;
mod daemon;
mod damage;
mod explain;
mod health;
mod queue;

use std::process::Command;

/// The program with nothing in its environment.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedwig-postoffice"));
    command.env_clear().args(arguments);
    command
}

/// Runs it; exit code, output, errors.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = program(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
