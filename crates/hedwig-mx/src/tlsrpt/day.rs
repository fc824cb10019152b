use std::{fmt, str::FromStr};

use hedwig_envelope::Timestamp;
use serde::{Deserialize, Serialize};

const SECONDS: i64 = 86_400;

/// A day of UTC, which is what a report is about (RFC 8460 §4.1): `2026-11-25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(i64);

impl Day {
    /// The day that a moment is in.
    #[must_use]
    pub fn of(moment: Timestamp) -> Self {
        Self(moment.as_second().div_euclid(SECONDS))
    }

    /// Its first second, since 1970.
    #[must_use]
    pub fn first_second(self) -> i64 {
        self.0 * SECONDS
    }

    /// Its last second, since 1970.
    #[must_use]
    pub fn last_second(self) -> i64 {
        self.first_second() + SECONDS - 1
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Timestamp::from_second(self.first_second()).map_err(|_| fmt::Error)?;
        write!(f, "{}", start.strftime("%Y-%m-%d"))
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        if text.len() != 10 {
            return Err(DayError);
        }
        let start: Timestamp = format!("{text}T00:00:00Z").parse().map_err(|_| DayError)?;
        Ok(Self::of(start))
    }
}

impl TryFrom<String> for Day {
    type Error = DayError;

    fn try_from(text: String) -> Result<Self, DayError> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

/// A text that is no [`Day`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day is written like 2026-11-25")]
pub struct DayError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_from_midnight_to_midnight_of_utc() {
        let day: Day = "2026-11-25".parse().unwrap();
        let of = |text: &str| Day::of(text.parse().unwrap());
        assert_eq!(of("2026-11-25T00:00:00Z"), day);
        assert_eq!(of("2026-11-25T23:59:59.9Z"), day);
        assert!(of("2026-11-24T23:59:59.9Z") < day && of("2026-11-26T00:00:00Z") > day);
        assert_eq!(day.to_string(), "2026-11-25");
        assert_eq!(day.last_second() - day.first_second(), 86_399);
        for text in ["", "2026-11-2", "2026-13-01", "2026-11-25T", "20261125  "] {
            assert_eq!(text.parse::<Day>(), Err(DayError), "{text}");
        }
    }
}
