//! What Hedwig promises, stated once. It looks at the [`Evidence`] alone, so that it is the same for the
//! simulation and for real processes.
//!
//! 1. **250 means durable**: whoever was accepted is known to a queue ever after. ([`Breach::Lost`])
//! 2. **Nothing accepted is ever lost**: each accepted recipient has a copy, its sender has a report, or a
//!    queue has it still; and what a queue says is so. ([`Breach::SaidDelivered`], [`Breach::SaidFailed`],
//!    [`Breach::Changed`], [`Breach::Quarantined`])
//! 3. **The hop is exactly-once**: the postoffice has no mail under two ids. ([`Breach::HopRepeated`])
//! 4. **One honest exception**: each copy is one that the queue knows to be delivered, or one of an attempt
//!    that it tells to be ambiguous (RFC 1047). ([`Breach::TooManyCopies`]) Whoever kills the postoffice in the
//!    middle of an attempt makes it ambiguous, also on a full disk; only after a power cut the mark may be missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use hedwig_envelope::{Address, MailStatus, RecipientStatus, State};

use crate::evidence::{Evidence, MailNumber, number_of};

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
}

impl Breach {
    /// The mail to which it happened; nothing for damage to a whole spool.
    #[must_use]
    pub fn mail(&self) -> Option<MailNumber> {
        match self {
            Self::Quarantined(_) => None,
            Self::Lost(number, _)
            | Self::SaidDelivered(number, _)
            | Self::SaidFailed(number, _)
            | Self::Changed(number, _)
            | Self::HopRepeated(number, _)
            | Self::TooManyCopies(number, _, _)
            | Self::OutOfNothing(number, _) => Some(*number),
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

/// What became of all accepted recipients. The sum of the parts is the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// All of them.
    pub accepted: usize,
    /// One copy, and known to be delivered.
    pub delivered_once: usize,
    /// Delivered, and a copy more for an attempt that is marked ambiguous.
    pub delivered_again: usize,
    /// Delivered, and a copy more for an attempt that a power cut ended and took the mark of.
    pub again_after_power_cut: usize,
    /// The sender has a report; no server has a copy.
    pub bounced: usize,
    /// The sender has a report; a server has a copy of an attempt that is marked ambiguous.
    pub bounced_though_taken: usize,
    /// A queue has it still.
    pub queued: usize,
}

impl Account {
    /// The sum of the parts.
    #[must_use]
    pub fn sum(&self) -> usize {
        self.delivered_once
            + self.delivered_again
            + self.again_after_power_cut
            + self.bounced
            + self.bounced_though_taken
            + self.queued
    }

    /// Adds another account to this one.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered_once += other.delivered_once;
        self.delivered_again += other.delivered_again;
        self.again_after_power_cut += other.again_after_power_cut;
        self.bounced += other.bounced;
        self.bounced_though_taken += other.bounced_though_taken;
        self.queued += other.queued;
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("accepted recipients", self.accepted),
            ("delivered once", self.delivered_once),
            ("delivered again, marked ambiguous", self.delivered_again),
            ("delivered again, unmarked after a power cut", self.again_after_power_cut),
            ("bounced, the sender was told", self.bounced),
            ("bounced, though a server took it; marked ambiguous", self.bounced_though_taken),
            ("still queued", self.queued),
            ("sum of these", self.sum()),
        ] {
            writeln!(f, "{count:>10}  {what}")?;
        }
        Ok(())
    }
}

/// Whether the promise was kept.
///
/// # Errors
/// With every breach of it.
pub fn check(evidence: &Evidence) -> Result<Account, Vec<Breach>> {
    let records = Records::of(evidence);
    let mut breaches = Vec::new();
    let mut account = Account::default();
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
            account.accepted += 1;
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
    if breaches.is_empty() { Ok(account) } else { Err(breaches) }
}

#[derive(Clone, Copy)]
enum Fate {
    DeliveredOnce,
    DeliveredAgain,
    AgainAfterPowerCut,
    Bounced,
    BouncedThoughTaken,
    Queued,
}

impl Account {
    fn part(&mut self, fate: Fate) -> &mut usize {
        match fate {
            Fate::DeliveredOnce => &mut self.delivered_once,
            Fate::DeliveredAgain => &mut self.delivered_again,
            Fate::AgainAfterPowerCut => &mut self.again_after_power_cut,
            Fate::Bounced => &mut self.bounced,
            Fate::BouncedThoughTaken => &mut self.bounced_though_taken,
            Fate::Queued => &mut self.queued,
        }
    }
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
    reports: BTreeSet<Key>,
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
            records.reports.extend(report.failed.iter().map(|r| (report.number, r.clone())));
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
        let given_up =
            |status: &&RecipientStatus| matches!(status.state, State::Failed | State::Expired);
        let bounced = here.iter().chain(&there).any(given_up);
        if bounced && !self.reports.contains(&key) {
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
