//! Which of the units that are due a claim takes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hedwig_envelope::{MailId, Timestamp};

use crate::{
    Claim,
    index::{Due, Index, Visit},
    leases::{LeaseStanding, Leases, UnitKey},
    pace::{Admission, Paces, Permit},
    schedule::later,
};

/// How many units one claim puts off at the most, so that others need not wait long for it.
const PUT_OFF_MAX: usize = 128;
/// A destination that is to wait for less is passed over, and its units are left as they are.
const SHORT: Duration = Duration::from_secs(60);
/// How long the units of a sender wait who has too many under way.
const SENDER_WAITS: Duration = Duration::from_secs(10);

/// What a claim goes by.
#[derive(Clone)]
pub(crate) enum Limits {
    /// As many of each destination as are asked for.
    Plain(Claim),
    /// So many, with contents of so many bytes, and of each destination as many as do well there.
    Paced { units_max: usize, content_bytes_max: u64, paces: Arc<Paces> },
}

impl Limits {
    /// How many bytes of contents may be in memory with what is claimed.
    pub(crate) fn content_bytes_max(&self) -> u64 {
        match self {
            Self::Plain(_) => u64::MAX,
            Self::Paced { content_bytes_max, .. } => *content_bytes_max,
        }
    }
}

/// A unit that was found.
pub(crate) struct FoundUnit {
    pub(crate) key: UnitKey,
    pub(crate) permit: Option<Permit>,
    pub(crate) sender: Option<Arc<str>>,
}

/// The units a claim has found so far.
pub(crate) struct Finding<'a> {
    leases: &'a Leases,
    now: Timestamp,
    limits: Limits,
    units: Vec<FoundUnit>,
    put_off: Vec<(MailId, u32, Timestamp)>,
    more: bool,
    wake: Option<Timestamp>,
    destinations: HashMap<String, usize>,
    senders: HashMap<Arc<str>, usize>,
}

/// What a claim found.
pub(crate) struct Finds {
    pub(crate) units: Vec<FoundUnit>,
    /// Units that are not to be tried before a time.
    pub(crate) put_off: Vec<(MailId, u32, Timestamp)>,
    /// Whether there are more to put off.
    pub(crate) put_off_more: bool,
    /// Whether there was more, which has to wait for what is under way.
    pub(crate) more: bool,
    /// When what was passed over may be tried.
    pub(crate) wake: Option<Timestamp>,
}

impl<'a> Finding<'a> {
    pub(crate) fn new(leases: &'a Leases, now: Timestamp, limits: Limits) -> Self {
        Self {
            leases,
            now,
            limits,
            units: Vec::new(),
            put_off: Vec::new(),
            more: false,
            wake: None,
            destinations: HashMap::new(),
            senders: HashMap::new(),
        }
    }

    pub(crate) fn visit(&mut self, index: &Index, due: &Due) -> Result<Visit, rusqlite::Error> {
        let standing = self.leases.standing((due.mail, due.number), self.now);
        if standing == LeaseStanding::Leased {
            return Ok(Visit::Leased);
        }
        match self.limits.clone() {
            Limits::Plain(claim) => Ok(self.visit_plain(claim, due, standing)),
            Limits::Paced { units_max, paces, .. } => {
                self.visit_paced(units_max, &paces, index, due)
            }
        }
    }

    pub(crate) fn finish(self) -> Finds {
        Finds {
            put_off_more: self.put_off.len() >= PUT_OFF_MAX,
            units: self.units,
            put_off: self.put_off,
            more: self.more,
            wake: self.wake,
        }
    }

    fn visit_plain(&mut self, claim: Claim, due: &Due, standing: LeaseStanding) -> Visit {
        // One whose lease ran out is counted among the busy, and would be again.
        let busy = self.leases.of_destination(&due.destination)
            - usize::from(standing == LeaseStanding::RunOut);
        let found = self.destinations.get(&due.destination).copied().unwrap_or(0);
        if busy + found >= claim.per_destination_max {
            self.more = true;
            return Visit::NextDestination;
        }
        if self.units.len() >= claim.units_max {
            self.more = true;
            return Visit::Stop;
        }
        *self.destinations.entry(due.destination.clone()).or_default() += 1;
        self.take(due, None, None);
        Visit::Leased
    }

    fn visit_paced(
        &mut self,
        units_max: usize,
        paces: &Arc<Paces>,
        index: &Index,
        due: &Due,
    ) -> Result<Visit, rusqlite::Error> {
        if self.units.len() >= units_max {
            self.more = true;
            return Ok(Visit::Stop);
        }
        let sender = match paces.per_sender_max() {
            usize::MAX => None,
            most => match self.sender(most, index, due)? {
                Ok(sender) => sender,
                Err(TooMany) => {
                    return self.wait(due, later(self.now, SENDER_WAITS), Duration::ZERO);
                }
            },
        };
        match paces.admit(&due.destination, self.now) {
            Admission::Go(permit) => {
                self.take(due, Some(permit), sender);
                Ok(Visit::Leased)
            }
            Admission::Full => {
                self.more = true;
                Ok(Visit::NextDestination)
            }
            Admission::Later(until) => self.wait(due, until, SHORT),
            Admission::Resting(until, answer) => {
                let deadline = index.deadline(due.mail, due.number)?;
                let deadline = deadline.and_then(|second| Timestamp::from_second(second).ok());
                let expires_at = paces.expires_at(due.mail);
                let at_latest = deadline.unwrap_or(Timestamp::MAX).min(expires_at);
                if at_latest <= self.now {
                    self.take(due, Some(Permit::TooLate(answer)), sender);
                    return Ok(Visit::Leased);
                }
                self.wait(due, until.min(at_latest), Duration::ZERO)
            }
        }
    }

    /// Lets a unit wait: by passing its destination over when that is no longer than `short`, or by putting it
    /// off.
    fn wait(
        &mut self,
        due: &Due,
        until: Timestamp,
        short: Duration,
    ) -> Result<Visit, rusqlite::Error> {
        self.wake = self.wake.into_iter().chain([until]).min();
        if until <= later(self.now, short) || self.put_off.len() >= PUT_OFF_MAX {
            return Ok(Visit::NextDestination);
        }
        self.put_off.push((due.mail, due.number, until));
        Ok(Visit::Next)
    }

    /// The sender of a unit, to be counted; unless it has too many under way.
    fn sender(
        &mut self,
        most: usize,
        index: &Index,
        due: &Due,
    ) -> Result<Result<Option<Arc<str>>, TooMany>, rusqlite::Error> {
        // Reports have no sender, and nobody floods the queue with them but the queue itself.
        let sender = index.sender(due.mail)?.filter(|sender| !sender.is_empty());
        let Some(sender) = sender else { return Ok(Ok(None)) };
        let found = self.senders.get(sender.as_str()).copied().unwrap_or(0);
        let busy = self.leases.of_sender(&sender);
        Ok(if busy + found >= most { Err(TooMany) } else { Ok(Some(sender.into())) })
    }

    fn take(&mut self, due: &Due, permit: Option<Permit>, sender: Option<Arc<str>>) {
        if let Some(sender) = &sender {
            *self.senders.entry(sender.clone()).or_default() += 1;
        }
        self.units.push(FoundUnit { key: (due.mail, due.number), permit, sender });
    }
}

struct TooMany;
