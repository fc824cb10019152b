use std::time::Duration;

use crate::Clock;

/// How a [`Spool`](crate::Spool) keeps its mails.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Which recipients of a mail are tried together.
    pub grouping: Grouping,
    /// How long a finished mail stays visible and its idempotency key known; no longer than an
    /// hour while the spool itself has filled its disk.
    pub retention: Duration,
    /// How long a lease holds unless it is extended.
    pub lease: Duration,
    /// When a segment of the log has grown to so many bytes, the next one is begun; at most a sixteenth of
    /// the disk.
    pub segment_bytes_max: u64,
    /// How much room is set aside for what must be written when the disk is full, in bytes; at most an eighth
    /// of the disk. While it is given up, no new mail is taken. 0 sets nothing aside.
    pub reserve_bytes: u64,
    /// After its process was killed, an index is made anew if the log has no more bytes than this: nothing
    /// can be wrong with it then. With a longer log, which takes longer to read, it is kept if SQLite
    /// finds it sound.
    pub doubtful_log_bytes_max: u64,
    /// A content of so many bytes or more gets a file of its own.
    pub inline_content_bytes_max: usize,
    /// Just-committed mails are kept in memory up to so many bytes, so that their first attempt need
    /// not read them back.
    pub cache_bytes_max: usize,
    /// How many attempts are remembered for each recipient; the oldest go first.
    pub attempts_kept_max: usize,
    /// What time it is.
    pub clock: Clock,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            grouping: Grouping::ByDomain,
            retention: Duration::from_hours(7 * 24),
            lease: Duration::from_mins(15),
            segment_bytes_max: 64 << 20,
            reserve_bytes: 32 << 20,
            doubtful_log_bytes_max: 128 << 20,
            inline_content_bytes_max: 1 << 20,
            cache_bytes_max: 32 << 20,
            attempts_kept_max: 20,
            clock: Clock::system(),
        }
    }
}

/// Which recipients of a mail make one unit of delivery: they share attempts, due time and lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// All at one domain: for a relay that speaks to each domain's own servers.
    #[default]
    ByDomain,
    /// All: for a relay that hands every mail to one place.
    Whole,
}
