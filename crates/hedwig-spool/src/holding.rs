//! The memory that the contents of leased mails take. Units of one mail share it.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use hedwig_envelope::{Mail, MailId};

/// What is held of contents, by whichever leases.
#[derive(Default)]
pub(crate) struct Holding(Mutex<State>);

#[derive(Default)]
struct State {
    bytes: u64,
    mails: HashMap<MailId, Weak<Held>>,
}

/// A mail in memory, for as long as one of its units is leased.
pub(crate) struct Held {
    id: MailId,
    bytes: u64,
    mail: OnceLock<Arc<Mail>>,
    holding: Arc<Holding>,
}

impl Holding {
    /// Room for a mail's content of so many bytes, if no more than `bytes_max` are held with it. One that is larger
    /// than that is let in alone.
    pub(crate) fn hold(
        self: &Arc<Self>,
        id: MailId,
        bytes: u64,
        bytes_max: u64,
    ) -> Option<Arc<Held>> {
        let mut state = self.lock();
        if let Some(held) = state.mails.get(&id).and_then(Weak::upgrade) {
            return Some(held);
        }
        let all = state.bytes.saturating_add(bytes);
        if all > bytes_max && state.bytes > 0 {
            return None;
        }
        state.bytes = all;
        let held = Held { id, bytes, mail: OnceLock::new(), holding: self.clone() };
        let held = Arc::new(held);
        state.mails.insert(id, Arc::downgrade(&held));
        Some(held)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The mail, if it has been read.
    pub(crate) fn mail(&self) -> Option<&Arc<Mail>> {
        self.mail.get()
    }

    /// Keeps the mail for the units that come after.
    pub(crate) fn keep(&self, mail: Arc<Mail>) {
        // Another unit may have read the same at the same time.
        let _ = self.mail.set(mail);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.holding.lock();
        state.bytes -= self.bytes;
        // It may be held anew already.
        if let Entry::Occupied(entry) = state.mails.entry(self.id)
            && entry.get().strong_count() == 0
        {
            entry.remove();
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} bytes of {})", self.bytes, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> MailId {
        MailId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for_and_units_of_one_mail_count_once() {
        let holding = Arc::new(Holding::default());
        let first = holding.hold(id(1), 60, 100).unwrap();
        let again = holding.hold(id(1), 60, 100).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(holding.hold(id(2), 60, 100).is_none());
        let small = holding.hold(id(3), 40, 100).unwrap();
        drop(first);
        assert!(holding.hold(id(2), 60, 100).is_none(), "another unit still has it");
        drop(again);
        let second = holding.hold(id(2), 60, 100).unwrap();
        drop((second, small));
        assert!(holding.lock().mails.is_empty() && holding.lock().bytes == 0);
    }

    #[test]
    fn what_is_larger_than_all_the_room_is_held_alone() {
        let holding = Arc::new(Holding::default());
        let large = holding.hold(id(1), 1000, 100).unwrap();
        assert!(holding.hold(id(2), 1, 100).is_none());
        drop(large);
        let _small = holding.hold(id(2), 1, 100).unwrap();
        assert!(holding.hold(id(1), 1000, 100).is_none());
    }
}
