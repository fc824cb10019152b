//! Who tries what just now. Only in memory: the spool has one process, and with it its leases end.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hedwig_envelope::{MailId, State, Timestamp};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::{Counts, index::Visit, schedule::later, state::Unit};

pub(crate) type UnitKey = (MailId, u32);

#[derive(Default)]
pub(crate) struct Leases {
    granted: HashMap<UnitKey, Granted>,
    destinations: HashMap<Arc<str>, usize>,
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
    waiting: Vec<State>,
}

/// The units a claim has found so far.
pub(crate) struct Finding<'a> {
    leases: &'a Leases,
    now: Timestamp,
    units_max: usize,
    per_destination_max: usize,
    found: Vec<UnitKey>,
    more: bool,
    destinations: HashMap<String, usize>,
}

impl Leases {
    /// Moves the ends of all leases along with a clock that was set, or with a host that slept: what is being
    /// tried must not be tried a second time meanwhile.
    pub(crate) fn keep_up(&mut self, now: Timestamp) {
        let steady = Instant::now();
        let Some((then, since)) = self.seen.replace((now, steady)) else { return };
        let passed = SignedDuration::try_from(steady - since).unwrap_or(SignedDuration::MAX);
        let jump = now.duration_since(then).saturating_sub(passed);
        if jump.abs() < JUMP_MIN {
            return;
        }
        tracing::warn!(?jump, "the clock was set, or the host slept");
        for granted in self.granted.values_mut() {
            let moved = granted.expires_at.checked_add(jump);
            granted.expires_at = moved.unwrap_or(Timestamp::MAX);
        }
    }

    pub(crate) fn find(&self, now: Timestamp, claim: crate::Claim) -> Finding<'_> {
        Finding {
            leases: self,
            now,
            units_max: claim.units_max,
            per_destination_max: claim.per_destination_max,
            found: Vec::new(),
            more: false,
            destinations: HashMap::new(),
        }
    }

    /// Leases a unit, whoever had it before.
    pub(crate) fn grant(
        &mut self,
        key: UnitKey,
        unit: &Unit,
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
        let granted = Granted {
            token,
            expires_at: later(now, length),
            destination: destination.clone(),
            attempts: unit.attempts,
            waiting: unit.waiting().map(|recipient| recipient.state).collect(),
        };
        self.granted.insert(key, granted);
        (token, destination)
    }

    /// Whether the lease with this token still holds its unit.
    pub(crate) fn holds(&self, key: UnitKey, token: u64) -> bool {
        self.granted.get(&key).is_some_and(|granted| granted.token == token)
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
        if let Some(count) = self.destinations.get_mut(&granted.destination) {
            *count -= 1;
            if *count == 0 {
                self.destinations.remove(&granted.destination);
            }
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

impl Finding<'_> {
    pub(crate) fn visit(&mut self, mail: MailId, number: u32, destination: &str) -> Visit {
        let leased = self.leases.granted.get(&(mail, number));
        if leased.is_some_and(|granted| granted.expires_at > self.now) {
            return Visit::Next;
        }
        let busy = self.leases.destinations.get(destination).copied().unwrap_or(0);
        // One whose lease ran out is counted among the busy, and would be again.
        let busy = busy - usize::from(leased.is_some());
        let found = self.destinations.get(destination).copied().unwrap_or(0);
        if busy + found >= self.per_destination_max {
            self.more = true;
            return Visit::NextDestination;
        }
        if self.found.len() >= self.units_max {
            self.more = true;
            return Visit::Stop;
        }
        *self.destinations.entry(destination.to_owned()).or_default() += 1;
        self.found.push((mail, number));
        Visit::Next
    }

    /// What was found, and whether there was more.
    pub(crate) fn into_found(self) -> (Vec<UnitKey>, bool) {
        (self.found, self.more)
    }
}

/// Units that are being settled in the same batch: the second to settle one has lost its lease.
pub(crate) type Settling = HashSet<UnitKey>;
