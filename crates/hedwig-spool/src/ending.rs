//! What an attempt came to: who is to blame, and our own words. Pure.

use hedwig_envelope::{Answer, Outcome, Refusal, RefusalKind, Reply, Status};

/// The code of a server that closes the connection (RFC 5321 §3.8).
const SERVICE_NOT_AVAILABLE: u16 = 421;

/// What an attempt says of its destination.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Showing<'a> {
    /// It talks with us, whatever it says of the mail.
    Well,
    /// It broke off.
    CutShort,
    /// It is at fault, as this says.
    AtFault(&'a Answer),
}

/// What these outcomes say of the destination.
pub(crate) fn showing(outcomes: &[Outcome]) -> Showing<'_> {
    let unreached = outcomes.iter().all(|outcome| outcome.answer().unreached);
    if let (true, Some(first)) = (unreached, outcomes.first()) {
        return Showing::AtFault(first.answer());
    }
    let cut_short = |outcome: &Outcome| match outcome {
        // RFC 3463 §3.5: what is wrong with the connection.
        Outcome::Deferred(answer) => {
            answer.status.subject == 4 || answer.reply.code() == SERVICE_NOT_AVAILABLE
        }
        _ => false,
    };
    if outcomes.iter().any(cut_short) { Showing::CutShort } else { Showing::Well }
}

/// Whether a refusal says that any other mail would fare the same.
pub(crate) fn is_of_destination(refusal: &Refusal) -> bool {
    matches!(refusal.kind, RefusalKind::Unavailable | RefusalKind::NoSpace)
}

/// An error means that nothing is known to have happened, so the mail waits, whatever the refusal says
/// to the client that it was meant for: that one is long gone.
pub(crate) fn outcome_of(refusal: &Refusal) -> Outcome {
    if refusal.reply.is_transient() {
        return Outcome::of_reply(refusal.reply.clone(), None);
    }
    let text = refusal.reply.text().to_owned();
    let mended = Refusal::new(RefusalKind::Unavailable, text);
    Outcome::of_reply(mended.reply, None)
}

/// RFC 2852 §4.1.3: it was to be returned when it could not be delivered in time.
pub(crate) fn returned() -> Outcome {
    let text = "Not delivered within the time that its sender gave it";
    Outcome::of_reply(Reply::with_status(554, Status::permanent(4, 7), text), None)
}

/// RFC 2852 §4.1.3: its sender is told that it could not be delivered in time; with the last word of the
/// other side.
pub(crate) fn late(last: &Answer) -> Answer {
    let status = Status::transient(4, 7);
    let text = format!(
        "Not yet delivered, though the time that its sender gave it is over; the last answer: {}",
        last.reply
    );
    let reply = Reply::with_status(451, status, text);
    Answer { status, reply, ..last.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: u16, status: Status) -> Outcome {
        Outcome::of_reply(Reply::with_status(code, status, "said"), None)
    }

    #[test]
    fn a_destination_is_at_fault_when_it_is_for_every_recipient() {
        let unreached = outcome(451, Status::transient(4, 1)).unreached();
        let busy = outcome(450, Status::transient(2, 1));
        let both = [unreached.clone(), busy];
        assert!(matches!(showing(&[unreached.clone(), unreached]), Showing::AtFault(_)));
        assert_eq!(showing(&both), Showing::CutShort);
        assert_eq!(showing(&both[1..]), Showing::Well);
    }

    #[test]
    fn a_goodbye_in_the_middle_is_a_sign_of_too_much() {
        assert_eq!(showing(&[outcome(421, Status::transient(3, 2))]), Showing::CutShort);
        assert_eq!(showing(&[outcome(550, Status::permanent(4, 1))]), Showing::Well);
    }

    #[test]
    fn what_is_late_says_so_and_what_was_said_last() {
        let last = outcome(450, Status::transient(2, 1));
        let late = late(last.answer());
        assert_eq!(late.status, Status::transient(4, 7));
        assert!(late.reply.text().ends_with("450 4.2.1 said"), "{}", late.reply);
    }
}
