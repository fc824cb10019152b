//! What replies of real servers are taken to mean.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hedwig_envelope::{Diagnosis, Outcome, Relay, Reply, Status};

const REPLIES: &str = include_str!("replies.txt");

/// A server's reply as one line, split as the reader of replies splits it.
fn reply(line: &str) -> Reply {
    let (code, rest) = line.split_once(' ').unwrap();
    let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let status: Option<Status> = first.parse().ok();
    let text = if status.is_some() { text } else { rest };
    Reply::new(code.parse().unwrap(), status, text.replace("\\n", "\n"))
}

#[test]
fn replies_in_the_field_mean_what_their_operators_say() {
    let lines = REPLIES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in lines {
        let (expected, said) = line.split_once(' ').unwrap();
        let relay = Relay::of("mx.example");
        let outcome = Outcome::of_reply(reply(said.trim_start()), Some(relay));
        let found = Diagnosis::of(outcome.answer()).unwrap();
        if found.name() != expected {
            wrong.push(format!("{} and not {expected}: {said}", found.name()));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 70, "only {count} replies were looked at");
}

#[test]
fn a_sender_is_told_something_of_every_failure() {
    for diagnosis in Diagnosis::ALL {
        for words in [diagnosis.words(), diagnosis.advice()] {
            assert!(words.ends_with('.') && words.is_ascii(), "{diagnosis:?}: {words}");
        }
        assert!(!diagnosis.blame().words().is_empty());
    }
}
