//! What an operator asks of TLS, for all domains and for some: `DOMAIN=LEVEL`.

use std::{collections::HashMap, fmt, str::FromStr};

use crate::route::{Pattern, most_exact};

/// What is asked of TLS on the way to a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsLevel {
    /// Clear text always, for a laboratory. A mail with REQUIRETLS still goes over TLS, or not at all.
    Never,
    /// TLS where it is offered and works, clear text elsewhere; any certificate is taken (RFC 7435). What the
    /// host's TLSA records or the domain's MTA-STS policy ask for comes on top.
    #[default]
    Opportunistic,
    /// TLS with whatever certificate, or no delivery. TLSA records and MTA-STS come on top.
    Encrypted,
    /// TLS with a certificate that TLSA records stand for or, without such records, that an
    /// [authority](crate::Authorities) vouches for, for the host's name; or no delivery.
    ///
    /// Where neither DNSSEC nor MTA-STS vouches for the host's name, who forges the domain's MX records
    /// chooses that name too.
    Verified,
    /// TLS with a certificate that TLSA records stand for, or no delivery (RFC 7672).
    Dane,
}

const LEVELS: [(TlsLevel, &str); 5] = [
    (TlsLevel::Never, "never"),
    (TlsLevel::Opportunistic, "opportunistic"),
    (TlsLevel::Encrypted, "encrypted"),
    (TlsLevel::Verified, "verified"),
    (TlsLevel::Dane, "dane"),
];

impl FromStr for TlsLevel {
    type Err = TlsRuleError;

    fn from_str(text: &str) -> Result<Self, TlsRuleError> {
        let found = LEVELS.into_iter().find(|(_, name)| *name == text);
        found.map(|(level, _)| level).ok_or_else(|| {
            TlsRuleError::new(
                text,
                "it should be opportunistic, encrypted, verified, dane or never",
            )
        })
    }
}

impl fmt::Display for TlsLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LEVELS.into_iter().find(|(level, _)| level == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// A rule of the form `DOMAIN=LEVEL`. `DOMAIN` is as in a [`Route`](crate::Route): a name, `*.example.com` for
/// all names below it, or `*`.
///
/// It is the recipients' domain; where a route names a server, it is the server's name.
///
/// ```
/// # use hedwig_mx::{TlsLevel, TlsRule};
/// let rule: TlsRule = "*.example.com=verified".parse()?;
/// assert_eq!(rule.level, TlsLevel::Verified);
/// assert!("example.com=perhaps".parse::<TlsRule>().is_err());
/// # Ok::<(), hedwig_mx::TlsRuleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRule {
    pattern: Pattern,
    /// What is asked for.
    pub level: TlsLevel,
}

impl FromStr for TlsRule {
    type Err = TlsRuleError;

    fn from_str(text: &str) -> Result<Self, TlsRuleError> {
        let wrong = |reason| TlsRuleError::new(text, reason);
        let (domain, level) =
            text.split_once('=').ok_or_else(|| wrong("it should be DOMAIN=LEVEL"))?;
        let pattern = Pattern::parse(domain.trim());
        let pattern = pattern.ok_or_else(|| wrong("the domain is no name, *.name or *"))?;
        let level = level.trim().parse().map_err(|error: TlsRuleError| wrong(error.reason))?;
        Ok(Self { pattern, level })
    }
}

impl fmt::Display for TlsRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.level)
    }
}

/// Why a text is no [`TlsRule`], or no [`TlsLevel`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} asks for nothing that is known of TLS: {reason}")]
pub struct TlsRuleError {
    text: String,
    reason: &'static str,
}

impl TlsRuleError {
    fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.chars().take(200).collect(), reason }
    }
}

/// What is asked of TLS: of all, and of some. The most exact rule wins, as with [`Routes`](crate::Routes).
#[derive(Clone, Debug, Default)]
pub struct TlsRules {
    otherwise: TlsLevel,
    levels: HashMap<Pattern, TlsLevel>,
}

impl TlsRules {
    /// These rules, and for whoever none of them is about, this level.
    pub fn new(otherwise: TlsLevel, rules: impl IntoIterator<Item = TlsRule>) -> Self {
        let levels = rules.into_iter().map(|rule| (rule.pattern, rule.level)).collect();
        Self { otherwise, levels }
    }

    /// What is asked of TLS with a domain or a server, whose name has A-labels in lower case.
    #[must_use]
    pub fn level(&self, name: &str) -> TlsLevel {
        self.find(name).0
    }

    /// The level for this name, and the pattern of the rule that says so.
    pub(crate) fn find(&self, name: &str) -> (TlsLevel, Option<&Pattern>) {
        match most_exact(&self.levels, name) {
            Some((pattern, level)) => (*level, Some(pattern)),
            None => (self.otherwise, None),
        }
    }
}

impl From<TlsLevel> for TlsRules {
    fn from(otherwise: TlsLevel) -> Self {
        Self::new(otherwise, [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_rule_wins() {
        let rules = ["*.example.com=verified", "a.example.com=never", "bücher.example=dane"];
        let rules = rules.map(|rule| rule.parse::<TlsRule>().unwrap());
        let rules = TlsRules::new(TlsLevel::Encrypted, rules);
        for (name, level) in [
            ("a.example.com", "never"),
            ("b.example.com", "verified"),
            ("example.com", "encrypted"),
            ("xn--bcher-kva.example", "dane"),
        ] {
            assert_eq!(rules.level(name).to_string(), level, "{name}");
        }
        assert_eq!(TlsRules::default().level("example.com"), TlsLevel::Opportunistic);
    }

    #[test]
    fn a_rule_is_understood_and_shown_again_or_said_to_be_wrong() {
        for text in ["*=dane", "*.example.com=verified", "example.com=never"] {
            assert_eq!(text.parse::<TlsRule>().unwrap().to_string(), text);
        }
        for (text, reason) in [
            ("example.com", "DOMAIN=LEVEL"),
            ("a b=never", "no name"),
            ("example.com=Verified", "it should be opportunistic, encrypted"),
        ] {
            let error = text.parse::<TlsRule>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }
}
