use std::{future::Future, time::Duration};

use hedwig_envelope::{BoxError, State};
use hedwig_spool::{Counts, Spool};
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// So many notices fit into the time after which a service manager that hears nothing acts.
const BEATS_PER_LIMIT: u32 = 3;

/// Tells the service manager what a daemon does, until its [end](Self::end). When there is none, nobody is told.
///
/// - `READY=1` at once;
/// - `WATCHDOG=1` three times in the time that the service manager allows, and each time only after the
///   spool's committing thread has answered a question. So it says that the runtime still runs tasks
///   and timers, and that mail can be stored; a daemon that hangs is started again, and loses nothing.
/// - `STATUS=` with it: how long the queue is;
/// - `STOPPING=1` when the daemon was asked to stop.
#[derive(Debug)]
#[must_use = "nothing is told any more once they are dropped"]
pub struct Notices {
    task: AbortOnDropHandle<()>,
    end: CancellationToken,
}

impl Notices {
    pub(super) fn start(spool: Spool, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        let limit = sd_notify::watchdog_enabled();
        let alive = move || {
            let spool = spool.clone();
            async move { spool.counts().await.map_err(BoxError::from) }
        };
        let end = CancellationToken::new();
        let task = tokio::spawn(give(send, limit, alive, stop, end.clone()));
        Self { task: AbortOnDropHandle::new(task), end }
    }

    /// Ends them, once the service manager knows that the daemon stops. The spool may be closed then.
    pub async fn end(self) {
        self.end.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the service manager was not told of the end");
        }
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Notice {
    Ready,
    Alive(Counts),
    Stopping,
}

async fn send(notice: Notice) {
    // The socket may be full, and then waits.
    let sent = tokio::task::spawn_blocking(move || match notice {
        Notice::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Notice::Alive(counts) => {
            sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(&status(&counts))])
        }
        Notice::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    });
    match sent.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the service manager could not be told"),
        Err(error) => tracing::warn!(%error, "the service manager was not told"),
    }
}

fn status(counts: &Counts) -> String {
    let waiting = counts.waiting();
    let (deferred, held) = (counts.of(State::Deferred), counts.of(State::Held));
    format!("recipients that wait: {waiting}, deferred: {deferred}, held: {held}")
}

async fn give<A, S>(
    send: impl Fn(Notice) -> S,
    limit: Option<Duration>,
    alive: impl Fn() -> A,
    stop: impl Future<Output = ()>,
    end: CancellationToken,
) where
    A: Future<Output = Result<Counts, BoxError>>,
    S: Future<Output = ()>,
{
    send(Notice::Ready).await;
    let stopping = async {
        // Even a daemon that is done before it was asked to stop says that it stops.
        end.run_until_cancelled(stop).await;
        send(Notice::Stopping).await;
    };
    let beating = async {
        if let Some(limit) = limit.filter(|limit| !limit.is_zero()) {
            end.run_until_cancelled(beat(&send, limit / BEATS_PER_LIMIT, alive)).await;
        }
    };
    tokio::join!(stopping, beating);
}

/// Says, once in each period, that all is well; says nothing while it is not.
async fn beat<A, S>(send: impl Fn(Notice) -> S, period: Duration, alive: impl Fn() -> A)
where
    A: Future<Output = Result<Counts, BoxError>>,
    S: Future<Output = ()>,
{
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(period, alive()).await {
            Ok(Ok(counts)) => send(Notice::Alive(counts)).await,
            Ok(Err(error)) => {
                tracing::error!(%error, "the spool fails; the service manager is not told that all is well");
            }
            Err(_) => {
                tracing::error!(
                    ?period,
                    "the spool does not answer; the service manager is not told that all is well"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Arc, Mutex},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// What is told in two times the limit, when the daemon is asked to stop after one.
    async fn told<A: Future<Output = Result<Counts, BoxError>>>(
        limit: Option<Duration>,
        alive: impl Fn() -> A,
    ) -> Vec<Notice> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let send = |notice| {
            told.lock().unwrap().push(notice);
            std::future::ready(())
        };
        // A little later, so that it does not fall on a beat.
        let stop = tokio::time::sleep(LIMIT + Duration::from_secs(1));
        let end = CancellationToken::new();
        let later = async {
            tokio::time::sleep(LIMIT * 2 - Duration::from_secs(1)).await;
            end.cancel();
        };
        tokio::join!(give(send, limit, alive, stop, end.clone()), later);
        told.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_is_well_says_so_three_times_in_the_limit_and_while_it_stops() {
        let alive = Notice::Alive(Counts::default());
        let told = told(Some(LIMIT), async || Ok(Counts::default())).await;
        let (ready, stopping) = (Notice::Ready, Notice::Stopping);
        let expected = [&ready, &alive, &alive, &alive, &alive, &stopping, &alive, &alive];
        assert_eq!(told.iter().collect::<Vec<_>>(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spool_that_hangs_or_fails_is_not_called_well() {
        let hangs = told(Some(LIMIT), pending).await;
        assert_eq!(hangs, [Notice::Ready, Notice::Stopping]);
        let fails = told(Some(LIMIT), async || Err("no flush".into())).await;
        assert_eq!(fails, [Notice::Ready, Notice::Stopping]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_ends_before_it_was_asked_to_says_that_it_stops() {
        let told = Mutex::new(Vec::new());
        let send = |notice| {
            told.lock().unwrap().push(notice);
            std::future::ready(())
        };
        let end = CancellationToken::new();
        end.cancel();
        give(send, Some(LIMIT), async || Ok(Counts::default()), pending(), end).await;
        assert_eq!(*told.lock().unwrap(), [Notice::Ready, Notice::Stopping]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_watch_hears_of_start_and_stop() {
        let told = told(None, async || Ok(Counts::default())).await;
        assert_eq!(told, [Notice::Ready, Notice::Stopping]);
    }
}
