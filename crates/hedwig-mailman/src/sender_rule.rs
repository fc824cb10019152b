use std::{fmt, str::FromStr};

use hedwig_envelope::Address;

/// Senders that are allowed: `alice@example.org`, or everybody at `example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderRule {
    /// One address.
    Address(Address),
    /// All addresses of this domain, but not of those below it.
    Domain(String),
}

impl SenderRule {
    pub(crate) fn allows(&self, sender: &Address) -> bool {
        match self {
            Self::Address(address) => address == sender,
            Self::Domain(domain) => {
                sender.domain_text().is_some_and(|other| other.eq_ignore_ascii_case(domain))
            }
        }
    }
}

impl fmt::Display for SenderRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => f.write_str(domain),
        }
    }
}

impl FromStr for SenderRule {
    type Err = SenderRuleError;

    fn from_str(text: &str) -> Result<Self, SenderRuleError> {
        if text.contains('@') {
            return text.parse().map(Self::Address).map_err(|_| SenderRuleError);
        }
        // With somebody in front of it, it must be an address.
        let somebody: Address = format!("a@{text}").parse().map_err(|_| SenderRuleError)?;
        Ok(Self::Domain(somebody.domain_text().unwrap_or(text).to_owned()))
    }
}

/// A text that is no [`SenderRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderRuleError;

impl fmt::Display for SenderRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sender is an address, or a domain whose addresses are all meant")
    }
}

/// What becomes of a sender that no [`SenderRule`] allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherSenders {
    /// 550 5.7.1.
    #[default]
    Refuse,
    /// The default sender takes its place.
    Rewrite,
}

impl FromStr for OtherSenders {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "rewrite" => Ok(Self::Rewrite),
            _ => Err("other senders are dealt with by refuse or rewrite"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_an_address_or_a_domain() {
        for (rule, sender, allows) in [
            ("example.org", "anybody@Example.ORG", true),
            ("example.org", "eve@sub.example.org", false),
            ("root@example.com", "root@example.com", true),
            ("root@example.com", "eve@example.com", false),
        ] {
            let rule: SenderRule = rule.parse().unwrap();
            assert_eq!(rule.allows(&sender.parse().unwrap()), allows, "{rule} {sender}");
        }
        for wrong in ["", "@example.org", "exa mple.org", "a@"] {
            assert!(wrong.parse::<SenderRule>().is_err(), "{wrong}");
        }
    }
}
