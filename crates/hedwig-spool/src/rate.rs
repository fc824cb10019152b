//! How many mails a destination gets in a time. Pure: time comes in.

use std::{fmt, str::FromStr, time::Duration};

use hedwig_envelope::Timestamp;

use crate::schedule::later;

/// So many mails in so long, spread evenly; a tenth of them may go at once.
///
/// ```
/// # use hedwig_spool::Rate;
/// # use std::time::Duration;
/// assert!(Rate::new(100, Duration::from_secs(60)).is_some());
/// assert!(Rate::new(0, Duration::from_secs(60)).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    mails: u32,
    per: Duration,
}

/// The longest time over which a rate counts: a wait must end.
const LONGEST: Duration = Duration::from_hours(31 * 24);

impl Rate {
    /// A rate, unless it would stop all mail: no mail, no time, or more than 31 days.
    #[must_use]
    pub fn new(mails: u32, per: Duration) -> Option<Self> {
        let possible = mails > 0 && !per.is_zero() && per <= LONGEST;
        possible.then_some(Self { mails, per })
    }

    /// How many mails.
    pub(crate) fn mails(self) -> u32 {
        self.mails
    }

    /// In how long a time.
    pub(crate) fn per(self) -> Duration {
        self.per
    }

    /// The time between two mails.
    fn interval(self) -> Duration {
        self.per / self.mails
    }

    /// How many may go at once.
    fn burst(self) -> u32 {
        (self.mails / 10).max(1)
    }
}

/// Which domains have which rate; those that match none have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(Vec<(Domains, Rate)>);

/// The domains that a rate is for, each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Below(String),
    Any,
}

impl FromStr for Domains {
    type Err = DomainsError;

    /// A name, `*.example.com` for all names below it, or `*` for every other.
    fn from_str(text: &str) -> Result<Self, DomainsError> {
        let name = |name: &str| {
            let valid = !name.is_empty() && !name.contains(['*', '/', '=', ' ']);
            valid.then(|| name.to_lowercase()).ok_or(DomainsError)
        };
        Ok(Self(match text.strip_prefix("*.") {
            _ if text == "*" => Pattern::Any,
            Some(parent) => Pattern::Below(name(parent)?),
            None => Pattern::Exact(name(text)?),
        }))
    }
}

/// A text that names no domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the domains of a rate are a name, *.name for all below it, or * for every other")]
pub struct DomainsError;

impl fmt::Display for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Exact(name) => f.write_str(name),
            Pattern::Below(name) => write!(f, "*.{name}"),
            Pattern::Any => f.write_str("*"),
        }
    }
}

impl Rates {
    /// The rate of a domain in lower case: the one of its name, else of the nearest name above it, else `*`.
    pub(crate) fn of(&self, domain: &str) -> Option<Rate> {
        let fitting = self.0.iter().filter_map(|(domains, rate)| {
            let weight = match &domains.0 {
                Pattern::Exact(name) => (name == domain).then_some(usize::MAX),
                Pattern::Below(name) => {
                    let below = domain.strip_suffix(name.as_str());
                    below.is_some_and(|rest| rest.ends_with('.')).then_some(name.len())
                }
                Pattern::Any => Some(0),
            };
            weight.map(|weight| (weight, *rate))
        });
        fitting.max_by_key(|(weight, _)| *weight).map(|(_, rate)| rate)
    }

    /// How long it takes at the most until all that may go at once may go again.
    pub(crate) fn longest_burst(&self) -> Duration {
        let bursts = self.0.iter().map(|(_, rate)| rate.interval() * rate.burst());
        bursts.max().unwrap_or_default()
    }
}

impl FromIterator<(Domains, Rate)> for Rates {
    fn from_iter<T: IntoIterator<Item = (Domains, Rate)>>(rates: T) -> Self {
        Self(rates.into_iter().collect())
    }
}

/// What a destination has had of its rate: the time up to which its mails are spread (the generic cell rate
/// algorithm, which is a token bucket in one number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent(pub(crate) Timestamp);

impl Spent {
    /// All that may go at once went at `time`.
    pub(crate) fn all_at(rate: Rate, time: Timestamp) -> Self {
        Self(later(time, rate.interval() * rate.burst()))
    }

    /// Takes a mail's share; or tells when there will be one.
    pub(crate) fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Timestamp> {
        let from = self.0.max(now);
        let tolerance = rate.interval() * (rate.burst() - 1);
        if from > later(now, tolerance) {
            return Err(from.checked_sub(tolerance).unwrap_or(now));
        }
        self.0 = later(from, rate.interval());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    fn rate(mails: u32, seconds: u64) -> Rate {
        Rate::new(mails, Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_tenth_goes_at_once_and_the_rest_evenly() {
        let (rate, mut spent) = (rate(100, 60), Spent(at(0)));
        let at_once = (0..100).take_while(|_| spent.take(rate, at(0)).is_ok()).count();
        assert_eq!(at_once, 10);
        assert_eq!(spent.take(rate, at(0)), Err(at(600)));
        assert_eq!(spent.take(rate, at(599)), Err(at(600)));
        assert_eq!(spent.take(rate, at(600)), Ok(()));
    }

    #[test]
    fn no_time_of_that_length_sees_more_than_a_tenth_too_many() {
        let (rate, mut spent) = (rate(100, 60), Spent(at(0)));
        let times: Vec<i64> =
            (0..600_000).step_by(10).filter(|time| spent.take(rate, at(*time)).is_ok()).collect();
        for (place, start) in times.iter().enumerate() {
            let within = times[place..].iter().take_while(|time| **time < start + 60_000).count();
            assert!(within <= 110, "{within} from {start}");
        }
        assert!(times.len() >= 1000);
    }

    #[test]
    fn one_whose_past_is_not_known_only_gets_slower() {
        let (rate, mut known) = (rate(100, 60), Spent(at(0)));
        for _ in 0..4 {
            known.take(rate, at(0)).unwrap();
        }
        let (mut unknown, mut pairs) = (Spent::all_at(rate, at(0)), (0, 0));
        for time in (0..60_000).step_by(100) {
            pairs.0 += i32::from(known.take(rate, at(time)).is_ok());
            pairs.1 += i32::from(unknown.take(rate, at(time)).is_ok());
            assert!(pairs.1 <= pairs.0);
        }
    }

    #[test]
    fn the_nearest_name_counts() {
        let rates: Rates = [("*", 1), ("*.example", 2), ("*.b.example", 3), ("a.b.example", 4)]
            .map(|(domains, mails)| (domains.parse().unwrap(), rate(mails, 60)))
            .into_iter()
            .collect();
        for (domain, mails) in [
            ("a.b.example", 4),
            ("c.b.example", 3),
            ("b.example", 2),
            ("xb.example", 2),
            ("example", 1),
        ] {
            assert_eq!(rates.of(domain), Some(rate(mails, 60)), "{domain}");
        }
        assert_eq!(Rates::default().of("example"), None);
    }

    #[test]
    fn what_would_stop_all_mail_is_no_rate() {
        for (mails, seconds) in [(0, 60), (1, 0), (1, 32 * 86_400)] {
            assert_eq!(Rate::new(mails, Duration::from_secs(seconds)), None);
        }
        for text in ["", "*.", "**", "a*b", "a=b"] {
            assert_eq!(text.parse::<Domains>(), Err(DomainsError), "{text}");
        }
    }
}
