//! How far one mail has come at one destination.

use std::{borrow::Cow, sync::Arc};

use hedwig_envelope::{Content, Envelope, Outcome};
use hedwig_smtp::client::Transcript;

use crate::{MxOptions, policy::Wishes, word};

/// The recipients of one mail at one destination.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// With these recipients only.
    envelope: Envelope,
    pub(crate) content: Content,
    /// What its sender asks of TLS.
    pub(crate) wishes: Wishes,
    /// The final word on each recipient, as far as there is one.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// Why the servers tried so far are of no use: the weightiest reason, and of several the last. But one that says
    /// that a server could not be reached does not follow one of a server that could.
    reason: Option<(Weight, Outcome)>,
    /// How many more may be tried.
    pub(crate) addresses_left: usize,
    /// What is said to all servers that are tried.
    pub(crate) transcript: Transcript,
}

/// How much a reason counts for giving up, or not giving up, a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// A host has no address. It decides where there is no other host, and says nothing of one that we have no way to.
    NoAddress,
    /// We have no way to that address. It says nothing of the server, which may have others.
    NoWay,
    /// A server does not want us.
    Permanent,
    /// A server may want us later.
    Transient,
}

impl Transaction {
    pub(crate) fn new(envelope: Envelope, content: Content, options: &MxOptions) -> Self {
        Self {
            wishes: Wishes::of(&envelope, &content),
            outcomes: vec![None; envelope.recipients.len()],
            envelope,
            content,
            reason: None,
            addresses_left: options.addresses_max.max(1),
            transcript: Transcript::new(),
        }
    }

    /// Takes down why a server is of no use.
    pub(crate) fn note(&mut self, outcome: Outcome) {
        self.weigh_as_said(Weight::Permanent, outcome);
    }

    /// Takes down why the addresses of a host cannot be had.
    pub(crate) fn note_no_address(&mut self, outcome: Outcome) {
        self.weigh_as_said(Weight::NoAddress, outcome);
    }

    fn weigh_as_said(&mut self, permanent: Weight, outcome: Outcome) {
        let weight = if word::is_transient(&outcome) { Weight::Transient } else { permanent };
        self.weigh(weight, outcome);
    }

    pub(crate) fn weigh(&mut self, weight: Weight, outcome: Outcome) {
        self.transcript.note(&outcome.answer().reply);
        let is_weightier = self.reason.as_ref().is_none_or(|(known, reason)| {
            let reaches_less = outcome.answer().unreached && !reason.answer().unreached;
            weight > *known || weight == *known && !reaches_less
        });
        if is_weightier {
            self.reason = Some((weight, outcome));
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.outcomes.iter().any(Option::is_none)
    }

    /// The envelope with the recipients that still have no outcome, and where they stand.
    pub(crate) fn open_envelope(&self) -> (Cow<'_, Envelope>, Vec<usize>) {
        let is_open = |place: &usize| self.outcomes[*place].is_none();
        let places: Vec<usize> = (0..self.outcomes.len()).filter(is_open).collect();
        if places.len() == self.outcomes.len() {
            return (Cow::Borrowed(&self.envelope), places);
        }
        let recipients = places.iter().map(|&place| self.envelope.recipients[place].clone());
        let envelope = Envelope {
            sender: self.envelope.sender.clone(),
            parameters: self.envelope.parameters.clone(),
            recipients: recipients.collect(),
        };
        (Cow::Owned(envelope), places)
    }

    /// One outcome for each recipient: its own, or the reason why there is none, or `otherwise`.
    pub(crate) fn finish(self, otherwise: impl FnOnce() -> Outcome) -> Vec<Outcome> {
        let reason = self.reason.map_or_else(otherwise, |(_, reason)| reason);
        let outcomes = self.outcomes.into_iter().map(|own| own.unwrap_or_else(|| reason.clone()));
        // What went well nobody wonders about.
        let mut conversation = None;
        let recorded = outcomes.map(|outcome| match outcome {
            Outcome::Done(_) => outcome,
            other => {
                let said = || Arc::new(self.transcript.conversation());
                other.recorded(conversation.get_or_insert_with(said).clone())
            }
        });
        recorded.collect()
    }
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Address, ReversePath, Status};

    use super::*;

    fn said(reasons: &[(Weight, Status)]) -> Status {
        let outcome = |status| word::say(status, "no".into(), None);
        finished(reasons.iter().map(|(weight, status)| (*weight, outcome(*status)))).answer().status
    }

    fn finished(reasons: impl IntoIterator<Item = (Weight, Outcome)>) -> Outcome {
        let recipient: Address = "bob@example.com".parse().unwrap();
        let envelope = Envelope::new(ReversePath::Null, [recipient]);
        let mut mail = Transaction::new(envelope, Content::default(), &MxOptions::default());
        for (weight, outcome) in reasons {
            mail.weigh(weight, outcome);
        }
        mail.finish(|| word::loops_back("example.com")).remove(0)
    }

    #[test]
    fn the_weightiest_reason_is_told_and_of_equals_the_last() {
        let no_address = (Weight::NoAddress, Status::permanent(4, 4));
        let no_way = (Weight::NoWay, Status::transient(4, 1));
        let never = (Weight::Permanent, Status::permanent(7, 1));
        let later = (Weight::Transient, Status::transient(3, 2));
        let later_too = (Weight::Transient, Status::transient(4, 2));
        for (reasons, status) in [
            (vec![], Status::permanent(4, 6)),
            (vec![no_address], no_address.1),
            (vec![no_way], no_way.1),
            (vec![no_way, no_address], no_way.1),
            (vec![no_address, no_way], no_way.1),
            (vec![never, no_address], never.1),
            (vec![never, no_way], never.1),
            (vec![no_way, never], never.1),
            (vec![later, never, no_way], later.1),
            (vec![later, later_too], later_too.1),
        ] {
            assert_eq!(said(&reasons), status, "{reasons:?}");
        }
    }

    #[test]
    fn a_destination_with_a_server_that_could_be_reached_is_not_at_fault() {
        let broke_off = word::say(Status::transient(4, 2), "broke off".into(), None);
        let dead = word::say(Status::transient(4, 1), "dead".into(), None).unreached();
        for order in [[&broke_off, &dead], [&dead, &broke_off]] {
            let told = finished(order.map(|outcome| (Weight::Transient, outcome.clone())));
            assert!(!told.answer().unreached, "{told:?}");
        }
        let all_dead = [&dead, &dead].map(|outcome| (Weight::Transient, outcome.clone()));
        assert!(finished(all_dead).answer().unreached);
    }
}
