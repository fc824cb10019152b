use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// When to try again: exponential back-off with jitter. Pure; time and chance come in.
///
/// With the defaults a recipient is tried again after about 5, 10, 20, 40, 80 and 160 minutes, then every
/// 4 hours (RFC 5321 §4.5.4.1 asks for at least 30 minutes on average, and allows two quick tries at
/// first), and given up after 5 days.
///
/// ```
/// # use hedwig_spool::Schedule;
/// # use std::time::Duration;
/// let schedule = Schedule { jitter: 0.0, ..Schedule::default() };
/// assert_eq!(schedule.delay(1, 0.5), Duration::from_secs(300));
/// assert_eq!(schedule.delay(2, 0.5), Duration::from_secs(600));
/// assert_eq!(schedule.delay(40, 0.5), Duration::from_secs(4 * 3600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The wait after the first attempt.
    pub first: Duration,
    /// By how much each wait is longer than the one before.
    pub factor: f64,
    /// The longest wait.
    pub longest: Duration,
    /// How far a wait may differ from the plan, as a part of it: 0.2 is a fifth up or down.
    pub jitter: f64,
    /// A mail older than this is given up when an attempt fails.
    pub expiry: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_mins(5),
            factor: 2.0,
            longest: Duration::from_hours(4),
            jitter: 0.2,
            expiry: Duration::from_hours(5 * 24),
        }
    }
}

impl Schedule {
    /// The wait after so many attempts (1 after the first). `chance` lies between 0 and 1.
    #[must_use]
    pub fn delay(&self, attempts: u32, chance: f64) -> Duration {
        let exponent = attempts.saturating_sub(1).min(1000);
        let factor = self.factor.max(1.0).powi(exponent as i32);
        let planned = (self.first.as_secs_f64() * factor).min(self.longest.as_secs_f64());
        let jitter = self.jitter.clamp(0.0, 1.0) * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
        Duration::try_from_secs_f64(planned * (1.0 + jitter)).unwrap_or(self.longest)
    }

    /// When to try again a mail that was accepted at `accepted_at` and whose attempt number `attempts`
    /// failed at `now`; `None` when its time is over.
    ///
    /// The last attempt falls on the moment of expiry, so that no mail waits past it unheard.
    #[must_use]
    pub fn next_due(
        &self,
        accepted_at: Timestamp,
        attempts: u32,
        now: Timestamp,
        chance: f64,
    ) -> Option<Timestamp> {
        let expires_at = later(accepted_at, self.expiry);
        (now < expires_at).then(|| later(now, self.delay(attempts, chance)).min(expires_at))
    }
}

/// The time so much later, or the end of time.
pub(crate) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// For a second something that failed is left alone, by a clock that may be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause(Timestamp);

impl Pause {
    pub(crate) fn since(now: Timestamp) -> Self {
        Self(now)
    }

    /// Whether it is over. One that began in the future is: the clock was set back.
    pub(crate) fn is_over(self, now: Timestamp) -> bool {
        now.duration_since(self.0).abs() >= SignedDuration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn waits_double_until_the_longest() {
        let schedule = Schedule { jitter: 0.0, ..Schedule::default() };
        let minutes: Vec<_> = (1..=8).map(|n| schedule.delay(n, 0.3).as_secs() / 60).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80, 160, 240, 240]);
        assert_eq!(schedule.delay(u32::MAX, 0.0), schedule.longest);
    }

    #[test]
    fn jitter_moves_a_wait_both_ways_and_no_further() {
        let schedule = Schedule { jitter: 0.2, ..Schedule::default() };
        assert_eq!(schedule.delay(1, 0.0), Duration::from_secs(240));
        assert_eq!(schedule.delay(1, 0.5), Duration::from_secs(300));
        assert_eq!(schedule.delay(1, 1.0), Duration::from_secs(360));
        assert_eq!(schedule.delay(1, 99.0), Duration::from_secs(360));
    }

    #[test]
    fn the_last_attempt_falls_on_the_expiry_and_none_comes_after() {
        let schedule = Schedule { expiry: Duration::from_secs(1000), ..Schedule::default() };
        assert_eq!(schedule.next_due(at(0), 3, at(990), 0.5), Some(at(1000)));
        assert_eq!(schedule.next_due(at(0), 4, at(1000), 0.5), None);
    }

    #[test]
    fn absurd_settings_neither_panic_nor_spin() {
        let schedule = Schedule {
            first: Duration::MAX,
            factor: f64::NAN,
            longest: Duration::MAX,
            jitter: f64::NAN,
            expiry: Duration::MAX,
        };
        assert!(schedule.delay(7, f64::NAN) >= Duration::from_secs(1));
        assert_eq!(schedule.next_due(at(0), 1, at(5), 1.0), Some(Timestamp::MAX));
    }
}
