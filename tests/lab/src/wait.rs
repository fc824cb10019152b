use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{LabError, PATIENCE, Result};

/// Asks again and again until there is an answer: for what happens in other processes, which tell
/// nobody when they are done.
///
/// # Errors
/// When there is none within [`PATIENCE`]; `what` says what was waited for.
pub async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(LabError::new(format!("waited in vain: {what}")).into());
        }
        sleep(Duration::from_millis(10)).await;
    }
}
