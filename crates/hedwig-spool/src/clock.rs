use std::{fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};

/// What time it is, as a value that is passed in: a test passes one that it turns by hand.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The clock of this host.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// A clock that asks a function.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// A clock that shows `start` now and goes with Tokio's, so that it stands still and leaps when a
    /// test pauses and advances Tokio's time.
    #[must_use]
    pub fn of_tokio(start: Timestamp) -> Self {
        let zero = tokio::time::Instant::now();
        Self::new(move || {
            let passed = SignedDuration::try_from(zero.elapsed()).unwrap_or(SignedDuration::MAX);
            start.checked_add(passed).unwrap_or(Timestamp::MAX)
        })
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
