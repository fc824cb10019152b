//! How the queue is worked off: the settings of section `[delivery]`, the same in both daemons.

use std::{num::NonZeroUsize, time::Duration};

use hedwig_spool::{CourierOptions, Schedule};

use crate::{
    Hostname, reporter,
    settings::{Reading, Setting, Span},
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

/// How the queue is worked off.
#[derive(Clone, Debug)]
pub struct Options {
    /// When to try again, and when to give up.
    pub schedule: Schedule,
    /// After how long a sender is told of a delay.
    pub delay_warning: Option<Duration>,
    /// How many queued mails are under way at once.
    pub concurrency: usize,
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
        })
    }

    /// The options of a courier that tells senders what it has to, in the name of this host.
    #[must_use]
    pub fn courier(&self, hostname: &Hostname) -> CourierOptions {
        CourierOptions {
            schedule: self.schedule,
            concurrency: self.concurrency,
            delay_warning: self.delay_warning,
            reporter: Some(reporter(hostname)),
            ..CourierOptions::default()
        }
    }
}
