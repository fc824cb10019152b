//! Counts how TLS went, a day at a time.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hedwig_envelope::Timestamp;
use mail_auth::report::tlsrpt::{Policy, Summary};
use serde::{Deserialize, Serialize};

use super::{
    Day,
    detail::{details_bytes, details_of, is_failure_of, is_policy_of, policy_bytes, policy_of},
};
use crate::{TlsObserver, TlsSession};

/// What tells the time: the system's clock, or a test's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How much is kept. Whatever is more is counted as not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsCountLimits {
    /// How many days that are not reported yet, today among them. The oldest goes first.
    pub days: usize,
    /// How many domains a day.
    pub domains: usize,
    /// How many policies a domain and day.
    pub policies: usize,
    /// How many kinds of failures a policy and day.
    pub details: usize,
    /// How many octets of memory a day, roughly.
    pub bytes: usize,
}

impl Default for TlsCountLimits {
    fn default() -> Self {
        Self { days: 4, domains: 10_000, policies: 20, details: 100, bytes: 8 << 20 }
    }
}

/// Counts how TLS went on each connection: by day, domain, policy and kind of failure (RFC 8460 §4).
///
/// Kept in memory, and in a file when it was [opened](Self::open) from one.
pub struct TlsCounts {
    state: Mutex<State>,
    pub(super) clock: Clock,
    limits: TlsCountLimits,
    pub(super) path: Option<PathBuf>,
}

/// What is kept, as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    days: BTreeMap<Day, DayCounts>,
    /// Whether there is something that the file has not.
    #[serde(skip)]
    pub(super) changed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct DayCounts {
    domains: BTreeMap<String, DomainCounts>,
    not_kept: NotKept,
    #[serde(skip)]
    bytes: usize,
}

/// What there was no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotKept {
    /// Sessions that no report tells of.
    pub(super) sessions: u64,
    /// Failures that a report counts, and does not describe.
    pub(super) details: u64,
}

/// What a report tells of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DomainCounts {
    pub(super) policies: Vec<Policy>,
    /// Where its report went already.
    #[serde(default)]
    pub(super) sent: Vec<String>,
}

impl TlsCounts {
    /// Nothing counted yet, and no file.
    #[must_use]
    pub fn new(clock: Clock, limits: TlsCountLimits) -> Self {
        Self { state: Mutex::default(), clock, limits, path: None }
    }

    pub(super) fn with_state(mut state: State, clock: Clock, limits: TlsCountLimits) -> Self {
        state.days.values_mut().for_each(DayCounts::measure);
        Self { state: Mutex::new(state), ..Self::new(clock, limits) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panics here leaves whole counts behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The days before today that are not reported yet.
    #[must_use]
    pub fn ended(&self) -> Vec<Day> {
        let today = Day::of((self.clock)());
        self.state().days.range(..today).map(|(day, _)| *day).collect()
    }

    /// The domains that mail went to on a day, and that are not reported to yet.
    #[must_use]
    pub fn domains(&self, day: Day) -> Vec<String> {
        let state = self.state();
        state.days.get(&day).into_iter().flat_map(|day| day.domains.keys().cloned()).collect()
    }

    pub(super) fn of_domain(&self, day: Day, domain: &str) -> Option<DomainCounts> {
        self.state().days.get(&day)?.domains.get(domain).cloned()
    }

    /// A day's report went there.
    pub(super) fn sent(&self, day: Day, domain: &str, uri: &str) {
        let mut state = self.state();
        state.changed = true;
        let counts = state.days.get_mut(&day).and_then(|day| day.domains.get_mut(domain));
        if let Some(counts) = counts {
            counts.sent.push(uri.to_owned());
        }
    }

    /// Nothing is left to do for this domain's report of that day.
    pub(super) fn forget(&self, day: Day, domain: &str) {
        let mut state = self.state();
        state.changed = true;
        if let Some(counts) = state.days.get_mut(&day) {
            counts.domains.remove(domain);
        }
    }

    /// Nothing is left to do for a day. Says of how many domains it knew still, and what was not kept of it.
    pub(super) fn end(&self, day: Day) -> (usize, NotKept) {
        let mut state = self.state();
        state.changed = true;
        let ended = state.days.remove(&day);
        ended.map_or_else(Default::default, |day| (day.domains.len(), day.not_kept))
    }
}

impl State {
    fn day(&mut self, day: Day, days_max: usize) -> &mut DayCounts {
        if !self.days.contains_key(&day) && self.days.len() >= days_max {
            let oldest = self.days.pop_first();
            if let Some((day, counts)) = oldest {
                let domains = counts.domains.len();
                tracing::warn!(%day, domains, "TLS reports: too many days wait, this one is given up");
            }
        }
        self.days.entry(day).or_default()
    }
}

impl DayCounts {
    fn count(&mut self, session: &TlsSession<'_>, limits: &TlsCountLimits) {
        if self.policy(session, limits).is_none() {
            self.not_kept.sessions += 1;
            return;
        }
        let Some(failure) = session.failure else { return };
        let bytes_left = limits.bytes.saturating_sub(self.bytes);
        let Some(policy) = self.known_policy(session) else { return };
        let found = policy
            .failure_details
            .iter_mut()
            .find(|details| is_failure_of(details, session, failure));
        if let Some(details) = found {
            details.failed_session_count = details.failed_session_count.saturating_add(1);
            return;
        }
        let details = details_of(session, failure);
        let bytes = details_bytes(&details);
        if policy.failure_details.len() < limits.details && bytes <= bytes_left {
            policy.failure_details.push(details);
            self.bytes += bytes;
        } else {
            self.not_kept.details += 1;
        }
    }

    fn known_policy(&mut self, session: &TlsSession<'_>) -> Option<&mut Policy> {
        let counts = self.domains.get_mut(session.domain)?;
        counts.policies.iter_mut().find(|known| is_policy_of(&known.policy, session))
    }

    /// Counts the session with its policy, if there is room for it.
    fn policy(&mut self, session: &TlsSession<'_>, limits: &TlsCountLimits) -> Option<()> {
        if self.known_policy(session).is_none() {
            let policies = self.domains.get(session.domain).map(|counts| counts.policies.len());
            let policy = policy_of(session);
            let bytes = policy_bytes(&policy);
            let has_room = match policies {
                Some(policies) => policies < limits.policies,
                None => self.domains.len() < limits.domains,
            };
            if !has_room || bytes > limits.bytes.saturating_sub(self.bytes) {
                return None;
            }
            let summary = Summary { total_success: 0, total_failure: 0 };
            let policy = Policy { policy, summary, failure_details: Vec::new() };
            self.domains.entry(session.domain.to_owned()).or_default().policies.push(policy);
            self.bytes += bytes;
        }
        let summary = &mut self.known_policy(session)?.summary;
        let total = match session.failure {
            Some(_) => &mut summary.total_failure,
            None => &mut summary.total_success,
        };
        *total = total.saturating_add(1);
        Some(())
    }

    fn measure(&mut self) {
        let policies = self.domains.values().flat_map(|domain| &domain.policies);
        let bytes = policies.map(|policy| {
            let details = policy.failure_details.iter().map(details_bytes).sum::<usize>();
            policy_bytes(&policy.policy) + details
        });
        self.bytes = bytes.sum();
    }
}

impl TlsObserver for TlsCounts {
    fn observe(&self, session: &TlsSession<'_>) {
        let day = Day::of((self.clock)());
        let mut state = self.state();
        state.changed = true;
        state.day(day, self.limits.days).count(session, &self.limits);
    }
}

impl fmt::Debug for TlsCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.state().days.len();
        f.debug_struct("TlsCounts").field("days", &days).field("path", &self.path).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::{SessionPolicy, TlsFailure, TlsFailureKind};

    const DAY: &str = "2026-11-25";

    fn counts(limits: TlsCountLimits) -> TlsCounts {
        TlsCounts::new(Arc::new(|| "2026-11-25T12:00:00Z".parse().unwrap()), limits)
    }

    fn session<'a>(
        domain: &'a str,
        host: &'a str,
        failure: Option<&'a TlsFailure>,
    ) -> TlsSession<'a> {
        TlsSession {
            domain,
            policy: SessionPolicy::Absent,
            host,
            address: Some([192, 0, 2, 1].into()),
            source: Some([192, 0, 2, 9].into()),
            failure,
        }
    }

    fn policies(counts: &TlsCounts, domain: &str) -> Vec<Policy> {
        let counts = counts.of_domain(DAY.parse().unwrap(), domain);
        counts.map(|counts| counts.policies).unwrap_or_default()
    }

    fn not_kept(counts: &TlsCounts) -> (u64, u64) {
        let (_, not_kept) = counts.end(DAY.parse().unwrap());
        (not_kept.sessions, not_kept.details)
    }

    #[test]
    fn sessions_are_counted_by_policy_and_failures_by_kind_and_place() {
        let counts = counts(TlsCountLimits::default());
        let (lines, hosts) = (["version: STSv1".to_owned()], ["mx.example.com".to_owned()]);
        let sts = SessionPolicy::Sts { lines: &lines, hosts: &hosts };
        let expired = TlsFailure::new(TlsFailureKind::CertificateExpired, "too old");
        let no_tls = TlsFailure::new(TlsFailureKind::StartTlsNotSupported, "é".repeat(300));
        let plain = session("example.com", "mx.example.com", None);
        counts.observe(&plain);
        counts.observe(&plain);
        counts.observe(&TlsSession { policy: sts, ..plain.clone() });
        for failure in [&expired, &expired, &no_tls] {
            counts.observe(&TlsSession { policy: sts, failure: Some(failure), ..plain.clone() });
        }
        let elsewhere = Some([192, 0, 2, 2].into());
        let failure = Some(&expired);
        counts.observe(&TlsSession { policy: sts, failure, address: elsewhere, ..plain.clone() });
        counts.observe(&session("example.net", "mx.example.net", None));

        let [none, sts] = &policies(&counts, "example.com")[..] else { panic!("two policies") };
        assert_eq!((none.summary.total_success, none.summary.total_failure), (2, 0));
        assert_eq!((sts.summary.total_success, sts.summary.total_failure), (1, 4));
        assert_eq!(sts.policy.policy_string, lines);
        assert_eq!(sts.policy.mx_host, hosts);
        let failures: Vec<_> = sts.failure_details.iter().map(|d| d.failed_session_count).collect();
        assert_eq!(failures, [2, 1, 1]);
        let reason = sts.failure_details[1].failure_reason_code.as_deref().unwrap();
        assert_eq!(reason, "é".repeat(100));
        assert_eq!(policies(&counts, "example.net").len(), 1);
        assert_eq!(not_kept(&counts), (0, 0));
    }

    #[test]
    fn what_is_more_than_the_limits_is_counted_as_not_kept() {
        let limits =
            TlsCountLimits { domains: 2, policies: 1, details: 1, ..TlsCountLimits::default() };
        let counts = counts(limits);
        for domain in ["a.example", "b.example", "c.example", "c.example"] {
            counts.observe(&session(domain, "mx.example", None));
        }
        let lines = ["3 1 1 00".to_owned()];
        let policy = SessionPolicy::Tlsa(&lines);
        counts.observe(&TlsSession { policy, ..session("a.example", "mx.example", None) });
        let failure = TlsFailure::new(TlsFailureKind::ValidationFailure, "");
        for host in ["1.example", "2.example", "1.example"] {
            counts.observe(&session("a.example", host, Some(&failure)));
        }
        let a = policies(&counts, "a.example");
        assert_eq!((a.len(), a[0].summary.total_failure, a[0].failure_details.len()), (1, 3, 1));
        assert_eq!(a[0].failure_details[0].failed_session_count, 2);
        assert!(policies(&counts, "c.example").is_empty());
        assert_eq!(not_kept(&counts), (3, 1));
    }

    #[test]
    fn the_octets_of_a_day_are_bounded_after_a_restart_too() {
        let limits = TlsCountLimits { bytes: 1000, ..TlsCountLimits::default() };
        let before = counts(limits);
        let fill = |counts: &TlsCounts, names: std::ops::Range<usize>| {
            for name in names {
                counts.observe(&session(&format!("{name}.example"), "mx.example", None));
            }
        };
        fill(&before, 0..100);
        let kept = before.domains(DAY.parse().unwrap()).len();
        assert!((2..6).contains(&kept), "{kept}");
        let again = TlsCounts::with_state(before.state().clone(), before.clock.clone(), limits);
        fill(&again, 100..200);
        assert_eq!(again.domains(DAY.parse().unwrap()).len(), kept);
        assert_eq!(not_kept(&again).0, 200 - u64::try_from(kept).unwrap());
    }

    #[test]
    fn each_day_is_counted_apart_and_of_too_many_the_oldest_goes() {
        let now = Arc::new(AtomicI64::new(0));
        let time = now.clone();
        let clock: Clock =
            Arc::new(move || Timestamp::from_second(time.load(Ordering::Relaxed)).unwrap());
        let counts = TlsCounts::new(clock, TlsCountLimits { days: 2, ..TlsCountLimits::default() });
        for day in 0..3 {
            now.store(day * 86_400, Ordering::Relaxed);
            counts.observe(&session("example.com", "mx.example.com", None));
            assert!(counts.ended().len() <= 1);
        }
        assert_eq!(counts.ended(), ["1970-01-02".parse().unwrap()]);
        assert_eq!(counts.domains("1970-01-03".parse().unwrap()), ["example.com"]);
    }
}
