//! What happened when, line by line: equal for two runs of one seed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A cheap handle; clones write the same.
#[derive(Clone)]
pub struct Chronicle {
    lines: Arc<Mutex<Vec<String>>>,
    start: Instant,
}

impl Chronicle {
    /// One that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { lines: Arc::default(), start: Instant::now() }
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

    /// All lines, which are gone then.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
