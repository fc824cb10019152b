use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How a daemon is told to stop: first gracefully, then at once.
///
/// A cheap handle; all clones are told together.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    graceful: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// A stop that only [`ask`](Self::ask) brings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stop that SIGTERM or SIGINT brings: the first one gracefully, the second at once. SIGHUP is told in the log and
    /// brings none: a service manager would take that for the end of a daemon that is no longer wanted.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn on_signals() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let stop = Self::new();
        let told = stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => told.ask(),
                    _ = interrupt.recv() => told.ask(),
                    _ = hang_up.recv() => tracing::info!(
                        "SIGHUP: certificates, users and keys are read again by themselves when their files change; \
                         other settings at a restart"
                    ),
                }
            }
        });
        Ok(stop)
    }

    /// Asks to stop: gracefully, or at once when that was asked before.
    pub fn ask(&self) {
        if self.graceful.is_cancelled() {
            tracing::warn!("stopping at once");
            self.at_once.cancel();
        } else {
            tracing::info!("stopping: what is under way is finished or put back");
            self.gracefully();
        }
    }

    /// Asks to stop gracefully, however often that was asked before.
    pub fn gracefully(&self) {
        self.graceful.cancel();
    }

    /// Waits for the wish to stop. The future lives on its own, as graceful shutdowns want it.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static {
        self.graceful.clone().cancelled_owned()
    }

    /// Waits for the wish to stop at once.
    pub fn at_once(&self) -> impl Future<Output = ()> + Send + 'static {
        self.at_once.clone().cancelled_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_wish_is_graceful_and_the_second_is_not() {
        let stop = Stop::new();
        stop.ask();
        stop.requested().await;
        assert!(!stop.at_once.is_cancelled());
        stop.ask();
        stop.at_once().await;
    }
}
