//! What happened when, line by line, and how often: equal for two runs of one seed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How often each thing happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// A cheap handle; clones write the same.
#[derive(Clone)]
pub struct Chronicle {
    lines: Arc<Mutex<Vec<String>>>,
    counts: Arc<Mutex<Counts>>,
    start: Instant,
}

impl Chronicle {
    /// One that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { lines: Arc::default(), counts: Arc::default(), start: Instant::now() }
    }

    /// Since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Writes a line.
    pub fn note(&self, what: impl fmt::Display) {
        let line = format!("{:>12.6} {what}", self.now().as_secs_f64());
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Counts that something happened once.
    pub fn count(&self, what: &'static str) {
        self.count_many(what, 1);
    }

    /// Counts that something happened so many times.
    pub(crate) fn count_many(&self, what: &'static str, times: u64) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() +=
            times;
    }

    /// What happened how often so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All lines, which are gone then.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
