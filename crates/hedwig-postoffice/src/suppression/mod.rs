//! Recipients that do not exist are not tried again for a while.

mod command;
mod layer;

use std::path::Path;

use hedwig_daemon::settings::Setting;
use hedwig_spool::{SuppressionError, Suppressions};

pub(crate) use command::COMMAND;
pub use layer::{Suppressing, SuppressionLayer};

pub(crate) static REMEMBER: Setting = Setting::text("suppression", "remember", "SPAN")
    .help(
        "How long a recipient is not tried again whose own server said that there is no such user; 0s: not at all",
    )
    .default("30d");

/// At some 200 bytes each, the list stays below 20 MiB.
const ENTRIES_MAX: u64 = 100_000;

/// The list that belongs to this spool; an empty one where it cannot be opened, on a full disk say: that costs
/// attempts, and no mail waits for it.
pub(crate) fn open_or_do_without(spool: &Path) -> Result<Suppressions, SuppressionError> {
    open(spool).or_else(|error| {
        tracing::error!(%error, "nobody is suppressed until the next start");
        Suppressions::in_memory(ENTRIES_MAX)
    })
}

/// The list that belongs to this spool.
pub(crate) fn open(spool: &Path) -> Result<Suppressions, SuppressionError> {
    Suppressions::open(spool, ENTRIES_MAX)
}
