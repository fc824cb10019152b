//! What a check found.

use std::io::{self, Write};

use hedwig_mx::{ResolveError, ResolveErrorKind};
use serde_json::{Value, json};

/// Longer texts are cut: DNS may say anything.
const TEXT_CHARACTERS_MAX: usize = 1000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Mail goes out, and something could be better or is not known.
    Warn,
    /// Mail is refused for it, by some at least.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was checked.
    pub(super) check: String,
    /// What is so.
    pub(super) found: String,
    /// What to do.
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, found: impl AsRef<str>) -> Self {
        Self::new(Level::Ok, check, found, None)
    }

    pub(super) fn warn(
        check: impl Into<String>,
        found: impl AsRef<str>,
        advice: impl AsRef<str>,
    ) -> Self {
        Self::new(Level::Warn, check, found, Some(advice.as_ref()))
    }

    pub(super) fn fail(
        check: impl Into<String>,
        found: impl AsRef<str>,
        advice: impl AsRef<str>,
    ) -> Self {
        Self::new(Level::Fail, check, found, Some(advice.as_ref()))
    }

    /// DNS gave nothing: for a name that others ask for too, that is a failure.
    pub(super) fn unresolved(check: impl Into<String>, error: &ResolveError) -> Self {
        let advice = match error.kind {
            ResolveErrorKind::Bogus => {
                "Mend the zone's DNSSEC, its DS record first: those who validate see none of its records."
            }
            _ => {
                "Ask again in a while; if it stays so, look at the zone's name servers and at [dns] server."
            }
        };
        Self::fail(check, error.to_string(), advice)
    }

    fn new(
        level: Level,
        check: impl Into<String>,
        found: impl AsRef<str>,
        advice: Option<&str>,
    ) -> Self {
        let (check, found) = (check.into(), harmless(found.as_ref()));
        Self { level, check, found, advice: advice.map(harmless) }
    }
}

/// Without what would change a terminal: some of it is what strangers wrote.
fn harmless(text: &str) -> String {
    let is_odd =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = text.chars().map(|c| if is_odd(c) { '?' } else { c });
    let mut text: Vec<char> = text.take(TEXT_CHARACTERS_MAX + 1).collect();
    if text.len() > TEXT_CHARACTERS_MAX {
        text.truncate(TEXT_CHARACTERS_MAX);
        text.push('…');
    }
    text.into_iter().collect()
}

/// All that was found, in the order of the checks.
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    /// Whether something failed.
    pub(super) fn has_failed(&self) -> bool {
        self.count(Level::Fail) > 0
    }

    /// A line for each, what to do below it, and the sum.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for finding in &self.0 {
            writeln!(out, "{:4}  {}: {}", finding.level.name(), finding.check, finding.found)?;
            if let Some(advice) = &finding.advice {
                writeln!(out, "      -> {advice}")?;
            }
        }
        let [ok, warn, fail] = [Level::Ok, Level::Warn, Level::Fail].map(|level| self.count(level));
        writeln!(out, "{ok} ok, {warn} to look at, {fail} failed")
    }

    /// One JSON object.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let checks = self.0.iter().map(|finding| {
            json!({
                "level": finding.level.name(),
                "check": finding.check,
                "found": finding.found,
                "advice": finding.advice,
            })
        });
        let whole = json!({
            "checks": checks.collect::<Vec<Value>>(),
            "ok": self.count(Level::Ok),
            "warn": self.count(Level::Warn),
            "fail": self.count(Level::Fail),
        });
        writeln!(out, "{whole}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_does_nothing_to_a_terminal() {
        let finding = Finding::ok("spf", "v=spf1 \u{1b}[2J\r\n\u{202e}ok");
        assert_eq!(finding.found, "v=spf1 ?[2J???ok");
        let finding = Finding::ok("spf", "x".repeat(100_000));
        assert_eq!(finding.found.chars().count(), TEXT_CHARACTERS_MAX + 1);
    }

    #[test]
    fn a_run_is_lines_and_a_sum_or_one_object() {
        let findings = Findings(vec![
            Finding::ok("clock", "exact"),
            Finding::fail("spf example.org", "there is none", "Publish one."),
        ]);
        let mut text = Vec::new();
        findings.write(&mut text).unwrap();
        let expected = "ok    clock: exact\nfail  spf example.org: there is none\n      -> Publish one.\n\
                        1 ok, 0 to look at, 1 failed\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let mut text = Vec::new();
        findings.write_json(&mut text).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            (&value["fail"], &value["checks"][1]["advice"]),
            (&json!(1), &json!("Publish one."))
        );
        assert!(findings.has_failed());
    }
}
