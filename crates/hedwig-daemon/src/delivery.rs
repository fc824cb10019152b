//! How the queue is worked off: the settings of section `[delivery]`, the same in both daemons.

use std::{num::NonZeroUsize, str::FromStr, time::Duration};

use hedwig_spool::{CourierOptions, Domains, DomainsError, Rate, Rates, Schedule, Sharing};

use crate::{
    Hostname, reporter,
    settings::{Reading, Setting, Size, Span},
};

/// The setting for how long a mail may wait.
pub static EXPIRY: Setting = Setting::text("delivery", "expiry", "SPAN")
    .help("Give a mail up, and tell its sender, after so long")
    .default("5d");
/// The setting for the first wait, with a daemon's default.
#[must_use]
pub const fn retry(default: &'static str) -> Setting {
    Setting::text("delivery", "retry", "SPAN")
        .help("Try again after so long; each further wait is twice as long, up to retry_max")
        .default(default)
}
/// The setting for the longest wait, with a daemon's default.
#[must_use]
pub const fn retry_max(default: &'static str) -> Setting {
    Setting::text("delivery", "retry_max", "SPAN").help("The longest wait").default(default)
}
/// The setting for when a sender is told of a delay.
pub static DELAY_WARNING: Setting = Setting::text("delivery", "delay_warning", "SPAN")
    .help("Tell the sender, once, when a mail has waited for so long; 0s for never")
    .default("4h");
/// The setting for how much is under way at once.
pub static CONCURRENCY: Setting = Setting::text("delivery", "concurrency", "N")
    .help("So many queued mails are under way at once")
    .default("512");
/// The setting for how much memory the contents of what is under way take.
pub static CONTENT_MEMORY: Setting = Setting::text("delivery", "content_memory", "SIZE")
    .help("So much memory for their contents; a mail that finds no room waits until others have ended")
    .default("128M");

/// The setting for how many mails a domain gets in a time.
pub static RATE: Setting = Setting::list("delivery", "rate", "DOMAIN=N/SPAN")
    .help("Send DOMAIN (*.name: below it; *: every other, each for itself) no more than N mails in SPAN")
    .example("example.org=100/1m");
/// The setting for how much one destination gets at once.
pub static CONCURRENCY_PER_DESTINATION: Setting = Setting::text(
    "delivery",
    "concurrency_per_destination",
    "N",
)
.help("So many of them to one destination at most; it gets fewer while it does not answer well")
.default("20");
/// The setting for how much one sender has under way at once.
pub static CONCURRENCY_PER_SENDER: Setting =
    Setting::text("delivery", "concurrency_per_sender", "N")
        .help("So many of them from one sender at most; without it, as many as there are");

/// The setting for how long what a sender is to be told is gathered.
pub static REPORTS_GATHERED: Setting = Setting::text("delivery", "reports_gathered", "SPAN")
    .help(
        "Gather for so long what the sender of a mail to several domains is to be told, into one report; less if all \
         has come to an end",
    )
    .default("1m");

/// How the queue is worked off.
#[derive(Clone, Debug)]
pub struct Options {
    /// When to try again, and when to give up.
    pub schedule: Schedule,
    /// After how long a sender is told of a delay.
    pub delay_warning: Option<Duration>,
    /// How many queued mails are under way at once.
    pub concurrency: usize,
    /// How much memory their contents take at most, in bytes.
    pub content_bytes_max: u64,
}

/// How much a destination and a sender get, and how many reports, for a daemon that sends to many.
#[derive(Clone, Debug)]
pub struct Politeness {
    /// How many mails the domains get in a time.
    pub rates: Rates,
    /// How many units are under way to one destination at most.
    pub per_destination: usize,
    /// How many units are under way from one sender at most.
    pub per_sender: usize,
    /// How long what a sender is to be told is gathered into one report.
    pub reports_gathered: Duration,
}

impl Politeness {
    /// Reads those settings of section `[delivery]` that are about it.
    pub fn read(read: &mut Reading<'_>) -> Option<Self> {
        let rates = read.many::<DomainRate>(&RATE);
        let per_destination = read.one::<NonZeroUsize>(&CONCURRENCY_PER_DESTINATION);
        let per_sender = read.optional::<NonZeroUsize>(&CONCURRENCY_PER_SENDER);
        let reports_gathered = read.one::<Span>(&REPORTS_GATHERED);
        Some(Self {
            reports_gathered: reports_gathered?.0,
            rates: rates?.into_iter().map(|rate| (rate.domains, rate.rate)).collect(),
            per_destination: per_destination?.get(),
            per_sender: per_sender?.map_or(usize::MAX, NonZeroUsize::get),
        })
    }

    /// The options of a courier that keeps to it.
    #[must_use]
    pub fn of(&self, options: CourierOptions, sharing: Sharing) -> CourierOptions {
        CourierOptions {
            concurrency_per_destination: self.per_destination,
            concurrency_per_sender: self.per_sender,
            rates: self.rates.clone(),
            gathering: self.reports_gathered,
            sharing: Some(sharing),
            ..options
        }
    }
}

/// `DOMAIN=N/SPAN`.
struct DomainRate {
    domains: Domains,
    rate: Rate,
}

/// A text that is no rate of domains.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum RateError {
    #[error("a rate is DOMAIN=N/SPAN, such as example.org=100/1m")]
    Form,
    #[error(transparent)]
    Domains(#[from] DomainsError),
    #[error("a rate is at least one mail, in 31 days at most")]
    Impossible,
}

impl FromStr for DomainRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (domains, rate) = text.split_once('=').ok_or(RateError::Form)?;
        let (mails, span) = rate.split_once('/').ok_or(RateError::Form)?;
        let mails = mails.parse().map_err(|_| RateError::Form)?;
        let span: Span = span.parse().map_err(|_| RateError::Form)?;
        let rate = Rate::new(mails, span.0).ok_or(RateError::Impossible)?;
        Ok(Self { domains: domains.parse()?, rate })
    }
}

impl Options {
    /// Reads the settings of section `[delivery]`, the daemon's own [`retry`] and [`retry_max`] among them.
    pub fn read(
        read: &mut Reading<'_>,
        retry: &'static Setting,
        retry_max: &'static Setting,
    ) -> Option<Self> {
        let expiry = read.one::<Span>(&EXPIRY);
        let first = read.one::<Span>(retry);
        let longest = read.one::<Span>(retry_max);
        let delay_warning = read.one::<Span>(&DELAY_WARNING);
        let concurrency = read.one::<NonZeroUsize>(&CONCURRENCY);
        let content_memory = read.one::<Size>(&CONTENT_MEMORY);
        let (first, longest) = (first?.0, longest?.0);
        if first.is_zero() {
            read.wrong(retry, "without a wait a mail that is deferred would be tried without end");
        }
        if longest < first {
            read.wrong(retry_max, "the longest wait is shorter than the first one");
        }
        Some(Self {
            schedule: Schedule { first, longest, expiry: expiry?.0, ..Schedule::default() },
            delay_warning: Some(delay_warning?.0).filter(|warning| !warning.is_zero()),
            concurrency: concurrency?.get(),
            content_bytes_max: content_memory?.0,
        })
    }

    /// The options of a courier that tells senders what it has to, in the name of this host.
    #[must_use]
    pub fn courier(&self, hostname: &Hostname) -> CourierOptions {
        CourierOptions {
            schedule: self.schedule,
            concurrency: self.concurrency,
            content_bytes_max: self.content_bytes_max,
            delay_warning: self.delay_warning,
            reporter: Some(reporter(hostname, self.schedule.expiry)),
            ..CourierOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_domains_is_read() {
        let read: DomainRate = "*.example.org=100/1m".parse().unwrap();
        assert_eq!(read.domains.to_string(), "*.example.org");
        assert_eq!(Some(read.rate), Rate::new(100, Duration::from_secs(60)));
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_reason() {
        for (text, error) in [
            ("example.org", RateError::Form),
            ("example.org=100", RateError::Form),
            ("example.org=x/1m", RateError::Form),
            ("example.org=1/m", RateError::Form),
            ("example.org=0/1m", RateError::Impossible),
            ("a*b=1/1m", RateError::Domains(DomainsError)),
        ] {
            assert_eq!(text.parse::<DomainRate>().err(), Some(error), "{text}");
        }
    }
}
