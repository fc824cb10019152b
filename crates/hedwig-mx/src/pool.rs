//! Connections that wait for their next mail.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use hedwig_smtp::client::Connection;
use tokio::time::{Instant, sleep_until};

use crate::{
    MxOptions,
    connect::{Endpoint, Place},
};

/// A connection, and how many mails went over it.
pub(crate) struct Pooled {
    pub(crate) connection: Connection,
    pub(crate) mails: usize,
}

/// The idle connections of one [`Mx`](crate::Mx).
pub(crate) struct Pool {
    idle: Mutex<Idle>,
    connections_max: usize,
    mails_max: usize,
    time_max: Duration,
}

#[derive(Default)]
struct Idle {
    by_endpoint: HashMap<Endpoint, Vec<(Instant, Pooled)>>,
    count: usize,
    has_reaper: bool,
    /// How many mails found a connection waiting.
    reused: u64,
}

impl Pool {
    pub(crate) fn new(options: &MxOptions) -> Self {
        Self {
            idle: Mutex::default(),
            connections_max: options.idle_connections_max,
            mails_max: options.mails_per_connection_max,
            time_max: options.idle_time_max,
        }
    }

    /// The connection that came back last: it has lived longest without a server's time limit.
    pub(crate) fn take(&self, endpoint: &Endpoint) -> Option<Pooled> {
        let mut idle = self.lock();
        let waiting = idle.by_endpoint.get_mut(endpoint)?;
        let (since, pooled) = waiting.pop()?;
        if waiting.is_empty() {
            idle.by_endpoint.remove(endpoint);
        }
        idle.count -= 1;
        if since.elapsed() > self.time_max {
            return None;
        }
        idle.reused += 1;
        Some(pooled)
    }

    /// Whether a connection to this endpoint waits.
    pub(crate) fn has(&self, endpoint: &Endpoint) -> bool {
        self.lock().by_endpoint.contains_key(endpoint)
    }

    /// How many connections to a host at an address wait, under whatever terms.
    pub(crate) fn waiting(&self, host: &str, address: SocketAddr) -> usize {
        let idle = self.lock();
        let of_it =
            |endpoint: &Endpoint| endpoint.host == host && endpoint.place == Place::Tcp(address);
        let waiting = idle.by_endpoint.iter().filter(|(endpoint, _)| of_it(endpoint));
        waiting.map(|(_, waiting)| waiting.len()).sum()
    }

    /// Keeps a connection for the next mail, or says QUIT when it has served long enough.
    pub(crate) fn put(self: &Arc<Self>, endpoint: &Endpoint, mut pooled: Pooled) {
        // What is said from now on is not about the mail that it carried last.
        pooled.connection.record(None);
        if !pooled.connection.is_open() {
            return;
        }
        let mut idle = self.lock();
        if pooled.mails >= self.mails_max || idle.count >= self.connections_max {
            drop(idle);
            tokio::spawn(pooled.connection.quit());
            return;
        }
        idle.count += 1;
        let waiting = match idle.by_endpoint.get_mut(endpoint) {
            Some(waiting) => waiting,
            None => idle.by_endpoint.entry(endpoint.clone()).or_default(),
        };
        waiting.push((Instant::now(), pooled));
        if !std::mem::replace(&mut idle.has_reaper, true) {
            tokio::spawn(reap(Arc::downgrade(self), self.time_max));
        }
    }

    /// Drops what waits for an endpoint: one of its connections was found dead.
    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        let mut idle = self.lock();
        let dead = idle.by_endpoint.remove(endpoint).unwrap_or_default();
        idle.count -= dead.len();
    }

    /// Says QUIT on all.
    pub(crate) async fn close(&self) {
        let all: Vec<_> = {
            let mut idle = self.lock();
            idle.count = 0;
            idle.by_endpoint.drain().flat_map(|(_, waiting)| waiting).collect()
        };
        join_all(all.into_iter().map(|(_, pooled)| pooled.connection.quit())).await;
    }

    /// How many connections wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().count
    }

    /// How many mails found a connection waiting.
    pub(crate) fn reused(&self) -> u64 {
        self.lock().reused
    }

    /// Takes out what has waited too long, and tells when to look again: never, when nothing waits.
    fn expire(&self) -> (Vec<Connection>, Option<Instant>) {
        let mut idle = self.lock();
        let (mut expired, mut oldest) = (Vec::new(), None::<Instant>);
        let now = Instant::now();
        idle.by_endpoint.retain(|_, waiting| {
            // Within one endpoint they stand in the order in which they came.
            let young = waiting.partition_point(|(since, _)| now - *since >= self.time_max);
            expired.extend(waiting.drain(..young).map(|(_, pooled)| pooled.connection));
            let first = waiting.first().map(|(since, _)| *since);
            oldest = oldest.into_iter().chain(first).min();
            !waiting.is_empty()
        });
        idle.count -= expired.len();
        idle.has_reaper = oldest.is_some();
        (expired, oldest.map(|oldest| oldest + self.time_max))
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("idle", &self.len()).finish_non_exhaustive()
    }
}

/// Says QUIT on connections that have waited too long, until none is left or the pool is gone.
async fn reap(pool: Weak<Pool>, time_max: Duration) {
    let mut next = Some(Instant::now() + time_max);
    while let Some(due) = next {
        sleep_until(due).await;
        let Some(pool) = pool.upgrade() else { return };
        let (expired, look_again) = pool.expire();
        drop(pool);
        // Not waited for: whoever is slow to say goodbye would hold up the others' end.
        for connection in expired {
            tokio::spawn(connection.quit());
        }
        next = look_again;
    }
}
