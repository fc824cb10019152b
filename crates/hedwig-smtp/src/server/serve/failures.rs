//! Who failed to authenticate, and how often: across connections, so that it does not help to connect anew.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::peer::site;

/// So long after its last failure an address is forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// So many addresses are remembered at once.
const ADDRESSES_MAX: usize = 10_000;

/// Failed authentications by the address they came from, of one server or of several. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct FailedAuthentications {
    total: Arc<AtomicU64>,
    of_late: Arc<Mutex<HashMap<IpAddr, OfLate>>>,
}

#[derive(Clone, Copy, Debug)]
struct OfLate {
    count: u32,
    last: Instant,
}

impl FailedAuthentications {
    /// How many there have been in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// How many came from this address (of IPv6, from its /64) without a pause of 15 minutes.
    #[must_use]
    pub fn of_late(&self, address: IpAddr) -> u32 {
        self.count_at(address, Instant::now())
    }

    /// Counts one more. One from no address is counted in the total only.
    pub(super) fn note(&self, address: Option<IpAddr>) {
        self.total.fetch_add(1, Ordering::Relaxed);
        if let Some(address) = address {
            self.note_at(address, Instant::now());
        }
    }

    fn count_at(&self, address: IpAddr, now: Instant) -> u32 {
        let of_late = self.of_late.lock().unwrap_or_else(PoisonError::into_inner);
        let found = of_late.get(&site(address)).filter(|of_late| of_late.is_fresh(now));
        found.map_or(0, |of_late| of_late.count)
    }

    fn note_at(&self, address: IpAddr, now: Instant) {
        let before = self.count_at(address, now);
        let address = site(address);
        let mut of_late = self.of_late.lock().unwrap_or_else(PoisonError::into_inner);
        if of_late.len() >= ADDRESSES_MAX && !of_late.contains_key(&address) {
            forget(&mut of_late, now);
        }
        of_late.insert(address, OfLate { count: before.saturating_add(1), last: now });
    }
}

impl OfLate {
    fn is_fresh(self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < MEMORY
    }
}

/// Makes room: first those go that were quiet for long enough, then, if that is little, those that failed least.
fn forget(of_late: &mut HashMap<IpAddr, OfLate>, now: Instant) {
    of_late.retain(|_, of_late| of_late.is_fresh(now));
    if of_late.len() > ADDRESSES_MAX / 2 {
        let mut counts: Vec<u32> = of_late.values().map(|of_late| of_late.count).collect();
        let middle = counts.len() / 2;
        let middle = *counts.select_nth_unstable(middle).1;
        of_late.retain(|_, of_late| of_late.count > middle);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_by_address_and_forgotten_after_a_pause() {
        let failures = FailedAuthentications::default();
        for _ in 0..3 {
            failures.note(Some(address(1)));
            tokio::time::advance(MEMORY - Duration::from_secs(1)).await;
        }
        failures.note(None);
        assert_eq!((failures.of_late(address(1)), failures.of_late(address(2))), (3, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((failures.of_late(address(1)), failures.total()), (0, 4));
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|a| a.parse().unwrap());
        failures.note(Some(one));
        assert_eq!(failures.of_late(other), 1, "a host has many addresses");
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_fail_few_are_remembered_and_the_worst_among_them() {
        let failures = FailedAuthentications::default();
        let worst = address(u32::MAX);
        for _ in 0..2 {
            failures.note(Some(worst));
        }
        for number in 0..3 * u32::try_from(ADDRESSES_MAX).unwrap() {
            failures.note(Some(address(number)));
        }
        assert!(failures.of_late.lock().unwrap().len() <= ADDRESSES_MAX);
        assert_eq!(failures.of_late(worst), 2);
    }
}
