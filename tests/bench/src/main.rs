//! What a mail costs from the client's first byte to the next server's 250: Hedwig's two daemons, and
//! Postfix in the same place. Every mail is flushed to disk before its 250, by all of them.
//!
//! smtp-source sends, smtp-sink counts; both come with Debian's package postfix. Run it as root, in
//! release mode: `cargo run --release -p hedwig-bench`.

mod load;
mod subject;
mod table;
mod usage;

use std::{net::SocketAddr, process::ExitCode, time::Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use hedwig_lab::{LabError, Result, loopback_address, program::run_as_daemon};

use crate::{
    load::{Load, Sink},
    subject::Way,
    table::Measured,
};

/// How much is sent in one run, in bytes.
const LOAD_BYTES_MAX: usize = 512 << 20;

fn main() -> ExitCode {
    if let Some(exit) = run_as_daemon() {
        return exit;
    }
    let flags = command().get_matches();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    match runtime.block_on(run(&flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn complain(error: &hedwig_lab::BoxError) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn command() -> Command {
    let numbers = |name: &'static str, default: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("N,N")
            .value_delimiter(',')
            .value_parser(value_parser!(usize))
            .default_value(default)
    };
    let ways = Way::ALL.map(Way::name);
    Command::new("hedwig-bench")
        .about("Measures Hedwig's two daemons, and Postfix in the same place")
        .arg(
            numbers("mails", "5000")
                .value_name("N")
                .value_delimiter(None)
                .help("Mails in each run, but of large ones no more than 512 MiB"),
        )
        .arg(numbers("sizes", "4096,51200,1048576").help("Sizes of a mail in bytes"))
        .arg(numbers("connections", "1,50,500").help("Connections of the client at once"))
        .arg(
            Arg::new("ways")
                .long("ways")
                .value_delimiter(',')
                .value_parser(ways)
                .default_values(ways)
                .help("What to measure; the first is compared with the others"),
        )
        .arg(
            Arg::new("reconnect")
                .long("reconnect")
                .action(ArgAction::SetTrue)
                .help("One connection for each mail, instead of keeping them"),
        )
}

async fn run(flags: &ArgMatches) -> Result<()> {
    let numbers = |name: &str| -> Vec<usize> {
        flags.get_many(name).into_iter().flatten().copied().collect()
    };
    let ways = flags.get_many::<String>("ways").into_iter().flatten();
    let ways: Vec<Way> = ways
        .filter_map(|name| Way::ALL.into_iter().find(|way| way.name() == name.as_str()))
        .collect();
    for size_bytes in numbers("sizes") {
        for connections in numbers("connections") {
            let load = Load {
                mails: numbers("mails")[0].min(LOAD_BYTES_MAX / size_bytes.max(1)).max(connections),
                size_bytes,
                connections,
                keep_connections: !flags.get_flag("reconnect"),
            };
            let mut rows = Vec::new();
            for way in &ways {
                rows.push(measure(*way, load).await?);
            }
            table::print(&load, &rows);
        }
    }
    println!(
        "\nA daemon's memory is the most it had; Postfix's what all its processes had at the end, \
         shared pages counted once."
    );
    Ok(())
}

async fn measure(way: Way, load: Load) -> Result<Measured> {
    let sink_address = free_address()?;
    let mut sink = Sink::start(sink_address).await?;
    let mut subject = way.start(sink_address).await?;
    let before = subject.usage()?;
    let begun = Instant::now();
    load.send(subject.address()).await?;
    let accepted_after = begun.elapsed();
    sink.wait_for(load.mails).await?;
    let delivered_after = begun.elapsed();
    subject.wait_until_idle().await?;
    let after = subject.usage()?;
    if sink.count() != load.mails {
        let (count, mails) = (sink.count(), load.mails);
        return Err(LabError::new(format!("{count} mails arrived where {mails} were sent")).into());
    }
    let usage = after.into_iter().zip(before);
    let usage = usage.map(|((name, after), (_, before))| (name, after.since(before))).collect();
    Ok(Measured { name: way.name(), accepted_after, delivered_after, usage })
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((loopback_address(), 0))?.local_addr()?)
}
