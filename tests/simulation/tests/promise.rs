//! The check can fail: evidence of every kind of breach that no run has shown, made by hand.

use hedwig_envelope::{
    Address, Attempt, MailId, MailStatus, RecipientStatus, ReversePath, State, Timestamp, Verdict,
};
use hedwig_simulation::{
    evidence::{Copy, Evidence, Report, Submission, sender_of},
    promise::{Breach, check, unsettled},
};

const BOB: &str = "bob@a.example";

fn address(text: &str) -> Address {
    text.parse().expect("it is an address")
}

fn status(sender: ReversePath, recipient: &str, state: State, ambiguous: usize) -> MailStatus {
    let attempt = Attempt {
        at: Timestamp::UNIX_EPOCH,
        host: None,
        address: None,
        source: None,
        tls: None,
        tls_policy: None,
        reply: String::new(),
        outcome: Verdict::Deferred,
        diagnosis: None,
        ambiguous: true,
    };
    let recipient = RecipientStatus {
        address: address(recipient),
        state,
        status: None,
        next_due: None,
        attempts: vec![attempt; ambiguous],
        report_due: false,
    };
    let (id, created_at) = (MailId::new(Timestamp::UNIX_EPOCH, 7), Timestamp::UNIX_EPOCH);
    MailStatus { id, sender, created_at, size: 1, recipients: vec![recipient] }
}

/// Mail 1, accepted for Bob, as the postoffice tells of it.
fn mail(state: State) -> MailStatus {
    status(sender_of(1).parse().expect("it is an address"), BOB, state, 0)
}

/// A report to its sender, as the postoffice tells of it.
fn report(ambiguous: usize) -> MailStatus {
    status(ReversePath::Null, &sender_of(1), State::Delivered, ambiguous)
}

/// A copy of a report that Bob did not get it.
fn reported(message_id: &str) -> Report {
    Report { number: 1, message_id: message_id.to_owned(), failed: vec![address(BOB)] }
}

fn evidence(postoffice: Vec<MailStatus>, copies: usize, reports: Vec<Report>) -> Evidence {
    let submission = Submission { accepted: vec![address(BOB)], not_accepted: vec![] };
    let taken_as = postoffice[0].id.to_string();
    let copy = Copy { number: 1, recipient: address(BOB), taken_as, intact: true };
    Evidence {
        submissions: [(1, submission)].into(),
        accepted: 1,
        copies: vec![copy; copies],
        reports,
        postoffice,
        ..Evidence::default()
    }
}

fn breaches(evidence: &Evidence) -> Vec<Breach> {
    check(evidence).expect_err("the promise is broken")
}

#[test]
fn what_is_right_is_no_breach() {
    assert_eq!(check(&evidence(vec![mail(State::Delivered)], 1, vec![])).map(|a| a.sum()), Ok(1));
    let failed = evidence(vec![mail(State::Failed), report(0)], 0, vec![reported("<1@x>")]);
    assert_eq!(check(&failed).map(|account| account.bounced), Ok(1));
    assert_eq!(unsettled(&failed, |_| false), []);
}

#[test]
fn a_report_of_what_was_delivered_is_a_breach() {
    let evidence = evidence(vec![mail(State::Delivered), report(0)], 1, vec![reported("<1@x>")]);
    assert_eq!(breaches(&evidence), [Breach::ReportedFailed(1, address(BOB))]);
}

#[test]
fn two_reports_of_one_failure_are_a_breach() {
    let both = vec![reported("<1@x>"), reported("<2@x>")];
    let evidence = evidence(vec![mail(State::Failed), report(0), report(0)], 0, both);
    assert_eq!(breaches(&evidence), [Breach::ReportedAgain(1, address(BOB), 2)]);
}

#[test]
fn a_copy_of_a_report_needs_its_mark() {
    let twice = vec![reported("<1@x>"), reported("<1@x>")];
    let marked = evidence(vec![mail(State::Failed), report(1)], 0, twice.clone());
    assert!(check(&marked).is_ok());
    let mut cut = evidence(vec![mail(State::Failed), report(0)], 0, twice);
    let unmarked = breaches(&cut);
    assert!(matches!(&unmarked[..], [Breach::TooManyCopies(1, _, _)]), "{unmarked:?}");
    cut.power_went_during = vec![(1, address(&sender_of(1)))];
    assert!(check(&cut).is_ok());
}

#[test]
fn a_report_that_nobody_has_is_a_breach() {
    let twice = vec![mail(State::Failed), report(0), report(0)];
    let evidence = evidence(twice, 0, vec![reported("<1@x>")]);
    assert_eq!(breaches(&evidence), [Breach::SaidDelivered(1, address(&sender_of(1)))]);
}

#[test]
fn the_sum_is_compared_with_what_clients_and_mailman_counted() {
    let mut evidence = evidence(vec![mail(State::Delivered)], 1, vec![]);
    evidence.accepted = 2;
    assert_eq!(breaches(&evidence), [Breach::Miscounted { accepted: 2, sum: 1 }]);
    (evidence.accepted, evidence.taken) = (1, Some(0));
    assert_eq!(breaches(&evidence), [Breach::NotTaken { accepted: 1, taken: 0 }]);
    evidence.taken = Some(1);
    assert!(check(&evidence).is_ok());
}

#[test]
fn whoever_waits_in_the_end_is_told() {
    let queued = evidence(vec![mail(State::Deferred)], 0, vec![]);
    assert_eq!(check(&queued).map(|account| account.queued), Ok(1));
    let still = Breach::StillQueued(Some(1), address(BOB), State::Deferred);
    assert_eq!(unsettled(&queued, |_| true), [still]);
    let held = evidence(vec![mail(State::Held)], 0, vec![]);
    assert_eq!(unsettled(&held, |_| false), [Breach::HeldByNobody(Some(1), address(BOB))]);
    assert_eq!(unsettled(&held, |address| address.domain_text() == Some("a.example")), []);
    let mut late = report(0);
    late.recipients[0].state = State::Queued;
    let late = evidence(vec![mail(State::Failed), late], 0, vec![reported("<1@x>")]);
    assert!(matches!(unsettled(&late, |_| false)[..], [Breach::StillQueued(Some(1), ..)]));
}
