//! What Hedwig promises, stated once. It looks at the [`Evidence`] alone, so that it is the same for the
//! simulation and for real processes.
//!
//! 1. **250 means durable**: whoever was accepted is known to a queue ever after. ([`Breach::Lost`])
//! 2. **Nothing accepted is ever lost**: each accepted recipient has a copy, its sender has a report, or a
//!    queue has it still; and what a queue says is so. ([`Breach::SaidDelivered`], [`Breach::SaidFailed`],
//!    [`Breach::Changed`], [`Breach::Quarantined`]) A sender is told once, and the truth: who has a report failed in
//!    a queue, and for each time that one did there is one report. ([`Breach::ReportedFailed`],
//!    [`Breach::ReportedAgain`]) The clients' own count of whom they were told is accepted is the sum of the parts, and
//!    mailman counted no fewer mails. ([`Breach::Miscounted`], [`Breach::NotTaken`])
//! 3. **The hop is exactly-once**: the postoffice has no mail under two ids. ([`Breach::HopRepeated`])
//! 4. **One honest exception**: each copy is one that the queue knows to be delivered, or one of an attempt
//!    that it tells to be ambiguous (RFC 1047). ([`Breach::TooManyCopies`]) Whoever kills the postoffice in the
//!    middle of an attempt makes it ambiguous, also on a full disk; only after a power cut the mark may be missing.
//!    Reports are mails, and the same holds for their copies.
//! 5. **Nothing stays behind**: when all is mended and what an operator holds is released, every queue becomes empty by
//!    itself. ([`Breach::StillQueued`], [`Breach::HeldByNobody`]) [`check_settled`] asks for it, [`check`] does not.

use std::collections::{BTreeMap, BTreeSet};

use hedwig_envelope::{Address, MailStatus, RecipientStatus, State};

pub use crate::account::Account;
use crate::{
    account::Fate,
    evidence::{Evidence, MailNumber, number_of, sender_of},
};

/// How the promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// An accepted recipient is unknown to both queues.
    Lost(MailNumber, Address),
    /// A queue says delivered, and no server has a copy.
    SaidDelivered(MailNumber, Address),
    /// A queue has given a recipient up, and its sender has no report.
    SaidFailed(MailNumber, Address),
    /// A copy is not what was sent.
    Changed(MailNumber, Address),
    /// A spool has set a damaged place aside, and its disk never lost power.
    Quarantined(u64),
    /// The postoffice took one mail under several ids.
    HopRepeated(MailNumber, BTreeSet<String>),
    /// More copies than deliveries and ambiguous attempts.
    TooManyCopies(MailNumber, Address, Count),
    /// A copy of a mail that nobody has sent.
    OutOfNothing(MailNumber, Address),
    /// Its sender has a report of it, though no queue says failed or expired.
    ReportedFailed(MailNumber, Address),
    /// Its sender has so many different reports of it, more than queues have given it up.
    ReportedAgain(MailNumber, Address, usize),
    /// The sum of what became of the recipients is not what the clients counted.
    Miscounted {
        /// How many recipients clients were told are accepted, as they counted them.
        accepted: usize,
        /// How many the evidence accounts for.
        sum: usize,
    },
    /// Clients were told of more mails that they are taken than mailman counted.
    NotTaken {
        /// How many clients were told of.
        accepted: u64,
        /// How many mailman counted.
        taken: u64,
    },
    /// Still queued in this state, though all is mended. A report has the number of the mail that it tells of.
    StillQueued(Option<MailNumber>, Address, State),
    /// Held, and nobody did it.
    HeldByNobody(Option<MailNumber>, Address),
}

impl Breach {
    /// The mail to which it happened; nothing for damage to a whole spool.
    #[must_use]
    pub fn mail(&self) -> Option<MailNumber> {
        match self {
            Self::Quarantined(_) | Self::Miscounted { .. } | Self::NotTaken { .. } => None,
            Self::StillQueued(number, ..) | Self::HeldByNobody(number, _) => *number,
            Self::Lost(number, _)
            | Self::SaidDelivered(number, _)
            | Self::SaidFailed(number, _)
            | Self::Changed(number, _)
            | Self::HopRepeated(number, _)
            | Self::TooManyCopies(number, _, _)
            | Self::OutOfNothing(number, _)
            | Self::ReportedFailed(number, _)
            | Self::ReportedAgain(number, _, _) => Some(*number),
        }
    }
}

/// What is known of one recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many copies servers took.
    pub copies: usize,
    /// How many attempts the postoffice recorded as delivered.
    pub delivered: usize,
    /// How many attempts it recorded as ambiguous.
    pub ambiguous: usize,
    /// How many attempts the power cut short.
    pub power_went: usize,
}

/// Whether the promise was kept.
///
/// # Errors
/// With every breach of it.
pub fn check(evidence: &Evidence) -> Result<Account, Vec<Breach>> {
    let records = Records::of(evidence);
    let mut breaches = Vec::new();
    let mut account = Account { accepted: evidence.accepted, ..Account::default() };
    if evidence.quarantined > 0 {
        breaches.push(Breach::Quarantined(evidence.quarantined));
    }
    for (number, ids) in &records.ids {
        if ids.len() > 1 {
            breaches.push(Breach::HopRepeated(*number, ids.clone()));
        }
    }
    for copy in &evidence.copies {
        let submission = evidence.submissions.get(&copy.number);
        let was_sent = submission.is_some_and(|submission| {
            submission.accepted.iter().chain(&submission.not_accepted).any(|r| *r == copy.recipient)
        });
        if !was_sent {
            breaches.push(Breach::OutOfNothing(copy.number, copy.recipient.clone()));
        } else if !copy.intact {
            breaches.push(Breach::Changed(copy.number, copy.recipient.clone()));
        }
    }
    for (number, submission) in &evidence.submissions {
        for recipient in &submission.accepted {
            match records.fate(*number, recipient) {
                Ok(Some(fate)) => *account.part(fate) += 1,
                Ok(None) => breaches.push(Breach::Lost(*number, recipient.clone())),
                Err(breach) => breaches.push(breach),
            }
        }
        // Of these nothing was promised; but what became of them must be told truly.
        for recipient in &submission.not_accepted {
            breaches.extend(records.fate(*number, recipient).err());
        }
    }
    breaches.extend(records.reported_wrongly());
    let sum = account.sum();
    if breaches.is_empty() && sum != account.accepted {
        breaches.push(Breach::Miscounted { accepted: account.accepted, sum });
    }
    let accepted = evidence.submissions.values().filter(|s| !s.accepted.is_empty()).count() as u64;
    if let Some(taken) = evidence.taken.filter(|taken| *taken < accepted) {
        breaches.push(Breach::NotTaken { accepted, taken });
    }
    if breaches.is_empty() { Ok(account) } else { Err(breaches) }
}

/// As [`check`], and nobody waits any more but those who are `held`; see [`unsettled`].
///
/// # Errors
/// With every breach of both.
pub fn check_settled(
    evidence: &Evidence,
    held: impl Fn(&Address) -> bool,
) -> Result<Account, Vec<Breach>> {
    let unsettled = unsettled(evidence, held);
    match check(evidence) {
        Ok(account) if unsettled.is_empty() => Ok(account),
        Ok(_) => Err(unsettled),
        Err(breaches) => Err([breaches, unsettled].concat()),
    }
}

/// Who waits still, reports too, when nothing goes on by itself any more and all is mended. Those may be `held` whom
/// somebody has held.
pub fn unsettled(evidence: &Evidence, held: impl Fn(&Address) -> bool) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for status in evidence.mailman.iter().chain(&evidence.postoffice) {
        for recipient in status.recipients.iter().filter(|recipient| !recipient.state.is_final()) {
            let address = recipient.address.clone();
            let number = number(status).or_else(|| number_of(address.as_str()));
            match recipient.state {
                State::Held if held(&address) => {}
                State::Held => breaches.push(Breach::HeldByNobody(number, address)),
                state => breaches.push(Breach::StillQueued(number, address, state)),
            }
        }
    }
    breaches
}

type Key = (MailNumber, Address);

/// The evidence, by recipient.
#[derive(Default)]
struct Records<'a> {
    mailman: BTreeMap<Key, Vec<&'a RecipientStatus>>,
    postoffice: BTreeMap<Key, Vec<&'a RecipientStatus>>,
    ids: BTreeMap<MailNumber, BTreeSet<String>>,
    copies: BTreeMap<Key, usize>,
    power_went: BTreeMap<Key, usize>,
    /// Which reports tell of a recipient, each by its `Message-ID`.
    reports: BTreeMap<Key, BTreeSet<&'a str>>,
    /// The reports in the postoffice, by whom they go to.
    to_senders: BTreeMap<Key, Vec<&'a RecipientStatus>>,
}

impl<'a> Records<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let mut records = Self::default();
        gather(&evidence.mailman, &mut records.mailman);
        gather(&evidence.postoffice, &mut records.postoffice);
        for status in &evidence.postoffice {
            if let Some(number) = number(status) {
                records.ids.entry(number).or_default().insert(status.id.to_string());
            }
        }
        for copy in &evidence.copies {
            records.ids.entry(copy.number).or_default().insert(copy.taken_as.clone());
            *records.copies.entry((copy.number, copy.recipient.clone())).or_default() += 1;
        }
        for key in &evidence.power_went_during {
            *records.power_went.entry(key.clone()).or_default() += 1;
        }
        for report in &evidence.reports {
            for recipient in &report.failed {
                let reports = records.reports.entry((report.number, recipient.clone()));
                reports.or_default().insert(&report.message_id);
            }
            if let Some(key) = to_sender(report.number) {
                *records.copies.entry(key).or_default() += 1;
            }
        }
        let reports = evidence.postoffice.iter().filter(|status| status.sender.address().is_none());
        for recipient in reports.flat_map(|status| &status.recipients) {
            let Some(number) = number_of(recipient.address.as_str()) else { continue };
            let key = (number, recipient.address.clone());
            records.to_senders.entry(key).or_default().push(recipient);
        }
        records
    }

    /// What became of a recipient, `None` when nobody knows of it.
    fn fate(&self, number: MailNumber, recipient: &Address) -> Result<Option<Fate>, Breach> {
        let key = (number, recipient.clone());
        let at = |queue: &BTreeMap<Key, Vec<&'a RecipientStatus>>| {
            queue.get(&key).cloned().unwrap_or_default()
        };
        let (here, there) = (at(&self.mailman), at(&self.postoffice));
        let count = self.count(&key, &there);
        let marked = count.delivered + count.ambiguous;
        if count.copies > marked + count.power_went {
            return Err(Breach::TooManyCopies(number, recipient.clone(), count));
        }
        if count.delivered > 0 && count.copies == 0 {
            return Err(Breach::SaidDelivered(number, recipient.clone()));
        }
        let bounced = self.given_up(&key) > 0;
        if bounced && !self.reports.contains_key(&key) {
            return Err(Breach::SaidFailed(number, recipient.clone()));
        }
        let waiting = here.iter().chain(&there).any(|status| !status.state.is_final());
        Ok(match (waiting, count.delivered > 0, bounced) {
            (true, false, false) => Some(Fate::Queued),
            (_, true, _) if count.copies == 1 => Some(Fate::DeliveredOnce),
            (_, true, _) if count.copies > marked => Some(Fate::AgainAfterPowerCut),
            (_, true, _) => Some(Fate::DeliveredAgain),
            (_, false, true) if count.copies > 0 => Some(Fate::BouncedThoughTaken),
            (_, false, true) => Some(Fate::Bounced),
            (false, false, false) => None,
        })
    }

    /// How often queues have given a recipient up.
    fn given_up(&self, key: &Key) -> usize {
        let given_up =
            |status: &&&RecipientStatus| matches!(status.state, State::Failed | State::Expired);
        let queues = [&self.mailman, &self.postoffice];
        queues.iter().filter_map(|queue| queue.get(key)).flatten().filter(given_up).count()
    }

    /// What a sender was told that is not so, or too often. A report is in one commit with what it tells of, so that
    /// no power cut parts them.
    fn reported_wrongly(&self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for (key, reports) in &self.reports {
            let (given_up, (number, recipient)) = (self.given_up(key), key.clone());
            if given_up == 0 {
                breaches.push(Breach::ReportedFailed(number, recipient));
            } else if reports.len() > given_up {
                breaches.push(Breach::ReportedAgain(number, recipient, reports.len()));
            }
        }
        for key in self.copies.keys().chain(self.to_senders.keys()).collect::<BTreeSet<_>>() {
            let (number, sender) = key.clone();
            if to_sender(number).as_ref() != Some(key) {
                continue;
            }
            let count = self.count(key, self.to_senders.get(key).map_or(&[], Vec::as_slice));
            if count.copies > count.delivered + count.ambiguous + count.power_went {
                breaches.push(Breach::TooManyCopies(number, sender, count));
            } else if count.delivered > count.copies {
                breaches.push(Breach::SaidDelivered(number, sender));
            }
        }
        breaches
    }

    fn count(&self, key: &Key, there: &[&RecipientStatus]) -> Count {
        let attempts = || there.iter().flat_map(|status| &status.attempts);
        let delivered = there.iter().filter(|status| status.state == State::Delivered).count();
        Count {
            copies: self.copies.get(key).copied().unwrap_or(0),
            delivered,
            power_went: self.power_went.get(key).copied().unwrap_or(0),
            ambiguous: attempts().filter(|attempt| attempt.ambiguous).count(),
        }
    }
}

fn gather<'a>(statuses: &'a [MailStatus], into: &mut BTreeMap<Key, Vec<&'a RecipientStatus>>) {
    for status in statuses {
        let Some(number) = number(status) else { continue };
        for recipient in &status.recipients {
            into.entry((number, recipient.address.clone())).or_default().push(recipient);
        }
    }
}

/// The number of a mail in a queue; `None` for a report, which the null sender sends.
fn number(status: &MailStatus) -> Option<MailNumber> {
    number_of(status.sender.address()?.as_str())
}

/// A report to the sender of a mail.
fn to_sender(number: MailNumber) -> Option<Key> {
    Some((number, sender_of(number).parse().ok()?))
}
