//! What a spool promises, and the one checker of it. Every test that cuts the power, fails a call or damages
//! a file asks it, and `docs/durability.md` repeats its words.
//!
//! 1. **Kept.** What was acknowledged is there, in the state that was acknowledged or a later one.
//! 2. **Whole.** It is what was sent: every recipient, every octet.
//! 3. **Once.** What was not acknowledged is there once and whole, or not at all; nothing is there twice, and
//!    nothing that nobody sent.
//! 4. **Settled.** A recipient whose end was acknowledged is not tried again.
//! 5. **Together.** A failure is owed a report or has it: never neither, and never both.
//! 6. **Known.** An idempotency key that was answered is answered with the same id.
//! 7. **Counted.** What is counted is what is seen when each mail is looked at; what cannot be read is in
//!    quarantine, octet for octet, and counted there.
//! 8. **Behind.** The index knows nothing that is not durable in the log.
//!
//! Mails whose retention is over may be forgotten; nothing else may. The eighth is checked where the index
//! is (`tests/suite/index.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hedwig_envelope::{Address, Mail, MailId, State};
use hedwig_spool::{Claim, Filter, Selection, Spool};

use super::at;

/// What a spool has promised so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// The mails that were acknowledged.
    pub(crate) mails: BTreeMap<MailId, Accepted>,
    /// Mails that were refused.
    pub(crate) refused: BTreeMap<MailId, Mail>,
    /// Reports that a failure was to bring: whose, which recipient's, and the report.
    pub(crate) reports: Vec<(MailId, Address, Mail)>,
    /// Failures that were to be owed a report: whose, and which recipient's.
    pub(crate) owed: BTreeSet<(MailId, Address)>,
    /// Reports that were to tell of them, all or none: whose, and of which recipients.
    pub(crate) told: Vec<(MailId, Vec<Address>, Vec<Mail>)>,
    /// How many calls failed.
    pub(crate) failures: usize,
}

/// A mail that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) mail: Mail,
    /// What was promised of each recipient since.
    pub(crate) recipients: Vec<Promised>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promised {
    Waits,
    /// It waits, and that it was tried is known.
    Deferred,
    Settled(State),
    /// The call that was to settle it failed: it may have been or not.
    Unknown,
}

impl Promised {
    fn waits(self) -> bool {
        matches!(self, Self::Waits | Self::Deferred)
    }
}

impl Promises {
    pub(crate) fn accepted(&mut self, mail: Mail) {
        let recipients = vec![Promised::Waits; mail.envelope.recipients.len()];
        self.refused.remove(&mail.id);
        self.mails.insert(mail.id, Accepted { mail, recipients });
    }

    pub(crate) fn refused(&mut self, mail: Mail) {
        self.failures += 1;
        self.refused.insert(mail.id, mail);
    }

    /// A mail was offered: though its sender was told that it was not taken, it is there from now on.
    pub(crate) fn offered(&mut self, id: MailId) {
        if self.mails.contains_key(&id) {
            return;
        }
        let sent = self.refused.get(&id).or(self.report(id)).cloned();
        self.accepted(sent.unwrap_or_else(|| panic!("once: nobody sent {id}")));
    }

    fn report(&self, id: MailId) -> Option<&Mail> {
        let told = self.told.iter().flat_map(|(.., reports)| reports);
        self.reports.iter().map(|(.., report)| report).chain(told).find(|report| report.id == id)
    }

    /// Notes what is promised of these recipients of a mail now.
    pub(crate) fn promise(&mut self, id: MailId, of: &[&Address], promised: Promised) {
        let Some(accepted) = self.mails.get_mut(&id) else { return };
        for (place, recipient) in accepted.mail.envelope.recipients.iter().enumerate() {
            if of.contains(&&recipient.address) {
                accepted.recipients[place] = promised;
            }
        }
    }

    /// The oldest mail of which every recipient waits.
    pub(crate) fn oldest_waiting(&self) -> Option<MailId> {
        let waits = |accepted: &&Accepted| accepted.recipients.iter().all(|p| p.waits());
        self.mails.values().find(waits).map(|accepted| accepted.mail.id)
    }
}

/// How strictly a spool is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leniency {
    /// Finished mails may be past their retention.
    pub(crate) forgets: bool,
}

/// Asks a spool that was opened again for all that was promised, and settles nothing of it.
pub(crate) async fn check(spool: &Spool, promises: &Promises, leniency: Leniency, story: &str) {
    for accepted in promises.mails.values() {
        check_kept(spool, accepted, leniency, story).await;
    }
    for refused in promises.refused.values() {
        let status = spool.show(refused.id).await.unwrap();
        let waits =
            status.is_none_or(|status| status.recipients.iter().all(|r| !r.state.is_final()));
        assert!(waits, "{story}: once: {} was refused, and has come to an end", refused.id);
    }
    check_together(spool, promises, leniency, story).await;
    check_known(spool, promises, leniency, story).await;
    check_counted(spool, story).await;
    check_untold(spool, promises, story).await;
    check_claims(spool, promises, story).await;
}

async fn check_kept(spool: &Spool, accepted: &Accepted, leniency: Leniency, story: &str) {
    let id = accepted.mail.id;
    let status = spool.show(id).await.unwrap();
    let Some(status) = status else {
        let may_be_gone = accepted.recipients.iter().all(|p| !p.waits());
        assert!(leniency.forgets && may_be_gone, "{story}: kept: {id} is gone");
        return;
    };
    assert_eq!(status.recipients.len(), accepted.recipients.len(), "{story}: whole: {id}");
    for (recipient, promised) in status.recipients.iter().zip(&accepted.recipients) {
        let (state, address) = (recipient.state, &recipient.address);
        let holds = match promised {
            Promised::Waits => !state.is_final(),
            Promised::Deferred => !state.is_final() && !recipient.attempts.is_empty(),
            Promised::Settled(settled) => state == *settled,
            Promised::Unknown => true,
        };
        assert!(holds, "{story}: kept: {address} of {id} should be {promised:?} and is {state:?}");
    }
}

async fn check_together(spool: &Spool, promises: &Promises, leniency: Leniency, story: &str) {
    for (id, address, report) in &promises.reports {
        let Some(status) = spool.show(*id).await.unwrap() else { continue };
        let failed = status
            .recipients
            .iter()
            .any(|recipient| recipient.address == *address && recipient.state == State::Failed);
        let reported = spool.show(report.id).await.unwrap().is_some();
        let forgotten = leniency.forgets && failed;
        assert!(
            failed == reported || forgotten,
            "{story}: together: {address} of {id} failed: {failed}, reported: {reported}"
        );
    }
    for (id, address) in &promises.owed {
        let Some(status) = spool.show(*id).await.unwrap() else { continue };
        let recipient = status.recipients.iter().find(|r| r.address == *address).unwrap();
        let (mut reports, mut tried) = (usize::from(recipient.report_due), false);
        for (_, _, told) in promises
            .told
            .iter()
            .filter(|(of, addresses, _)| of == id && addresses.contains(address))
        {
            tried = true;
            let mut there = 0;
            for report in told {
                there += usize::from(spool.show(report.id).await.unwrap().is_some());
            }
            let all_or_none = there == 0 || there == told.len() || leniency.forgets;
            assert!(all_or_none, "{story}: together: {there} reports of {address} of {id}");
            reports += usize::from(there > 0);
        }
        let wanted = usize::from(recipient.state == State::Failed);
        let forgotten = leniency.forgets && tried && reports < wanted;
        assert!(
            reports == wanted || forgotten,
            "{story}: together: {address} of {id} is {:?}, with {reports} reports owed or there",
            recipient.state
        );
    }
}

/// Asks for what is to be told: all of it can be, and its mails are whole.
async fn check_untold(spool: &Spool, promises: &Promises, story: &str) {
    let untold = spool.claim_untold(at(100_000), Duration::ZERO, 1000).await.unwrap();
    assert_eq!(untold.len() as u64, spool.untold().await.unwrap(), "{story}: untold");
    let mut due = BTreeSet::new();
    for untold in &untold {
        let sent = &promises.mails[&untold.mail.id].mail;
        assert_eq!(untold.mail, *sent, "{story}: whole: {}, to be told of", sent.id);
        due.extend(
            untold
                .owed
                .iter()
                .map(|(place, _)| (sent.id, sent.envelope.recipients[*place].address.clone())),
        );
    }
    for (id, address) in &promises.owed {
        let Some(status) = spool.show(*id).await.unwrap() else { continue };
        let recipient = status.recipients.iter().find(|r| r.address == *address).unwrap();
        let is_due = due.contains(&(*id, address.clone()));
        assert_eq!(recipient.report_due, is_due, "{story}: together: {address} of {id} is told");
    }
}

async fn check_known(spool: &Spool, promises: &Promises, leniency: Leniency, story: &str) {
    for accepted in promises.mails.values() {
        let may_be_gone = accepted.recipients.iter().all(|p| !p.waits());
        if may_be_gone && leniency.forgets {
            continue;
        }
        let mut again = accepted.mail.clone();
        again.id = super::id(9999);
        let known = spool.commit(again).await.unwrap().id;
        assert_eq!(known, accepted.mail.id, "{story}: known: its key stands for another mail");
    }
    for refused in promises.refused.values() {
        if spool.show(refused.id).await.unwrap().is_none() {
            continue;
        }
        // Whoever was told no sends it again: under another id, and with its key.
        let mut again = refused.clone();
        again.id = super::id(9998);
        let known = spool.commit(again).await.unwrap().id;
        assert_eq!(known, refused.id, "{story}: once: it is there, and taken once more");
    }
}

/// What is counted is what a look at every mail gives.
pub(crate) async fn check_counted(spool: &Spool, story: &str) {
    let counts = spool.counts().await.unwrap();
    let everything = Filter { finished: true, ..Filter::default() };
    let mut seen = BTreeMap::<String, u64>::new();
    for status in spool.list(&everything).await.unwrap() {
        for recipient in status.recipients {
            *seen.entry(format!("{:?}", recipient.state)).or_default() += 1;
        }
    }
    let counted: BTreeMap<_, _> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| (format!("{state:?}"), count))
        .collect();
    assert_eq!(counted, seen, "{story}: counted");
}

/// Claims everything: what waits is offered once and whole, and nothing else is.
async fn check_claims(spool: &Spool, promises: &Promises, story: &str) {
    spool.release(&Selection::All).await.unwrap();
    let claimed = spool.claim(at(100_000), Claim::up_to(1000)).await.unwrap();
    let mut offered = BTreeSet::new();
    for lease in &claimed.leases {
        let id = lease.mail.id;
        let accepted = promises.mails.get(&id);
        let sent = accepted.map(|a| &a.mail).or(promises.refused.get(&id)).or(promises.report(id));
        let sent = sent.unwrap_or_else(|| panic!("{story}: once: nobody sent {id}"));
        assert_eq!(lease.mail.content, sent.content, "{story}: whole: {id}");
        assert_eq!(lease.mail.envelope.sender, sent.envelope.sender, "{story}: whole: {id}");
        assert_eq!(lease.mail.origin, sent.origin, "{story}: whole: {id}");
        let (parameters, wanted) = (&lease.mail.envelope.parameters, &sent.envelope.parameters);
        assert_eq!(parameters, wanted, "{story}: whole: {id}");
        for recipient in &lease.mail.envelope.recipients {
            let place = sent.envelope.recipients.iter().position(|other| other == recipient);
            let place = place.unwrap_or_else(|| panic!("{story}: whole: {id}: {recipient:?}"));
            let twice = !offered.insert((id, place));
            assert!(!twice, "{story}: once: {id} is offered twice to {recipient:?}");
            let promised = accepted.map(|accepted| accepted.recipients[place]);
            let settled = matches!(promised, Some(Promised::Settled(_)));
            assert!(!settled, "{story}: settled: {id} is tried again: {recipient:?}");
        }
    }
    for (id, accepted) in &promises.mails {
        for (place, promised) in accepted.recipients.iter().enumerate() {
            let missing = promised.waits() && !offered.contains(&(*id, place));
            assert!(!missing, "{story}: kept: recipient {place} of {id} is never tried");
        }
    }
}
