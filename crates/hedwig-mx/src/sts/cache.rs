//! The policies that are known, and when to ask for them again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::{FetchError, MtaSts, StsPolicy, record::policy_id};
use crate::{ExplainedSts, Resolver, TlsFailure, TlsFailureKind};

/// RFC 8461 §3.3: after a failure, no other attempt for five minutes.
const FAILURE_KEPT: Duration = Duration::from_secs(300);
/// A policy is asked for again after a day, so that it is not lost while its zone is cut off from us (§10.2).
const REFRESHED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The policies of the domains that mail went to.
#[derive(Debug)]
pub(crate) struct Policies {
    sts: MtaSts,
    domains: Mutex<HashMap<String, Slot>>,
}

#[derive(Debug)]
struct Slot {
    used: Instant,
    /// Locked while somebody asks: the others wait for the answer.
    known: Arc<AsyncMutex<Known>>,
}

/// What is known of one domain.
#[derive(Debug, Default)]
struct Known {
    policy: Option<Cached>,
    failure: Option<Failed>,
}

/// A policy that could not be had.
#[derive(Debug)]
struct Failed {
    id: String,
    since: Instant,
    reason: TlsFailure,
}

/// What a domain says of its exchangers.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Nothing.
    Nothing,
    /// This, under this id.
    Policy { id: String, policy: Arc<StsPolicy> },
    /// It has a policy, which cannot be had.
    NotHad(TlsFailure),
    /// Nobody knows whether it has a policy.
    Unknown,
}

#[derive(Debug)]
struct Cached {
    id: String,
    policy: Arc<StsPolicy>,
    fetched: Instant,
}

impl Policies {
    pub(crate) fn new(sts: MtaSts) -> Self {
        Self { sts, domains: Mutex::default() }
    }

    /// The policy that a domain has now (RFC 8461 §5.1): what its zone tells of, if that can be had, else what
    /// is known and not too old.
    pub(crate) async fn of_domain(&self, resolver: &Resolver, domain: &str) -> Said {
        // No record, or none to be had: RFC 8461 §3.1 goes on as if there were none, and §5.1 with what is known.
        let (id, otherwise) = match policy_id(resolver, domain).await {
            Ok(id) => (id, Said::Nothing),
            Err(_) => (None, Said::Unknown),
        };
        // A domain without policies takes no room.
        let Some(known) = self.known(domain, id.is_some()) else { return otherwise };
        let mut known = known.lock().await;
        let told = id.is_some();
        if let Some(id) = id.filter(|id| known.is_outdated(id)) {
            match self.fetch(domain).await {
                Ok(policy) => known.keep(id, policy),
                Err(reason) => {
                    let why = &reason.reason;
                    tracing::warn!(domain, error = why, "no MTA-STS policy can be had");
                    known.failure = Some(Failed { id, since: Instant::now(), reason });
                }
            }
        }
        match (known.valid(), &known.failure) {
            (Some(cached), _) => {
                Said::Policy { id: cached.id.clone(), policy: Arc::clone(&cached.policy) }
            }
            (None, Some(failed)) if told => Said::NotHad(failed.reason.clone()),
            (None, _) => otherwise,
        }
    }

    /// What is kept of a domain's policy, for whoever asks how old it is.
    pub(crate) async fn explain(&self, domain: &str) -> Option<ExplainedSts> {
        let known = self.known(domain, false)?;
        let known = known.lock().await;
        let failure = known.failure.as_ref();
        let failed = failure.map(|failed| failed.reason.reason.clone());
        match known.valid() {
            Some(cached) => {
                let age = cached.fetched.elapsed();
                Some(ExplainedSts {
                    id: cached.id.clone(),
                    mode: cached.policy.mode.name().to_owned(),
                    hosts: cached.policy.patterns().to_vec(),
                    fetched_seconds_ago: age.as_secs(),
                    seconds_left: cached.policy.max_age.saturating_sub(age).as_secs(),
                    failure: failed,
                })
            }
            None => failure.map(|failure| ExplainedSts {
                id: failure.id.clone(),
                mode: String::new(),
                hosts: Vec::new(),
                fetched_seconds_ago: failure.since.elapsed().as_secs(),
                seconds_left: 0,
                failure: failed,
            }),
        }
    }

    async fn fetch(&self, domain: &str) -> Result<StsPolicy, TlsFailure> {
        let text = self.sts.fetcher.fetch(domain).await.map_err(|error| {
            let kind = match &error {
                FetchError::Untrusted(_) => TlsFailureKind::StsWebpkiInvalid,
                FetchError::Failed(_) => TlsFailureKind::StsPolicyFetchError,
            };
            TlsFailure::new(kind, error.to_string())
        })?;
        let invalid = |reason: String| TlsFailure::new(TlsFailureKind::StsPolicyInvalid, reason);
        if text.len() > super::POLICY_BYTES_MAX {
            return Err(invalid("it is too long".into()));
        }
        text.parse().map_err(|error: super::PolicyError| invalid(error.to_string()))
    }

    fn known(&self, domain: &str, or_new: bool) -> Option<Arc<AsyncMutex<Known>>> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let used = Instant::now();
        if let Some(slot) = domains.get_mut(domain) {
            slot.used = used;
            return Some(Arc::clone(&slot.known));
        }
        if !or_new {
            return None;
        }
        make_room(&mut domains, self.sts.policies_max.max(1));
        let known = Arc::default();
        domains.insert(domain.to_owned(), Slot { used, known: Arc::clone(&known) });
        Some(known)
    }
}

impl Known {
    /// Whether the policy of this id is to be asked for.
    fn is_outdated(&self, id: &str) -> bool {
        let failed = |failed: &Failed| failed.id == id && failed.since.elapsed() < FAILURE_KEPT;
        if self.failure.as_ref().is_some_and(failed) {
            return false;
        }
        self.policy.as_ref().is_none_or(|cached| cached.id != id || cached.is_old())
    }

    fn keep(&mut self, id: String, policy: StsPolicy) {
        let fetched = Instant::now();
        self.policy = Some(Cached { id, policy: Arc::new(policy), fetched });
        self.failure = None;
    }

    fn valid(&self) -> Option<&Cached> {
        let cached = self.policy.as_ref();
        cached.filter(|cached| cached.fetched.elapsed() < cached.policy.max_age)
    }
}

impl Cached {
    fn is_old(&self) -> bool {
        self.fetched.elapsed() >= REFRESHED_AFTER.min(self.policy.max_age / 2)
    }
}

/// When all places are taken, those go that were used longest ago: some at once, since looking for them
/// takes time.
fn make_room(domains: &mut HashMap<String, Slot>, places: usize) {
    if domains.len() < places {
        return;
    }
    let mut used: Vec<Instant> = domains.values().map(|slot| slot.used).collect();
    let last = places / 16;
    let (_, limit, _) = used.select_nth_unstable(last);
    let limit = *limit;
    domains.retain(|_, slot| slot.used > limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_policies_used_longest_ago_make_room() {
        let mut domains = HashMap::new();
        for number in 0..32 {
            make_room(&mut domains, 32);
            let slot = Slot { used: Instant::now(), known: Arc::default() };
            domains.insert(number.to_string(), slot);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(domains.len(), 32);
        make_room(&mut domains, 32);
        let mut left: Vec<u32> = domains.keys().map(|number| number.parse().unwrap()).collect();
        left.sort_unstable();
        assert_eq!(left, (3..32).collect::<Vec<u32>>());
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_asked_for_again_after_five_minutes_or_at_once_under_another_id() {
        let reason = TlsFailure::new(TlsFailureKind::StsPolicyFetchError, "404");
        let failed = Failed { id: "1".into(), since: Instant::now(), reason };
        let known = Known { policy: None, failure: Some(failed) };
        assert!(!known.is_outdated("1"));
        assert!(known.is_outdated("2"));
        tokio::time::advance(FAILURE_KEPT).await;
        assert!(known.is_outdated("1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_refreshed_before_it_ends() {
        let policy = |age: u64| {
            format!("version: STSv1\nmode: enforce\nmx: a.example\nmax_age: {age}\n")
                .parse()
                .unwrap()
        };
        for (age, refreshed) in [(1000, 500), (30 * 24 * 3600, 24 * 3600)] {
            let mut known = Known::default();
            known.keep("1".into(), policy(age));
            tokio::time::advance(Duration::from_secs(refreshed - 1)).await;
            assert!(!known.is_outdated("1"));
            assert!(known.is_outdated("2"));
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(known.is_outdated("1"));
            assert!(known.valid().is_some());
            tokio::time::advance(Duration::from_secs(age - refreshed)).await;
            assert!(known.valid().is_none());
        }
    }
}
