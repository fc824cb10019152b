//! Rates: how many mails may come in how much time, for each of many who send them.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroU32,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hedwig_daemon::settings::Span;
use tokio::time::Instant;

/// So many are remembered at once: with 16 bytes for each, a few megabytes at most.
const REMEMBERED_MAX: usize = 100_000;

/// So many mails in so much time: `100/h`, `10/30s`. All of them may come at once; then they come back one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub mails: NonZeroU32,
    /// In how much time; not zero.
    pub within: Duration,
}

impl Rate {
    /// How long it takes until one mail more may come.
    fn interval(self) -> Duration {
        self.within / self.mails.get()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (mails, within) = text.split_once('/').ok_or(RateError)?;
        let within = if within.starts_with(|c: char| c.is_ascii_digit()) {
            within.parse::<Span>()
        } else {
            format!("1{within}").parse::<Span>()
        };
        let within = within.map_err(|_| RateError)?.0;
        let rate = Self { mails: mails.parse().map_err(|_| RateError)?, within };
        if rate.interval().is_zero() { Err(RateError) } else { Ok(rate) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.mails, Span(self.within))
    }
}

/// A text that is no [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number of mails, a slash and a time, as 100/h or 10/30s")]
pub struct RateError;

/// Holds everybody to a [`Rate`] of their own. It is a token bucket, kept as the time at which it is full again: whoever
/// has a full one need not be remembered.
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: Rate,
    /// A key is a hash that nobody outside can foresee: names of any length take the same room.
    full_at: Mutex<HashMap<u64, Instant>>,
    hasher: RandomState,
    remembered_max: usize,
}

impl Buckets {
    pub(crate) fn new(rate: Rate) -> Self {
        let (full_at, hasher) = (Mutex::default(), RandomState::new());
        Self { rate, full_at, hasher, remembered_max: REMEMBERED_MAX }
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one token, or tells how long it takes until there is one.
    pub(crate) fn take(&self, who: &impl Hash, now: Instant) -> Result<(), Duration> {
        let key = self.hasher.hash_one(who);
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let before = full_at.get(&key).copied().unwrap_or(now).max(now);
        let after = before + self.rate.interval();
        let latest = now + self.rate.within;
        if after > latest {
            return Err(after - latest);
        }
        if full_at.len() >= self.remembered_max && !full_at.contains_key(&key) {
            forget(&mut full_at, now);
        }
        full_at.insert(key, after);
        Ok(())
    }

    /// Puts a token back that was taken for nothing.
    pub(crate) fn put_back(&self, who: &impl Hash) {
        let key = self.hasher.hash_one(who);
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = full_at.get_mut(&key) {
            *full_at -= self.rate.interval();
        }
    }
}

/// Forgets those with a full bucket; if there are few, also the half with the fullest.
fn forget(full_at: &mut HashMap<u64, Instant>, now: Instant) {
    let before = full_at.len();
    full_at.retain(|_, full_at| *full_at > now);
    if full_at.len() > before / 2 {
        let mut times: Vec<Instant> = full_at.values().copied().collect();
        let middle = times.len() / 2;
        let middle = *times.select_nth_unstable(middle).1;
        full_at.retain(|_, full_at| *full_at > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_is_read_and_shown() {
        for (text, shown) in [
            ("100/h", "100 in 1h"),
            ("10/30s", "10 in 30s"),
            ("1/d", "1 in 1d"),
            ("7/90m", "7 in 1h30m"),
        ] {
            assert_eq!(rate(text).to_string(), shown);
        }
        for text in
            ["", "100", "/h", "100/", "0/h", "-1/h", "10/0s", "10/fortnight", "4000000000/1ms"]
        {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_may_come_at_once_and_then_one_by_one() {
        let buckets = Buckets::new(rate("3/30s"));
        let take = |who: &str| buckets.take(&who, Instant::now());
        for _ in 0..3 {
            assert_eq!(take("a"), Ok(()));
        }
        assert_eq!(take("a"), Err(10 * SECOND));
        assert_eq!(take("b"), Ok(()), "another has a bucket of its own");
        tokio::time::advance(9 * SECOND).await;
        assert_eq!(take("a"), Err(SECOND));
        tokio::time::advance(SECOND).await;
        assert_eq!(take("a"), Ok(()));
        assert_eq!(take("a"), Err(10 * SECOND));
        buckets.put_back(&"a");
        assert_eq!(take("a"), Ok(()));
        tokio::time::advance(1000 * SECOND).await;
        for _ in 0..3 {
            assert_eq!(take("a"), Ok(()), "however long it was away, it has three");
        }
        assert_eq!(take("a"), Err(10 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_send_few_are_remembered_and_the_busiest_among_them() {
        let buckets = Buckets { remembered_max: 100, ..Buckets::new(rate("3/30s")) };
        for _ in 0..3 {
            assert_eq!(buckets.take(&"busy", Instant::now()), Ok(()));
        }
        for stranger in 0..10_000 {
            assert_eq!(buckets.take(&stranger, Instant::now()), Ok(()));
            assert!(buckets.full_at.lock().unwrap().len() <= 100);
        }
        assert_eq!(buckets.take(&"busy", Instant::now()), Err(10 * SECOND));
    }
}
