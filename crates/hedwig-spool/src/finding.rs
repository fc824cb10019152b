//! Which of the units that are due a claim takes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hedwig_envelope::{MailId, Timestamp};

use crate::{
    Claim,
    cache::Cache,
    holding::{HeldMail, Holding},
    index::{Due, Index, Visit},
    leases::{LeaseStanding, Leases, UnitKey},
    log::Position,
    pace::{Admission, Paces, Permit},
    schedule::later,
};

/// How many units one claim puts off at the most, so that others need not wait long for it.
const PUT_OFF_MAX: usize = 128;
/// A destination that is to wait for less is passed over, and its units are left as they are.
const SHORT: Duration = Duration::from_secs(60);
/// So many units without room for their contents are passed over by one claim.
const PASSED_OVER_MAX: usize = 1024;
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

/// A unit that was found.
pub(crate) struct FoundUnit {
    pub(crate) key: UnitKey,
    pub(crate) permit: Option<Permit>,
    pub(crate) sender: Option<Arc<str>>,
    pub(crate) mail: HeldMail,
}

/// Where the mails of units are to be had, and what may be in memory of them.
#[derive(Clone, Copy)]
pub(crate) struct Mails<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) holding: &'a Arc<Holding>,
}

impl Mails<'_> {
    /// A mail, if there is one and room for its content.
    fn hold(
        self,
        index: &Index,
        mail: MailId,
        bytes_max: u64,
    ) -> Result<Option<HeldMail>, rusqlite::Error> {
        let cached = self.cache.get(mail).cloned();
        let (position, bytes) = match &cached {
            Some(mail) => (Position::default(), mail.content.len() as u64),
            None => match index.mail(mail)? {
                Some(row) => (row.position, row.size),
                None => return Ok(None),
            },
        };
        let held = self.holding.hold(mail, bytes, bytes_max);
        Ok(held.map(|held| HeldMail { held, cached, position }))
    }
}

/// The units a claim has found so far.
pub(crate) struct Finding<'a> {
    leases: &'a Leases,
    mails: Mails<'a>,
    now: Timestamp,
    limits: Limits,
    units: Vec<FoundUnit>,
    /// The mails that there is no room for.
    no_room: HashSet<MailId>,
    passed_over: usize,
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
    pub(crate) fn new(
        leases: &'a Leases,
        mails: Mails<'a>,
        now: Timestamp,
        limits: Limits,
    ) -> Self {
        Self {
            leases,
            mails,
            now,
            limits,
            units: Vec::new(),
            no_room: HashSet::new(),
            passed_over: 0,
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
            Limits::Plain(claim) => self.visit_plain(claim, index, due, standing),
            Limits::Paced { units_max, content_bytes_max, paces } => {
                self.visit_paced(units_max, content_bytes_max, &paces, index, due)
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

    fn visit_plain(
        &mut self,
        claim: Claim,
        index: &Index,
        due: &Due,
        standing: LeaseStanding,
    ) -> Result<Visit, rusqlite::Error> {
        // One whose lease ran out is counted among the busy, and would be again.
        let busy = self.leases.of_destination(&due.destination)
            - usize::from(standing == LeaseStanding::RunOut);
        let found = self.destinations.get(&due.destination).copied().unwrap_or(0);
        if busy + found >= claim.per_destination_max {
            self.more = true;
            return Ok(Visit::NextDestination);
        }
        if self.units.len() >= claim.units_max {
            self.more = true;
            return Ok(Visit::Stop);
        }
        let Some(mail) = self.mails.hold(index, due.mail, u64::MAX)? else {
            return Ok(Visit::Next);
        };
        *self.destinations.entry(due.destination.clone()).or_default() += 1;
        self.take(due, None, None, mail);
        Ok(Visit::Leased)
    }

    fn visit_paced(
        &mut self,
        units_max: usize,
        content_bytes_max: u64,
        paces: &Arc<Paces>,
        index: &Index,
        due: &Due,
    ) -> Result<Visit, rusqlite::Error> {
        if self.units.len() >= units_max {
            self.more = true;
            return Ok(Visit::Stop);
        }
        if self.no_room.contains(&due.mail) {
            return Ok(self.pass_over(due));
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
        let mails = self.mails;
        let hold = || mails.hold(index, due.mail, content_bytes_max);
        match paces.admit(&due.destination, self.now, hold)? {
            Admission::Go(permit, mail) => {
                self.take(due, Some(permit), sender, mail);
                Ok(Visit::Leased)
            }
            Admission::NoRoom => Ok(self.pass_over(due)),
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
                    let Some(mail) = hold()? else { return Ok(self.pass_over(due)) };
                    self.take(due, Some(Permit::TooLate(answer)), sender, mail);
                    return Ok(Visit::Leased);
                }
                self.wait(due, until.min(at_latest), Duration::ZERO)
            }
        }
    }

    /// Goes on without a unit whose content there is no room for: others may have some.
    fn pass_over(&mut self, due: &Due) -> Visit {
        self.more = true;
        self.no_room.insert(due.mail);
        self.passed_over += 1;
        if self.passed_over < PASSED_OVER_MAX { Visit::Next } else { Visit::Stop }
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

    fn take(
        &mut self,
        due: &Due,
        permit: Option<Permit>,
        sender: Option<Arc<str>>,
        mail: HeldMail,
    ) {
        if let Some(sender) = &sender {
            *self.senders.entry(sender.clone()).or_default() += 1;
        }
        self.units.push(FoundUnit { key: (due.mail, due.number), permit, sender, mail });
    }
}

struct TooMany;
