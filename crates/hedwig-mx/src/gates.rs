//! How many transactions there may be with the same servers at a time. Domains with one set of mail exchangers
//! have one gate.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{MxHost, Resolver, Target, destination::Destination};

/// From so many gates on, those that nobody uses are cleared away.
const GATES_KEPT: usize = 256;
/// For so many domains it is known which servers they have; then that is learned anew.
const DOMAINS_KEPT: usize = 1 << 17;

/// The gates of all servers.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
    servers: Mutex<HashMap<Box<str>, Arc<str>>>,
}

impl Gates {
    /// The gate of a destination, with so many places if it is new.
    pub(crate) async fn of(
        &self,
        destination: &Destination,
        resolver: &Resolver,
        places: usize,
    ) -> Arc<Semaphore> {
        let servers = match destination {
            Destination::Mx(domain) => self.learn(domain, resolver).await,
            other => name_of(other).into(),
        };
        let mut gates = lock(&self.gates);
        if let Some(gate) = gates.get(&servers).and_then(Weak::upgrade) {
            return gate;
        }
        if gates.len() >= GATES_KEPT && gates.len() == gates.capacity() {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::new(Semaphore::new(places));
        gates.insert(servers, Arc::downgrade(&gate));
        gate
    }

    /// Waits for a place at a gate; it is given back when the permit is dropped.
    pub(crate) async fn pass(gate: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        // A gate is never closed.
        gate.acquire_owned().await.ok()
    }

    /// How many of the places at a destination's gate are taken, as far as its servers are known.
    pub(crate) fn in_use(&self, destination: &Destination, places: usize) -> usize {
        let servers = match destination {
            Destination::Mx(domain) => self.servers_of(domain).unwrap_or_else(|| domain[..].into()),
            other => name_of(other).into(),
        };
        let gate = lock(&self.gates).get(&servers).and_then(Weak::upgrade);
        gate.map_or(0, |gate| places.saturating_sub(gate.available_permits()))
    }

    /// The servers of a domain, in A-labels, as far as is known.
    pub(crate) fn servers_of(&self, domain: &str) -> Option<Arc<str>> {
        lock(&self.servers).get(domain).cloned()
    }

    async fn learn(&self, domain: &str, resolver: &Resolver) -> Arc<str> {
        // It is asked again when the mail is delivered, and then it is at hand.
        let found = resolver.mx(domain).await;
        let mut known = lock(&self.servers);
        let Ok(found) = found else {
            known.remove(domain);
            return domain.into();
        };
        let name = name_of_hosts(found.value);
        if let Some(same) = known.get(domain).filter(|servers| ***servers == *name) {
            return same.clone();
        }
        if known.len() >= DOMAINS_KEPT {
            known.clear();
        }
        let servers: Arc<str> = name.into();
        known.insert(domain.into(), servers.clone());
        servers
    }
}

/// The servers that a route leads to; nothing when the domain's own are meant, or none.
pub(crate) fn servers_of_target(target: &Target) -> Option<String> {
    match target {
        Target::Smtp { host, port } => Some(format!("smtp://{host}:{port}")),
        Target::Smtps { host, port } => Some(format!("smtps://{host}:{port}")),
        Target::Lmtp { host, port } => Some(format!("lmtp://{host}:{port}")),
        Target::LmtpUnix { path } => Some(format!("lmtp+unix://{}", path.display())),
        Target::Mx | Target::Maildir { .. } | Target::Fail(_) | Target::Discard => None,
    }
}

fn name_of(destination: &Destination) -> String {
    match destination {
        Destination::Mx(domain) => domain.clone(),
        Destination::Literal(address) => format!("[{address}]"),
        Destination::Host { host, port, scheme } => format!("{scheme}://{host}:{port}"),
        Destination::LmtpUnix(path) => format!("lmtp+unix://{}", path.display()),
        Destination::Maildir(path) => format!("maildir://{}", path.display()),
        Destination::Answer(_) => String::new(),
    }
}

/// Equal for equal sets, in whatever order DNS tells them.
fn name_of_hosts(mut hosts: Vec<MxHost>) -> String {
    hosts.sort_by(|a, b| (a.preference, &a.name).cmp(&(b.preference, &b.name)));
    let names: Vec<_> = hosts.into_iter().map(|host| host.name).collect();
    names.join(",")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(preference: u16, name: &str) -> MxHost {
        MxHost { preference, name: name.into() }
    }

    #[test]
    fn a_set_of_servers_has_one_name_in_whatever_order_it_is_told() {
        let [a, b, c] = [host(10, "a"), host(10, "b"), host(5, "c")];
        let name = name_of_hosts(vec![a.clone(), b.clone(), c.clone()]);
        assert_eq!(name_of_hosts(vec![c, b.clone(), a.clone()]), name);
        assert_ne!(name_of_hosts(vec![a, b]), name);
    }

    #[tokio::test]
    async fn one_gate_lets_no_more_through_than_it_has_places() {
        let (gates, resolver) =
            (Gates::default(), Resolver::with_server(([127, 0, 0, 1], 9).into()));
        let resolver = resolver.unwrap();
        let [one, other] = [1, 2].map(|last| Destination::Literal([192, 0, 2, last].into()));
        let gate = gates.of(&one, &resolver, 1).await;
        let permit = gate.try_acquire_owned().unwrap();
        assert!(gates.of(&one, &resolver, 1).await.try_acquire_owned().is_err());
        assert!(gates.of(&other, &resolver, 1).await.try_acquire_owned().is_ok());
        drop(permit);
        assert!(gates.of(&one, &resolver, 1).await.try_acquire_owned().is_ok());
    }
}
