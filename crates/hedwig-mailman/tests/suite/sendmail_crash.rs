//! A mailman that is killed again and again while it picks up dropped mail.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::sendmail_support::{Host, NOBODY, run};
use hedwig_envelope::{MailId, Timestamp};

const MAILS: usize = 200;
/// After so many mails were picked up the daemon is killed.
const MAILS_A_LIFE: usize = 37;

/// Leaves a mail as any program may: the file's form and name are all that matters.
fn drop_mail(drop: &Path, number: usize) {
    let mail = format!(
        "EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<r{number}@example.net>\r\n\
         BDAT 2 LAST\r\n\r\nQUIT\r\n"
    );
    let id = MailId::new(Timestamp::from_second(1_795_000_000).unwrap(), number as u128);
    fs::write(drop.join(format!("tmp.{id}")), mail).unwrap();
    fs::rename(drop.join(format!("tmp.{id}")), drop.join(id.to_string())).unwrap();
}

fn start(host: &Host) -> Child {
    let mut command = host.command(env!("CARGO_BIN_EXE_hedwig-mailman"));
    command.args(["serve", "--postoffice", "http://127.0.0.1:9", "--listen", "127.0.0.1:0"]);
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills the daemon after some mails, or when there is nothing more to pick up.
fn live(mut daemon: Child, host: &Host) {
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let mut picked_up = 0;
    while picked_up < MAILS_A_LIFE && left(host) > 0 {
        let line = log.next().expect("it runs until it is killed").unwrap();
        picked_up += usize::from(line.contains("picked up a dropped mail"));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

fn left(host: &Host) -> usize {
    let count = |name| fs::read_dir(host.spool.join(name)).map_or(0, Iterator::count);
    count("drop") + count("drop-taken")
}

#[test]
fn each_dropped_mail_is_queued_exactly_once() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::new(directory.path(), NOBODY);
    let drop = host.spool.join("drop");
    fs::create_dir(&drop).unwrap();
    (0..MAILS).for_each(|number| drop_mail(&drop, number));
    let mut lives = 0;
    while left(&host) > 0 {
        live(start(&host), &host);
        lives += 1;
    }
    assert!(lives > MAILS / MAILS_A_LIFE / 2, "it was hardly killed: {lives}");
    assert_eq!(fs::read_dir(host.spool.join("drop-refused")).unwrap().count(), 0);
    let mut queue: Command = host.command(env!("CARGO_BIN_EXE_hedwig-mailman"));
    queue.args(["queue", "list", "--json"]);
    let listed = run(queue, "").with(0).output;
    let recipients: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|mail| mail["recipients"][0]["address"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(recipients.len(), MAILS);
    assert_eq!(recipients.into_iter().collect::<BTreeSet<_>>().len(), MAILS);
}
