//! The ESMTP parameters that must survive every hop, as values. Each reads and writes the text that
//! stands after its keyword's `=`; which keyword belongs to which is the protocol's business.

mod reports;

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use reports::{Notify, OriginalRecipient, Ret};

/// What the client asked for with MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailParameters {
    /// `BODY`: how the content is encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// `SMTPUTF8`: the mail needs RFC 6531 support all the way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub smtputf8: bool,
    /// `SIZE`: the client's estimate in bytes (RFC 1870).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// `RET`: how much of the mail a failure report returns (RFC 3461 §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// `ENVID`: the sender's own name for the envelope, decoded (RFC 3461 §4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// `REQUIRETLS`: never in clear text (RFC 8689).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_tls: bool,
    /// `MT-PRIORITY` (RFC 6710).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// `BY` (RFC 2852).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<DeliverBy>,
    /// `HOLDFOR` or `HOLDUNTIL` (RFC 4865).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// A parameter's value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a value of {parameter}: it should be {expected}")]
pub struct ParameterError {
    parameter: &'static str,
    value: String,
    expected: &'static str,
}

impl ParameterError {
    fn new(parameter: &'static str, value: &str, expected: &'static str) -> Self {
        Self { parameter, value: value.chars().take(128).collect(), expected }
    }
}

/// `BODY=` (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// ASCII only.
    SevenBit,
    /// Octets in lines.
    EightBitMime,
    /// Octets; only BDAT can carry them.
    BinaryMime,
}

impl FromStr for Body {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text.to_ascii_uppercase().as_str() {
            "7BIT" => Ok(Self::SevenBit),
            "8BITMIME" => Ok(Self::EightBitMime),
            "BINARYMIME" => Ok(Self::BinaryMime),
            _ => Err(ParameterError::new("BODY", text, "7BIT, 8BITMIME or BINARYMIME")),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
            Self::BinaryMime => "BINARYMIME",
        })
    }
}

/// `MT-PRIORITY=` (RFC 6710): from -9 to 9, 0 being ordinary mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(i8);

impl Priority {
    /// The priority of this number, unless it is out of range.
    #[must_use]
    pub fn new(value: i8) -> Option<Self> {
        (-9..=9).contains(&value).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> i8 {
        self.0
    }
}

impl FromStr for Priority {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| ParameterError::new("MT-PRIORITY", text, "a number from -9 to 9"))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `BY=` (RFC 2852 §4): how soon the mail must be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds left, counted from the MAIL command; below zero when the time has passed.
    pub seconds: i32,
    /// What happens then.
    pub mode: ByMode,
    /// Whether each relay shall report that it passed the mail on.
    pub trace: bool,
}

/// What becomes of a mail whose `BY` time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByMode {
    /// `R`: it is returned.
    Return,
    /// `N`: its sender is told, and delivery goes on.
    Notify,
}

impl FromStr for DeliverBy {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let wrong = || {
            ParameterError::new("BY", text, "at most nine digits, a semicolon, R or N, perhaps T")
        };
        let (seconds, mode) = text.split_once(';').ok_or_else(wrong)?;
        let digits = seconds.strip_prefix(['-', '+']).unwrap_or(seconds);
        if digits.len() > 9 {
            return Err(wrong());
        }
        let seconds = seconds.parse().map_err(|_| wrong())?;
        let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
            "R" => (ByMode::Return, false),
            "RT" => (ByMode::Return, true),
            "N" => (ByMode::Notify, false),
            "NT" => (ByMode::Notify, true),
            _ => return Err(wrong()),
        };
        // RFC 2852 §4: a time that has passed already cannot be asked of a mode that returns.
        if mode == ByMode::Return && seconds <= 0 {
            return Err(wrong());
        }
        Ok(Self { seconds, mode, trace })
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            ByMode::Return => "R",
            ByMode::Notify => "N",
        };
        write!(f, "{};{mode}{}", self.seconds, if self.trace { "T" } else { "" })
    }
}

/// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865): when the mail may leave at the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// So many seconds after it was received.
    For(u32),
    /// At this time.
    Until(Timestamp),
}

impl Hold {
    /// The time at which a mail received at `received_at` may leave.
    #[must_use]
    pub fn release_at(self, received_at: Timestamp) -> Timestamp {
        match self {
            Self::For(seconds) => received_at
                .checked_add(jiff::SignedDuration::from_secs(seconds.into()))
                .unwrap_or(Timestamp::MAX),
            Self::Until(time) => time,
        }
    }
}

/// Stores a value as the text that it has on the wire.
macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(OriginalRecipient, Priority, DeliverBy);

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: FromStr + fmt::Display>(text: &str) -> Option<String> {
        text.parse::<T>().ok().map(|value| value.to_string())
    }

    #[test]
    fn values_are_written_as_they_were_read() {
        for text in ["7BIT", "8BITMIME", "BINARYMIME"] {
            assert_eq!(round_trip::<Body>(text).as_deref(), Some(text));
        }
        for text in ["NEVER", "SUCCESS", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"] {
            assert_eq!(round_trip::<Notify>(text).as_deref(), Some(text));
        }
        for text in ["120;R", "-60;N", "5;NT", "999999999;RT"] {
            assert_eq!(round_trip::<DeliverBy>(text).as_deref(), Some(text));
        }
        assert_eq!(
            round_trip::<OriginalRecipient>("rfc822;a+2Bb@c").as_deref(),
            Some("rfc822;a+2Bb@c")
        );
        assert_eq!(round_trip::<Priority>("-9").as_deref(), Some("-9"));
        assert_eq!(round_trip::<Ret>("hdrs").as_deref(), Some("HDRS"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(round_trip::<Notify>("NEVER,SUCCESS"), None);
        assert_eq!(round_trip::<Notify>(""), None);
        assert_eq!(round_trip::<DeliverBy>("-1;R"), None);
        assert_eq!(round_trip::<DeliverBy>("1234567890;N"), None);
        assert_eq!(round_trip::<OriginalRecipient>("rfc822;a+0D+0A"), None);
        assert_eq!(round_trip::<OriginalRecipient>("a b;c"), None);
        assert_eq!(round_trip::<Priority>("10"), None);
        let error = "9BIT".parse::<Body>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#""9BIT" is not a value of BODY: it should be 7BIT, 8BITMIME or BINARYMIME"#
        );
    }
}
