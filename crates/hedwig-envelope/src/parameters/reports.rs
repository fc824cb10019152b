//! What a sender asks to be told of, and how (RFC 3461).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::ParameterError;
use crate::xtext;

/// `RET=` (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ret {
    /// The whole mail.
    Full,
    /// Its header only.
    Hdrs,
}

impl FromStr for Ret {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text.to_ascii_uppercase().as_str() {
            "FULL" => Ok(Self::Full),
            "HDRS" => Ok(Self::Hdrs),
            _ => Err(ParameterError::new("RET", text, "FULL or HDRS")),
        }
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Hdrs => "HDRS",
        })
    }
}

/// `NOTIFY=` (RFC 3461 §4.1): of what a recipient's sender wants to be told. All false is `NEVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it failed for good.
    pub failure: bool,
    /// When it waits long.
    pub delay: bool,
}

impl Notify {
    /// Never tell anybody.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

/// What holds when nothing was asked (RFC 3461 §4.1): failures and delays.
impl Default for Notify {
    fn default() -> Self {
        Self { success: false, failure: true, delay: true }
    }
}

impl FromStr for Notify {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let mut notify = Self::NEVER;
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(notify);
        }
        for word in text.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => {
                    let expected = "NEVER, or a list of SUCCESS, FAILURE and DELAY";
                    return Err(ParameterError::new("NOTIFY", text, expected));
                }
            }
        }
        Ok(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let mut separator = "";
        for (_, word) in words.iter().filter(|(asked, _)| *asked) {
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        if separator.is_empty() { f.write_str("NEVER") } else { Ok(()) }
    }
}

/// `ORCPT=` (RFC 3461 §4.2): the recipient as the sender first wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// The kind of address, such as `rfc822` or `utf-8` (RFC 6533 §3).
    pub kind: String,
    /// The address, decoded.
    pub address: String,
}

impl FromStr for OriginalRecipient {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let wrong = || {
            ParameterError::new(
                "ORCPT",
                text,
                "a kind, a semicolon and an xtext, 500 characters at most",
            )
        };
        let (kind, address) = text.split_once(';').ok_or_else(wrong)?;
        let is_atom = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if kind.is_empty() || !kind.bytes().all(is_atom) {
            return Err(wrong());
        }
        let address = xtext::decode(address).filter(|a| !a.is_empty()).ok_or_else(wrong)?;
        let original = Self { kind: kind.to_owned(), address };
        // RFC 3461 §5.2 allows 500 characters; as it will be sent on, not as it came.
        if original.to_string().len() > 500 {
            return Err(wrong());
        }
        Ok(original)
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, xtext::encode(&self.address))
    }
}
