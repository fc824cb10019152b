//! Asks each domain where its report is to go, and sends it there.

use std::{future::Future, io, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hedwig_envelope::{Address, BoxError, MailService, Outcome};
use tokio::time::{MissedTickBehavior, interval};
use tower::ServiceExt;

use super::{
    Day, HttpsPoster, ReportError, ReportUri, Reporting, TlsCounts, record::report_uris,
    report::Report,
};
use crate::{Resolver, https::HttpsError};

/// How often the counts are saved, and the time is looked at.
const TICK: Duration = Duration::from_secs(60);
/// How many domains are asked and reported to at the same time.
const CONCURRENT_MAX: usize = 16;

/// When reports are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsReportTimes {
    /// A day's reports leave at a random time up to so long after its end (RFC 8460 §4.1).
    pub delay_max: Duration,
    /// What could not be sent is tried again after so long, then after twice as long, and so on (RFC 8460 §5.5).
    pub retry: Duration,
    /// What could not be sent so long after the day's end is given up.
    pub give_up: Duration,
}

impl Default for TlsReportTimes {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self { delay_max: hours(4), retry: hours(1), give_up: hours(28) }
    }
}

/// What became of a day's reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedDay {
    /// So many reports went somewhere.
    pub sent: usize,
    /// So many domains asked for none.
    pub unasked: usize,
    /// So many domains are to be tried again.
    pub waiting: usize,
}

/// Sends reports of what was counted.
#[derive(Clone, Debug)]
pub struct TlsReporter<S> {
    counts: Arc<TlsCounts>,
    resolver: Resolver,
    poster: HttpsPoster,
    mails: S,
    reporting: Reporting,
    times: TlsReportTimes,
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error("the mail was not taken: {0}")]
    Mail(BoxError),
    #[error("the mail was not taken: {0}")]
    Refused(String),
}

/// What became of one domain's report.
struct Reported {
    sent: usize,
    asked: bool,
    done: bool,
}

impl<S: MailService> TlsReporter<S> {
    /// Reports of `counts`, by mails that are given to `mails`, and by HTTPS.
    #[must_use]
    pub fn new(
        counts: Arc<TlsCounts>,
        resolver: Resolver,
        poster: HttpsPoster,
        mails: S,
        reporting: Reporting,
        times: TlsReportTimes,
    ) -> Self {
        Self { counts, resolver, poster, mails, reporting, times }
    }

    /// Saves the counts each minute, and reports each day after its end, until it is told to stop; then saves once more.
    ///
    /// What was counted since the last time is lost when the program is killed. A report that was sent since then is sent
    /// once more, with the same id.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let work = async { tokio::join!(self.save_each_minute(), self.report_each_day()) };
        tokio::select! {
            () = stop => {}
            _ = work => {}
        }
        self.save().await;
    }

    async fn save_each_minute(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.save().await;
        }
    }

    async fn save(&self) {
        let counts = self.counts.clone();
        let saved = tokio::task::spawn_blocking(move || counts.save()).await;
        if let Err(error) = saved.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::error!(%error, "what was counted for TLS reports cannot be saved");
        }
    }

    async fn report_each_day(&self) {
        let delay = Duration::from_secs(fastrand::u64(..=self.times.delay_max.as_secs()));
        let (mut wait, mut not_before) = (self.times.retry, i64::MIN);
        let mut newest = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut days = self.counts.ended();
            days.retain(|day| self.since(*day) >= delay);
            // What an earlier day still waits for says nothing of a new one, whose reports may go elsewhere.
            if days.last() > newest.as_ref() {
                newest = days.last().copied();
                (wait, not_before) = (self.times.retry, i64::MIN);
            }
            if days.is_empty() || self.now() < not_before {
                continue;
            }
            let mut last_try = None;
            for day in days {
                let reported = self.report_day(day).await;
                if reported.waiting == 0 || self.since(day) >= self.times.give_up {
                    self.end(day);
                } else {
                    // Days come in their order: the first is the first that is given up.
                    last_try.get_or_insert(after(day.last_second(), self.times.give_up));
                }
            }
            if let Some(last_try) = last_try {
                not_before = after(self.now(), wait).min(last_try);
                wait = wait.saturating_mul(2);
            } else {
                wait = self.times.retry;
            }
        }
    }

    /// The time as seconds.
    fn now(&self) -> i64 {
        (self.counts.clock)().as_second()
    }

    /// The time since a day's end.
    fn since(&self, day: Day) -> Duration {
        let seconds = self.now().saturating_sub(day.last_second());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    fn end(&self, day: Day) {
        let (given_up, not_kept) = self.counts.end(day);
        let (sessions, details) = (not_kept.sessions, not_kept.details);
        if given_up > 0 {
            tracing::warn!(%day, domains = given_up, "TLS reports could not be sent and are given up");
        }
        if sessions > 0 || details > 0 {
            tracing::warn!(%day, sessions, details, "TLS reports: there was more than is kept");
        }
    }

    /// Reports a day, as far as it is not reported yet. What could not be sent stays, to be tried again.
    pub async fn report_day(&self, day: Day) -> ReportedDay {
        let mut domains = self.counts.domains(day).into_iter();
        let mut reports = FuturesUnordered::new();
        let mut total = ReportedDay::default();
        loop {
            let room = CONCURRENT_MAX.saturating_sub(reports.len());
            for domain in domains.by_ref().take(room) {
                reports.push(self.report(day, domain));
            }
            let Some(reported) = reports.next().await else { break };
            total.sent += reported.sent;
            total.unasked += usize::from(!reported.asked && reported.done);
            total.waiting += usize::from(!reported.done);
        }
        let ReportedDay { sent, unasked, waiting } = total;
        tracing::info!(%day, sent, unasked, waiting, "TLS reports");
        total
    }

    async fn report(&self, day: Day, domain: String) -> Reported {
        let domain = domain.as_str();
        let mut reported = Reported { sent: 0, asked: false, done: true };
        let records = match self.resolver.txt(&format!("_smtp._tls.{domain}")).await {
            Ok(found) => found.value,
            Err(error) if error.kind.is_transient() => {
                return Reported { done: false, ..reported };
            }
            Err(_) => Vec::new(),
        };
        for uri in report_uris(&records) {
            reported.asked = true;
            match self.send(day, domain, &uri).await {
                Ok(sent) => reported.sent += usize::from(sent),
                Err(error) => {
                    tracing::warn!(%day, domain, %uri, %error, "a TLS report could not be sent");
                    reported.done = false;
                }
            }
        }
        if reported.done {
            self.counts.forget(day, domain);
        }
        reported
    }

    /// Sends a report to one who wants it; says whether it had not been there before.
    async fn send(&self, day: Day, domain: &str, uri: &ReportUri) -> Result<bool, SendError> {
        let Some(counts) = self.counts.of_domain(day, domain) else { return Ok(false) };
        let place = uri.to_string();
        if counts.sent.contains(&place) {
            return Ok(false);
        }
        let report = Report::new(&self.reporting, day, domain, counts.policies)?;
        match uri {
            ReportUri::Mail(to) => self.mail(&report, to).await?,
            ReportUri::Https(uri) => self.poster.post(uri, &report.gzip).await?,
        }
        self.counts.sent(day, domain, &place);
        Ok(true)
    }

    async fn mail(&self, report: &Report, to: &Address) -> Result<(), SendError> {
        let mail = report.mail(&self.reporting, to, (self.counts.clock)())?;
        let receipt = self.mails.clone().oneshot(mail).await.map_err(SendError::Mail)?;
        match receipt.outcomes.first() {
            Some(Outcome::Done(_)) => Ok(()),
            Some(other) => Err(SendError::Refused(other.answer().status.to_string())),
            None => Err(SendError::Refused("nothing is said of its recipient".into())),
        }
    }
}

/// So long after this second.
fn after(second: i64, span: Duration) -> i64 {
    second.saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
}
