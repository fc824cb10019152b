//! What a mail waits for, in a sentence.

use std::time::Duration;

use hedwig_daemon::settings::Span;
use hedwig_envelope::Timestamp;
use hedwig_spool::{DestinationState, ExplainedUnit, Waits};

pub(super) fn of_unit(unit: &ExplainedUnit, now: Timestamp) -> String {
    let destination = &unit.destination;
    let due = unit.next_due.map_or_else(|| "?".to_owned(), |due| when(due, now));
    match unit.waits {
        Waits::Finished => "it is done with".to_owned(),
        Waits::ForReport => {
            "it is done with; the report to its sender is yet to be written".to_owned()
        }
        Waits::UnderWay => "it is being tried just now".to_owned(),
        Waits::ForOperator => "an operator holds it: `queue release` lets it go".to_owned(),
        Waits::ForRelease => {
            format!("its sender asked to hold it (FUTURERELEASE): it goes {due}")
        }
        Waits::ToFail => "an operator gave it up: its sender is told at the next turn".to_owned(),
        Waits::ForDestination => format!(
            "its destination is left alone, for {} failure(s) in a row: next try {due}; \
             `queue retry` tries at once",
            destination.failures
        ),
        Waits::ForCrowd => {
            format!("all connections to its servers are in use: next try {due}")
        }
        Waits::ForWindow => format!(
            "{} mails are under way to its destination, and no more may be: it goes when one has ended",
            destination.under_way
        ),
        Waits::ForRate => {
            let until = destination.rate_spent_until.map(|until| when(until, now));
            format!("the rate of its destination is spent: next try {}", until.unwrap_or(due))
        }
        Waits::ForSender => {
            "as many mails of its sender are under way as may be: it goes when one has ended"
                .to_owned()
        }
        Waits::ForSchedule => {
            format!("its own schedule, after {} attempt(s): next try {due}", unit.attempts.0)
        }
        Waits::ForTurn => "its turn, which has come: it is tried next".to_owned(),
    }
}

/// The same of a mail that would come now.
pub(super) fn of_new_mail(destination: &DestinationState) -> String {
    let at = |until: Timestamp| format!("not before {until:.0}");
    if let Some(until) = destination.rests_until {
        let failures = destination.failures;
        format!(
            "a new mail is tried {}: its destination is left alone, for {failures} failure(s) in a row",
            at(until)
        )
    } else if let Some(until) = destination.busy_until {
        format!("a new mail is tried {}: all connections to its servers are in use", at(until))
    } else if let Some(until) = destination.rate_spent_until {
        format!("a new mail is tried {}: the rate of its destination is spent", at(until))
    } else if destination.window.is_some_and(|window| destination.under_way >= window) {
        "a new mail is tried when one of those under way to its destination has ended".to_owned()
    } else {
        "a new mail is tried at once".to_owned()
    }
}

/// `2026-11-26T12:05:00Z (in 4m30s)`.
pub(super) fn when(due: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(due.duration_since(now)) {
        Ok(wait) if !wait.is_zero() => format!("{due:.0} (in {})", Span(wait)),
        _ => "now".to_owned(),
    }
}
