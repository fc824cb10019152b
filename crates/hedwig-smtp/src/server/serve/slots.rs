//! How many may be connected at once, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::peer::site;

#[derive(Clone, Debug)]
pub(super) struct Slots {
    taken: Arc<Mutex<Taken>>,
    max: usize,
    per_address_max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    address: Option<IpAddr>,
}

impl Slots {
    pub(super) fn new(max: usize, per_address_max: usize) -> Self {
        Self { taken: Arc::default(), max, per_address_max }
    }

    /// A place, if there is one. Without an address only the number of all counts.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Option<Slot> {
        let mut taken = lock(&self.taken);
        if taken.all >= self.max {
            return None;
        }
        let address = address.map(site);
        if !taken.add(address, self.per_address_max) {
            return None;
        }
        taken.all += 1;
        Some(Slot { slots: self.clone(), address })
    }
}

impl Slot {
    /// From now on the place is one of this address's; `false` when that has as many as it may.
    pub(super) fn pass_on(&mut self, address: IpAddr) -> bool {
        let address = Some(site(address));
        let mut taken = lock(&self.slots.taken);
        taken.remove(self.address.take());
        let is_free = taken.add(address, self.slots.per_address_max);
        if is_free {
            self.address = address;
        }
        is_free
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = lock(&self.slots.taken);
        taken.all -= 1;
        taken.remove(self.address);
    }
}

impl Taken {
    fn add(&mut self, address: Option<IpAddr>, max: usize) -> bool {
        let Some(address) = address else { return true };
        let from_here = self.by_address.get(&address).copied().unwrap_or(0);
        if from_here >= max {
            return false;
        }
        self.by_address.insert(address, from_here + 1);
        true
    }

    fn remove(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Counts are right whenever the lock is free, even if a thread died holding it.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let slots = Slots::new(3, 2);
        let address = |text: &str| Some(text.parse().unwrap());
        let first = slots.take(address("2001:db8::1")).unwrap();
        let _second = slots.take(address("2001:db8::2")).unwrap();
        assert!(slots.take(address("2001:db8::3")).is_none(), "the network has its two");
        let _third = slots.take(address("192.0.2.1")).unwrap();
        assert!(slots.take(address("192.0.2.2")).is_none(), "all three are taken");
        drop(first);
        assert!(slots.take(address("2001:db8::3")).is_some());
    }

    #[test]
    fn a_place_that_a_proxy_took_counts_for_its_client() {
        let slots = Slots::new(5, 1);
        let client = "192.0.2.1".parse().unwrap();
        let (mut first, mut second) = (slots.take(None).unwrap(), slots.take(None).unwrap());
        assert!(first.pass_on(client));
        assert!(first.pass_on(client), "it is the one place that the client has");
        assert!(!second.pass_on(client));
        drop(first);
        assert!(second.pass_on(client));
        drop(second);
        assert!(lock(&slots.taken).by_address.is_empty());
    }
}
