//! The policy file (RFC 8461 §3.2).

use std::{str::FromStr, time::Duration};

use crate::name;

/// More exchangers than this make no policy.
const PATTERNS_MAX: usize = 100;
/// RFC 8461 §3.2: about one year.
const MAX_AGE_SECONDS_MAX: u64 = 31_557_600;

/// What a domain asks of those who send to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsPolicy {
    pub(crate) mode: Mode,
    pub(crate) max_age: Duration,
    /// In lower case and A-labels.
    patterns: Vec<String>,
}

/// What to do when an exchanger is not as the policy says (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not to deliver there.
    Enforce,
    /// To deliver, and to report.
    Testing,
    /// Nothing: there is no policy any more.
    None,
}

impl Mode {
    /// As a policy says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

impl StsPolicy {
    /// Whether a host is one of the domain's exchangers (RFC 8461 §4.1). A `*` stands for one label.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let above = host.split_once('.').map(|(_, above)| above);
        self.patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(suffix) => above == Some(suffix),
            None => pattern == host,
        })
    }

    /// Its lines, as reports show them (RFC 8460 §4.4).
    pub(crate) fn lines(&self) -> Vec<String> {
        let mode = self.mode.name();
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.patterns.iter().map(|pattern| format!("mx: {pattern}")));
        lines.push(format!("max_age: {}", self.max_age.as_secs()));
        lines
    }

    /// The hosts that it names, and the patterns for them.
    pub(crate) fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

impl FromStr for StsPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (mut version, mut mode, mut max_age, mut patterns) = (None, None, None, Vec::new());
        for line in text.lines() {
            let line = line.trim_matches([' ', '\t']);
            if line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or(PolicyError::Line)?;
            let value = value.trim_matches([' ', '\t']);
            // RFC 8461 §3.2: of fields given twice the first counts, but of mx; unknown ones are for others.
            match key.trim_end_matches([' ', '\t']) {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if patterns.len() == PATTERNS_MAX => return Err(PolicyError::TooManyHosts),
                "mx" => patterns.push(pattern(value)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(PolicyError::Mode),
        };
        if patterns.is_empty() && mode != Mode::None {
            return Err(PolicyError::NoHosts);
        }
        let max_age = max_age.and_then(seconds).ok_or(PolicyError::MaxAge)?;
        Ok(Self { mode, max_age, patterns })
    }
}

fn pattern(text: &str) -> Result<String, PolicyError> {
    let (star, host) = match text.strip_prefix("*.") {
        Some(host) => ("*.", host),
        None => ("", text),
    };
    let host = name::to_ascii(host).filter(|host| !host.contains('*'));
    Ok(format!("{star}{}", host.ok_or(PolicyError::Host)?))
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = text.parse::<u64>().ok().filter(|_| digits)?;
    Some(Duration::from_secs(seconds.min(MAX_AGE_SECONDS_MAX)))
}

/// Why a text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A line without a colon.
    #[error("a line is not of the form key: value")]
    Line,
    /// `version` is missing, or another one.
    #[error("it has no version: STSv1")]
    Version,
    /// `mode` is missing, or another one.
    #[error("its mode is not enforce, testing or none")]
    Mode,
    /// `max_age` is missing, or no number.
    #[error("its max_age is no number of seconds")]
    MaxAge,
    /// No `mx`.
    #[error("it names no mx")]
    NoHosts,
    /// An `mx` that can be no host.
    #[error("one mx is neither a host nor a pattern for hosts")]
    Host,
    /// More than 100 of them.
    #[error("it names more than 100 mx")]
    TooManyHosts,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(lines: &[&str]) -> Result<StsPolicy, PolicyError> {
        lines.join("\r\n").parse()
    }

    #[test]
    fn a_policy_is_read_as_the_standard_shows_it() {
        for end in ["\r\n", "\n"] {
            let text =
                ["version: STSv1", "mode: enforce", "mx: mail.example.com", "mx:*.example.net"];
            let text =
                format!("{}{end}max_age: 604800{end}", text.map(|l| format!("{l}{end}")).concat());
            let policy: StsPolicy = text.parse().unwrap();
            assert_eq!(policy.mode, Mode::Enforce);
            assert_eq!(policy.max_age, Duration::from_secs(604_800));
            assert_eq!(policy.patterns, ["mail.example.com", "*.example.net"]);
            assert_eq!(policy.lines().join("\n").parse(), Ok(policy));
        }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let patterns = ["mx: Mail.Example.com.", "mx: *.example.net", "mx: bücher.example"];
        let mut lines = vec!["version: STSv1", "mode: testing", "max_age: 1"];
        lines.extend(patterns);
        let policy = policy(&lines).unwrap();
        for host in ["mail.example.com", "a.example.net", "xn--bcher-kva.example"] {
            assert!(policy.names(host), "{host}");
        }
        for host in
            ["example.com", "a.mail.example.com", "example.net", "a.b.example.net", "net", ""]
        {
            assert!(!policy.names(host), "{host}");
        }
    }

    #[test]
    fn of_fields_given_twice_the_first_counts_and_the_unknown_are_passed_over() {
        let lines =
            ["version: STSv1", "mode: none", "mode: enforce", "max_age: 9", "max_age: x", "x: y"];
        let policy = policy(&lines).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::None, Duration::from_secs(9)));
    }

    #[test]
    fn an_age_is_at_most_a_year() {
        let read =
            |age: &str| policy(&["version: STSv1", "mode: none", &format!("max_age: {age}")]);
        assert_eq!(read("9999999999").unwrap().max_age.as_secs(), MAX_AGE_SECONDS_MAX);
        for age in ["", "-1", "+1", "1.5", "99999999999", "1d"] {
            assert_eq!(read(age), Err(PolicyError::MaxAge), "{age}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let (version, mode, mx, age) =
            ("version: STSv1", "mode: enforce", "mx: a.example", "max_age: 9");
        let many = vec![mx; PATTERNS_MAX + 1].join("\n");
        for (lines, error) in [
            (vec![], PolicyError::Version),
            (vec!["version: STSv2", mode, mx, age], PolicyError::Version),
            (vec![mode, mx, age], PolicyError::Version),
            (vec![version, "mode: Enforce", mx, age], PolicyError::Mode),
            (vec![version, mx, age], PolicyError::Mode),
            (vec![version, mode, age], PolicyError::NoHosts),
            (vec![version, mode, mx], PolicyError::MaxAge),
            (vec![version, mode, "mx: *", age], PolicyError::Host),
            (vec![version, mode, "mx: a.*.example", age], PolicyError::Host),
            (vec![version, mode, "mx: a b", age], PolicyError::Host),
            (vec![version, mode, "mx:", age], PolicyError::Host),
            (vec!["<html>", version, mode, mx, age], PolicyError::Line),
            (vec![version, mode, age, &many], PolicyError::TooManyHosts),
        ] {
            assert_eq!(policy(&lines), Err(error), "{lines:?}");
        }
    }
}
