//! Which postoffice may have taken a mail without our knowing.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hedwig_envelope::IdempotencyKey;
use hedwig_smtp::batch::BatchMail;
use tokio::time::Instant;

use super::answer::Failure;

/// Remembers where mails were sent of which nobody was told yet what became of them: only that postoffice knows their
/// keys, and another one would take them a second time.
pub(super) struct Bindings {
    by_key: Mutex<HashMap<IdempotencyKey, Binding>>,
    hold: Duration,
}

#[derive(Clone, Copy)]
struct Binding {
    postoffice: usize,
    /// How many requests are under way there with it.
    requests: usize,
    /// For how long it is bound besides, since such a request came to an end that was not told.
    until: Option<Instant>,
}

impl Binding {
    fn holds(&self, now: Instant) -> bool {
        self.requests > 0 || self.until.is_some_and(|until| until > now)
    }
}

/// How many mails are remembered of which no request is under way.
const BINDINGS_MAX: usize = 20_000;

impl Bindings {
    /// Mails stay bound for so long after a request whose end was not told.
    pub(super) fn new(hold: Duration) -> Self {
        Self { by_key: Mutex::default(), hold }
    }

    /// The postoffice to which these mails are bound, if any.
    ///
    /// # Errors
    /// When not all are bound to the same.
    pub(super) fn find(&self, mails: &[BatchMail]) -> Result<Option<usize>, Failure> {
        let bindings = self.lock();
        if bindings.is_empty() {
            return Ok(None);
        }
        let now = Instant::now();
        let binding = |key| bindings.get(key).filter(|binding: &&Binding| binding.holds(now));
        let mut bound = keys(mails).map(|key| binding(key).map(|binding| binding.postoffice));
        let first = bound.next().flatten();
        if bound.all(|other| other == first) { Ok(first) } else { Err(Failure::Separate) }
    }

    /// A request with these mails goes to this postoffice. They are bound to it while it is under way, and for a while
    /// after it: unless it says that [nothing was taken](UnderWay::nothing_taken), or somebody was
    /// [told](Self::told). `None` when one of them was bound to another meanwhile.
    pub(super) fn begin<'a>(
        &'a self,
        mails: &'a [BatchMail],
        postoffice: usize,
    ) -> Option<UnderWay<'a>> {
        let mut bindings = self.lock();
        let now = Instant::now();
        let bound = keys(mails).filter_map(|key| bindings.get(key));
        if bound.filter(|binding| binding.holds(now)).any(|it| it.postoffice != postoffice) {
            return None;
        }
        for key in keys(mails) {
            let new = Binding { postoffice, requests: 0, until: None };
            let binding = bindings.entry(key.clone()).or_insert(new);
            // An old one that holds no longer may be of another.
            binding.postoffice = postoffice;
            binding.requests += 1;
        }
        Some(UnderWay { bindings: self, mails, may_be_taken: true })
    }

    /// Whoever asked for this mail was told what became of it, and does not ask again.
    pub(super) fn told(&self, mail: &BatchMail) {
        let Some(key) = &mail.key else { return };
        if let Entry::Occupied(mut entry) = self.lock().entry(key.clone()) {
            entry.get_mut().until = None;
            if entry.get().requests == 0 {
                entry.remove();
            }
        }
    }

    fn end(&self, mails: &[BatchMail], may_be_taken: bool) {
        let mut bindings = self.lock();
        let now = Instant::now();
        if may_be_taken && bindings.len() > BINDINGS_MAX {
            bindings.retain(|_, binding| binding.holds(now));
        }
        let is_full = bindings.len() > BINDINGS_MAX;
        for key in keys(mails) {
            let Entry::Occupied(mut entry) = bindings.entry(key.clone()) else { continue };
            let binding = entry.get_mut();
            binding.requests -= 1;
            if may_be_taken && !is_full {
                binding.until = Some(now + self.hold);
            }
            if !binding.holds(now) {
                entry.remove();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdempotencyKey, Binding>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way; see [`Bindings::begin`].
pub(super) struct UnderWay<'a> {
    bindings: &'a Bindings,
    mails: &'a [BatchMail],
    may_be_taken: bool,
}

impl UnderWay<'_> {
    /// It ended, and surely nothing was taken.
    pub(super) fn nothing_taken(mut self) {
        self.may_be_taken = false;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.bindings.end(self.mails, self.may_be_taken);
    }
}

fn keys(mails: &[BatchMail]) -> impl Iterator<Item = &IdempotencyKey> {
    mails.iter().filter_map(|mail| mail.key.as_ref())
}
