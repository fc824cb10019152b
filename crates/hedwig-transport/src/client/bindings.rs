//! Which postoffice may have taken a mail without our knowing.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hedwig_envelope::IdempotencyKey;
use hedwig_smtp::batch::BatchMail;
use tokio::time::Instant;

use super::answer::Failure;

/// Remembers, for mails whose request got no answer, where it had been sent: only that postoffice knows
/// their keys, and another one would take them a second time.
#[derive(Default)]
pub(super) struct Bindings(Mutex<HashMap<IdempotencyKey, Binding>>);

#[derive(Clone, Copy)]
struct Binding {
    postoffice: usize,
    until: Instant,
}

/// How many mails are remembered.
const BINDINGS_MAX: usize = 20_000;

impl Bindings {
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
        let binding = |key| bindings.get(key).filter(|binding: &&Binding| binding.until > now);
        let mut bound = keys(mails).map(|key| binding(key).map(|binding| binding.postoffice));
        let first = bound.next().flatten();
        if bound.all(|other| other == first) { Ok(first) } else { Err(Failure::Separate) }
    }

    pub(super) fn bind(&self, mails: &[BatchMail], postoffice: usize, hold: Duration) {
        let mut bindings = self.lock();
        let now = Instant::now();
        let binding = Binding { postoffice, until: now + hold };
        if bindings.len() + mails.len() > BINDINGS_MAX {
            bindings.retain(|_, binding| binding.until > now);
        }
        for key in keys(mails) {
            if bindings.len() < BINDINGS_MAX {
                bindings.insert(key.clone(), binding);
            }
        }
    }

    pub(super) fn release(&self, mails: &[BatchMail]) {
        let mut bindings = self.lock();
        if !bindings.is_empty() {
            keys(mails).for_each(|key| {
                bindings.remove(key);
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdempotencyKey, Binding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(mails: &[BatchMail]) -> impl Iterator<Item = &IdempotencyKey> {
    mails.iter().filter_map(|mail| mail.key.as_ref())
}
