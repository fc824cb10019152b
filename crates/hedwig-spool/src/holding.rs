//! The memory that the contents of leased mails take. Units of one mail share it.
//!
//! Whoever finds no room is overtaken by smaller ones for a while, and then by no large one any more: so room comes to be.
//! Small ones are let by: a large one that waits for a slow server must not hold up all mail.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use hedwig_envelope::{Mail, MailId};
use tokio::time::Instant;

use crate::log::Position;

/// Contents of no more bytes are not counted: of these there are no more than units that may be under way.
pub(crate) const SMALL_BYTES_MAX: u64 = 64 << 10;
/// For so long a mail that finds no room is overtaken by others that are not small.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is held of contents, by whichever leases.
#[derive(Default)]
pub(crate) struct Holding(Mutex<State>);

#[derive(Default)]
struct State {
    bytes: u64,
    mails: HashMap<MailId, Weak<Held>>,
    first: Option<Waiting>,
}

/// Who found no room, and waits for some the longest.
struct Waiting {
    mail: MailId,
    since: Instant,
    /// Whether it has asked in this claim.
    asked: bool,
}

/// A mail in memory, for as long as one of its units is leased.
pub(crate) struct Held {
    id: MailId,
    bytes: u64,
    mail: OnceLock<Arc<Mail>>,
    holding: Arc<Holding>,
}

/// A mail that there is room for, and where it is to be had.
pub(crate) struct HeldMail {
    pub(crate) held: Arc<Held>,
    pub(crate) cached: Option<Arc<Mail>>,
    pub(crate) position: Position,
}

impl Holding {
    /// A claim begins. Who does not ask any more need not be waited for.
    pub(crate) fn begin_claim(&self) {
        let mut state = self.lock();
        state.first = state.first.take().filter(|first| first.asked);
        if let Some(first) = &mut state.first {
            first.asked = false;
        }
    }

    /// Room for a mail's content of so many bytes, if no more than `bytes_max` are held with it and nobody has waited
    /// for longer than one may. One that is larger than that is let in when nothing else is held but small ones.
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
        let counted = if bytes > SMALL_BYTES_MAX { bytes } else { 0 };
        if counted > 0 && !state.lets_in(id, counted, bytes_max) {
            return None;
        }
        state.bytes += counted;
        let held = Held { id, bytes: counted, mail: OnceLock::new(), holding: self.clone() };
        let held = Arc::new(held);
        state.mails.insert(id, Arc::downgrade(&held));
        Some(held)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lets_in(&mut self, id: MailId, bytes: u64, bytes_max: u64) -> bool {
        let fits = self.bytes == 0 || self.bytes.saturating_add(bytes) <= bytes_max;
        let another = self.first.as_ref().filter(|first| first.mail != id);
        if fits && another.is_none_or(|first| first.since.elapsed() < PATIENCE) {
            self.first = self.first.take().filter(|first| first.mail != id);
            return true;
        }
        let waiting = Waiting { mail: id, since: Instant::now(), asked: true };
        let first = self.first.get_or_insert(waiting);
        first.asked |= first.mail == id;
        false
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

    const KIB: u64 = 1 << 10;
    const MAX: u64 = 1000 * KIB;

    fn hold(holding: &Arc<Holding>, number: u128, kib: u64) -> Option<Arc<Held>> {
        holding.hold(MailId::from_bytes(number.to_be_bytes()), kib * KIB, MAX)
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_held_than_there_is_room_for_and_units_of_one_mail_count_once() {
        let holding = Arc::new(Holding::default());
        let first = hold(&holding, 1, 600).unwrap();
        let again = hold(&holding, 1, 600).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(hold(&holding, 2, 600).is_none());
        let smaller = hold(&holding, 3, 400).unwrap();
        drop(first);
        assert!(hold(&holding, 2, 600).is_none(), "another unit still has it");
        drop(again);
        let second = hold(&holding, 2, 600).unwrap();
        drop((second, smaller));
        assert!(holding.lock().mails.is_empty() && holding.lock().bytes == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_all_the_room_is_held_alone_but_for_small_ones() {
        let holding = Arc::new(Holding::default());
        let _small = hold(&holding, 3, 64).unwrap();
        let large = hold(&holding, 1, 10_000).unwrap();
        assert!(hold(&holding, 2, 65).is_none());
        let _another_small = hold(&holding, 4, 64).unwrap();
        drop(large);
        let _second = hold(&holding, 2, 65).unwrap();
        assert!(hold(&holding, 1, 10_000).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_is_overtaken_for_a_while_and_then_comes_next() {
        let holding = Arc::new(Holding::default());
        let mut under_way = hold(&holding, 1, 500).unwrap();
        for number in 2..8 {
            holding.begin_claim();
            assert!(hold(&holding, 100, 900).is_none());
            let next = hold(&holding, number, 500);
            let may_overtake = number < 5;
            assert_eq!(next.is_some(), may_overtake, "{number}");
            assert!(hold(&holding, 200, 64).is_some(), "a small one may go always");
            under_way = next.unwrap_or(under_way);
            tokio::time::advance(PATIENCE / 3).await;
        }
        drop(under_way);
        assert!(hold(&holding, 9, 500).is_none(), "the one that waits is not asked yet");
        let first = hold(&holding, 100, 900).unwrap();
        drop(first);
        let _next = hold(&holding, 9, 500).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_ask_any_more_is_not_waited_for() {
        let holding = Arc::new(Holding::default());
        let _under_way = hold(&holding, 1, 500).unwrap();
        assert!(hold(&holding, 100, 900).is_none());
        tokio::time::advance(2 * PATIENCE).await;
        holding.begin_claim();
        assert!(hold(&holding, 2, 500).is_none(), "it asked in the claim before");
        holding.begin_claim();
        let _second = hold(&holding, 2, 500).unwrap();
    }
}
