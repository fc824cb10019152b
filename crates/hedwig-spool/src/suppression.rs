//! One recipient that is not to be tried, as the list of them has it, and as an operator sees it.

use std::fmt;

use hedwig_envelope::{Address, Timestamp};
use serde::{Deserialize, Serialize};

/// One recipient that is not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// Whom it is about.
    pub address: Address,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why: the reply that told, or an operator's words.
    pub reason: String,
    /// Who put it here.
    pub origin: SuppressionOrigin,
}

/// As an operator reads it: since when, until when, who said so and what.
impl fmt::Display for Suppression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, until, reason, origin, .. } = self;
        write!(f, "since {since:.0}, ")?;
        match until {
            Some(until) => write!(f, "until {until:.0}")?,
            None => f.write_str("for ever")?,
        }
        match origin {
            SuppressionOrigin::Reply => write!(f, ": its server said {reason}"),
            SuppressionOrigin::Operator => write!(f, ": an operator said {reason}"),
        }
    }
}

/// Who says that a recipient is not to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuppressionOrigin {
    /// The recipient's own server, in its reply to a mail.
    Reply,
    /// An operator of this host.
    Operator,
}

impl SuppressionOrigin {
    /// As the list has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Operator => "operator",
        }
    }
}
