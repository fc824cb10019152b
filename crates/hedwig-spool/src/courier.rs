use std::{fmt, future::Future, sync::Arc, time::Duration};

use hedwig_envelope::{Answer, BoxMailService, Mail, MailService, Timestamp};

use crate::{Schedule, Spool};

/// What has happened to the recipients of a mail that its sender may have to be told of (the `Action`
/// field of RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Refused for good, or given up.
    Failed,
    /// Still waiting, for longer than [`CourierOptions::delay_warning`].
    Delayed,
    /// Taken by the next server.
    Done,
}

/// Writes the report to a mail's sender, if one is due: the mail with the recipients it was tried for,
/// what happened, to which of them (by their place in that mail's envelope) and on whose word, and when.
pub type Reporter =
    Arc<dyn Fn(&Mail, Event, &[(usize, &Answer)], Timestamp) -> Option<Mail> + Send + Sync>;

/// How a [`Courier`] works.
#[derive(Clone)]
pub struct CourierOptions {
    /// When to try again, and when to give up.
    pub schedule: Schedule,
    /// So many units are under way at most.
    pub concurrency: usize,
    /// So many of them to one destination.
    pub concurrency_per_destination: usize,
    /// After how long a sender is told, once, that the mail still waits; `None` for never.
    pub delay_warning: Option<Duration>,
    /// Who writes the reports to senders; `None` and nobody is told anything.
    pub reporter: Option<Reporter>,
}

impl Default for CourierOptions {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            concurrency: 512,
            concurrency_per_destination: 32,
            delay_warning: Some(Duration::from_hours(4)),
            reporter: None,
        }
    }
}

impl fmt::Debug for CourierOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CourierOptions")
            .field("schedule", &self.schedule)
            .field("concurrency", &self.concurrency)
            .field("concurrency_per_destination", &self.concurrency_per_destination)
            .field("delay_warning", &self.delay_warning)
            .finish_non_exhaustive()
    }
}

/// Works a spool off into a service.
#[derive(Debug)]
pub struct Courier {
    spool: Spool,
    service: BoxMailService,
    options: CourierOptions,
}

impl Courier {
    /// A courier that carries what is due in `spool` to `service`.
    pub fn new(spool: Spool, service: impl MailService, options: CourierOptions) -> Self {
        Self { spool, service: service.boxed_mail_service(), options }
    }

    /// Works until `shutdown` resolves; then lets what is under way come to its end, and returns.
    /// Dropped instead, it leaves its leases to run out.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let _ = (&self.spool, &self.service, &self.options);
        shutdown.await;
        todo!()
    }
}
