use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ulid::Ulid;

/// The name of a mail: 128 bits whose order, as bytes and as text, is the order of creation to the
/// millisecond.
///
/// Its text is 26 letters and digits (a ULID in lower case), so that it can be typed, logged and used
/// as a file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailId(Ulid);

impl MailId {
    /// The id of a mail that came to be at `now`. Two mails of one millisecond differ by `random`, of
    /// which the low 80 bits count.
    #[must_use]
    pub fn new(now: Timestamp, random: u128) -> Self {
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
        Self(Ulid::from_parts(milliseconds, random))
    }

    /// When the mail came to be, to the millisecond.
    #[must_use]
    pub fn created_at(self) -> Timestamp {
        let milliseconds = i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }

    /// The id as 16 bytes, most significant first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The id whose [bytes](Self::to_bytes) these are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; ulid::ULID_LEN];
        let text = self.0.array_to_str(&mut buffer);
        text.make_ascii_lowercase();
        f.pad(text)
    }
}

impl fmt::Debug for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MailId {
    type Err = MailIdError;

    fn from_str(text: &str) -> Result<Self, MailIdError> {
        Ulid::from_string(text).map(Self).map_err(|_| MailIdError(text.chars().take(64).collect()))
    }
}

impl Serialize for MailId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MailId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A text that is no [`MailId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a mail id: it should be 26 letters and digits")]
pub struct MailIdError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_as_values_and_as_text() {
        let at = |ms| MailId::new(Timestamp::from_millisecond(ms).unwrap(), u128::MAX - ms as u128);
        let (early, late) = (at(1_000), at(1_001));
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn text_and_bytes_name_the_same_mail() {
        let id = MailId::new(Timestamp::from_second(1_790_000_000).unwrap(), 42);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.created_at(), Timestamp::from_second(1_790_000_000).unwrap());
        assert_eq!(MailId::from_bytes(id.to_bytes()), id);
        assert!("not an id".parse::<MailId>().is_err());
    }
}
