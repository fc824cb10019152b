//! DKIM keys that change while the postoffice runs.

use std::{future::Future, time::Duration};

use hedwig_mx::dkim::KeyDirectory;
use tokio::{
    signal::unix::Signal,
    task::{JoinError, spawn_blocking},
    time::{MissedTickBehavior, interval},
};

/// How often the directory is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Reads the keys again whenever their directory has changed, and at once when `told`, changed or not, until the stop.
/// Keys that cannot be read leave the ones before in use, and a warning in the log; they are tried again.
///
/// # Errors
/// When a reading panics.
pub(crate) async fn keep_current(
    mut directory: KeyDirectory,
    mut told: Signal,
    stop: impl Future<Output = ()>,
) -> Result<(), JoinError> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        let is_told = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            _ = told.recv() => true,
            _ = ticks.tick() => false,
        };
        let read = spawn_blocking(move || {
            let result =
                if is_told { directory.reload().map(|()| true) } else { directory.refresh() };
            (directory, result)
        });
        let (back, result) = read.await?;
        directory = back;
        match result {
            Ok(false) => {}
            Ok(true) => {
                let keys = directory.ring().current().iter().count();
                tracing::info!(keys, "the DKIM keys were read again");
            }
            Err(error) => tracing::warn!(%error, "the DKIM keys read before stay in use"),
        }
    }
}
