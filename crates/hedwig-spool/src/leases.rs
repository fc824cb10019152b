//! Who tries what just now. Only in memory: the spool has one process, and with it its leases end.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hedwig_envelope::{MailId, State, Timestamp};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::{Counts, schedule::later, state::Unit};

pub(crate) type UnitKey = (MailId, u32);

#[derive(Default)]
pub(crate) struct Leases {
    granted: HashMap<UnitKey, Granted>,
    destinations: HashMap<Arc<str>, usize>,
    /// Only of those who are counted.
    senders: HashMap<Arc<str>, usize>,
    last_token: u64,
    /// The time when it was asked for last, by the clock that may be set and by the one that may not.
    seen: Option<(Timestamp, Instant)>,
}

/// A clock that differs by more than this from one that cannot be set was set.
const JUMP_MIN: SignedDuration = SignedDuration::from_secs(30);

struct Granted {
    token: u64,
    expires_at: Timestamp,
    destination: Arc<str>,
    attempts: u32,
    sender: Option<Arc<str>>,
    waiting: Vec<State>,
}

/// How a unit is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseStanding {
    Free,
    Leased,
    RunOut,
}

impl Leases {
    /// Moves the ends of all leases along with a clock that was set, and with a host or process that slept: what is
    /// being tried must not be tried a second time meanwhile. Who holds a lease, of this length, extends it
    /// more often than every half of it, unless nothing goes on at all: so more than half of it does not count
    /// at a time.
    pub(crate) fn keep_up(&mut self, now: Timestamp, length: Duration) {
        let steady = Instant::now();
        let Some((then, since)) = self.seen.replace((now, steady)) else { return };
        let duration = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        let (passed, counts_most) = (duration(steady - since), duration(length / 2));
        let shown = now.duration_since(then);
        let jump = shown.saturating_sub(passed);
        if jump.abs() >= JUMP_MIN {
            tracing::warn!(?jump, "the clock was set, or the host slept");
        }
        let jump = shown.saturating_sub(passed.min(counts_most));
        if jump.abs() < JUMP_MIN {
            return;
        }
        for granted in self.granted.values_mut() {
            let moved = granted.expires_at.checked_add(jump);
            granted.expires_at = moved.unwrap_or(Timestamp::MAX);
        }
    }

    /// Leases a unit, whoever had it before.
    pub(crate) fn grant(
        &mut self,
        key: UnitKey,
        unit: &Unit,
        sender: Option<Arc<str>>,
        now: Timestamp,
        length: Duration,
    ) -> (u64, Arc<str>) {
        self.end(key);
        self.last_token += 1;
        let token = self.last_token;
        let known = self.destinations.get_key_value(unit.destination.as_str());
        let destination =
            known.map_or_else(|| unit.destination.as_str().into(), |(k, _)| k.clone());
        *self.destinations.entry(destination.clone()).or_default() += 1;
        if let Some(sender) = &sender {
            *self.senders.entry(sender.clone()).or_default() += 1;
        }
        let granted = Granted {
            token,
            expires_at: later(now, length),
            destination: destination.clone(),
            attempts: unit.attempts,
            sender,
            waiting: unit.waiting().map(|recipient| recipient.state).collect(),
        };
        self.granted.insert(key, granted);
        (token, destination)
    }

    /// Whether the lease with this token still holds its unit.
    pub(crate) fn holds(&self, key: UnitKey, token: u64) -> bool {
        self.granted.get(&key).is_some_and(|granted| granted.token == token)
    }

    /// Whether there is one whose time is over.
    pub(crate) fn have_run_out(&self, now: Timestamp) -> bool {
        self.granted.values().any(|granted| granted.expires_at <= now)
    }

    /// Whether somebody tries the unit.
    pub(crate) fn is_leased(&self, key: UnitKey) -> bool {
        self.granted.contains_key(&key)
    }

    /// What is being tried, and how often each was tried before.
    pub(crate) fn under_way(&self) -> Vec<crate::under_way::Begun> {
        self.granted.iter().map(|(key, granted)| (*key, granted.attempts)).collect()
    }

    pub(crate) fn extend(&mut self, key: UnitKey, token: u64, until: Timestamp) -> bool {
        let granted = self.granted.get_mut(&key).filter(|granted| granted.token == token);
        granted.map(|granted| granted.expires_at = until).is_some()
    }

    /// Frees a unit.
    pub(crate) fn end(&mut self, key: UnitKey) {
        let Some(granted) = self.granted.remove(&key) else { return };
        count_down(&mut self.destinations, &granted.destination);
        if let Some(sender) = &granted.sender {
            count_down(&mut self.senders, sender);
        }
    }

    /// How many units of this destination are leased.
    pub(crate) fn of_destination(&self, destination: &str) -> usize {
        self.destinations.get(destination).copied().unwrap_or(0)
    }

    /// How many units of this sender are leased, of those that were counted.
    pub(crate) fn of_sender(&self, sender: &str) -> usize {
        self.senders.get(sender).copied().unwrap_or(0)
    }

    /// How the unit is leased at `now`: not, still, or its lease has run out.
    pub(crate) fn standing(&self, key: UnitKey, now: Timestamp) -> LeaseStanding {
        match self.granted.get(&key) {
            None => LeaseStanding::Free,
            Some(granted) if granted.expires_at > now => LeaseStanding::Leased,
            Some(_) => LeaseStanding::RunOut,
        }
    }

    /// Counts what is leased as delivering.
    pub(crate) fn overlay(&self, mut counts: Counts) -> Counts {
        for state in self.granted.values().flat_map(|granted| &granted.waiting) {
            let before = &mut counts.0[Counts::place(*state)];
            *before = before.saturating_sub(1);
            counts.0[Counts::place(State::Delivering)] += 1;
        }
        counts
    }
}

fn count_down(counts: &mut HashMap<Arc<str>, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

/// Units that are being settled in the same batch: the second to settle one has lost its lease.
pub(crate) type Settling = HashSet<UnitKey>;
