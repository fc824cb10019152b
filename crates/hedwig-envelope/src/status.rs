use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The first number of a status code (RFC 3463 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 2: done.
    Success,
    /// 4: try again later.
    Transient,
    /// 5: do not try again as it is.
    Permanent,
}

impl Class {
    /// The digit that stands for it.
    #[must_use]
    pub fn digit(self) -> u16 {
        match self {
            Self::Success => 2,
            Self::Transient => 4,
            Self::Permanent => 5,
        }
    }

    fn from_digit(digit: u16) -> Option<Self> {
        [Self::Success, Self::Transient, Self::Permanent].into_iter().find(|c| c.digit() == digit)
    }

    /// The class of a three-digit SMTP reply code; `None` for 1yz and 3yz, which end nothing.
    #[must_use]
    pub fn of_reply(code: u16) -> Option<Self> {
        Self::from_digit(code / 100)
    }
}

/// An enhanced mail system status code: class, subject and detail (RFC 3463, RFC 5248).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status {
    /// Whether it went well, may go well later, or cannot.
    pub class: Class,
    /// What it is about, 0 to 999.
    pub subject: u16,
    /// What about that, 0 to 999.
    pub detail: u16,
}

impl Status {
    /// 2.0.0: done, and nothing more to say.
    pub const OK: Self = Self::success(0, 0);

    /// A status 2.`subject`.`detail`.
    #[must_use]
    pub const fn success(subject: u16, detail: u16) -> Self {
        Self { class: Class::Success, subject, detail }
    }

    /// A status 4.`subject`.`detail`.
    #[must_use]
    pub const fn transient(subject: u16, detail: u16) -> Self {
        Self { class: Class::Transient, subject, detail }
    }

    /// A status 5.`subject`.`detail`.
    #[must_use]
    pub const fn permanent(subject: u16, detail: u16) -> Self {
        Self { class: Class::Permanent, subject, detail }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class.digit(), self.subject, self.detail)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Status {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let number = |part: Option<&str>| {
            let part = part.filter(|p| p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit()))?;
            part.parse::<u16>().ok()
        };
        let mut parts = text.split('.');
        let class = number(parts.next()).and_then(Class::from_digit);
        match (class, number(parts.next()), number(parts.next()), parts.next()) {
            (Some(class), Some(subject), Some(detail), None) => Ok(Self { class, subject, detail }),
            _ => Err(StatusError),
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A text that is no [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a status code is 2, 4 or 5 and two numbers of up to three digits, with dots between")]
pub struct StatusError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digit_details_are_kept() {
        assert_eq!("5.7.509".parse(), Ok(Status::permanent(7, 509)));
        assert_eq!(Status::permanent(7, 509).to_string(), "5.7.509");
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for text in ["", "5", "5.7", "5.7.1.1", "3.0.0", "5.7.1000", "5.+7.1", "5..1"] {
            assert_eq!(text.parse::<Status>(), Err(StatusError), "{text}");
        }
    }
}
