//! What one connection may keep in memory of the content at hand.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    super::{Incoming, ServerOptions},
    memory::{ContentMemory, Loan, SMALL_BYTES_MAX},
};

/// What each connection has without asking, in bytes.
const FREE_BYTES: u64 = 16 * 1024;
/// The least and the most that is borrowed at a time.
const STEP_BYTES: (u64, u64) = (64 * 1024, 4 * 1024 * 1024);
/// What may be in the input behind a content: an honest client announces no dots taken out and no end.
const SLACK_BYTES: u64 = 16 * 1024;
/// How long a client may do nothing with its loan before its rate counts.
const GRACE: Duration = Duration::from_secs(10);

/// What one connection has, and the funds to have more from.
pub(super) struct Allowance {
    memory: ContentMemory,
    wait_max: Duration,
    rate_min: u64,
    loan: Option<Loan>,
    /// The time since which the client's rate counts, and what it had brought then.
    since: (Instant, u64),
}

/// What may be read now, in bytes.
pub(super) struct Room {
    pub(super) bytes: usize,
    /// What it is worth to make room for at once, since it will most likely come.
    pub(super) expected: usize,
}

impl Allowance {
    pub(super) fn new(memory: ContentMemory, options: &ServerOptions) -> Self {
        Self {
            memory,
            wait_max: options.content_wait_max,
            rate_min: options.content_rate_min,
            loan: None,
            since: (Instant::now(), 0),
        }
    }

    /// The funds for a server with these options.
    pub(super) fn memory(options: &ServerOptions) -> ContentMemory {
        let claim_max = options.content_bytes_max.saturating_add(SLACK_BYTES);
        ContentMemory::new(options.content_memory_bytes, claim_max)
    }

    /// Gives all back: the content is no longer in memory.
    pub(super) fn give_back(&mut self) {
        self.loan = None;
    }

    /// Room to read more of a content, as soon as there is some; `None` when it takes too long, or others need what it has.
    pub(super) async fn room(&mut self, incoming: Incoming) -> Option<Room> {
        let held = incoming.held as u64;
        if held >= self.bytes() {
            let begin = Instant::now();
            let is_lent = timeout(self.wait_max, self.borrow(incoming)).await.unwrap_or(false);
            // The wait was ours.
            self.since.0 += begin.elapsed();
            if !is_lent || held >= self.bytes() {
                return None;
            }
        }
        let bytes = self.bytes() - held;
        let claim = self.loan.as_ref().map_or(0, Loan::claim);
        let expected = if claim > SMALL_BYTES_MAX { claim - held } else { bytes };
        Some(Room { bytes: bytes as usize, expected: expected as usize })
    }

    /// Returns when the client has brought too little since it has a loan, and others wait.
    pub(super) async fn is_overdue(&self, held: usize) {
        let Some(loan) = self.loan.as_ref().filter(|_| self.rate_min > 0) else {
            return pending().await;
        };
        let (since, held_then) = self.since;
        let brought = (held as u64).saturating_sub(held_then);
        let due = Duration::from_millis(brought.saturating_mul(1000) / self.rate_min);
        sleep_until(since + GRACE + due).await;
        loan.fund().is_contended().await;
    }

    fn bytes(&self) -> u64 {
        self.loan.as_ref().map_or(0, Loan::bytes).max(FREE_BYTES)
    }

    /// Borrows some more; `false` when others need what it has.
    async fn borrow(&mut self, incoming: Incoming) -> bool {
        let held = incoming.held as u64;
        let step = held.clamp(STEP_BYTES.0, STEP_BYTES.1);
        let claim = self.claim(incoming);
        let is_small = claim <= SMALL_BYTES_MAX;
        match &mut self.loan {
            Some(loan) if held < loan.claim() => {
                loan.grow(step).await;
                return true;
            }
            // Larger than it said, but of the same fund. A second loan there would wait for what the first one has.
            Some(loan) if is_small == (loan.claim() <= SMALL_BYTES_MAX) => {
                if !loan.raise(claim).await {
                    self.give_back();
                    return false;
                }
                loan.grow(step).await;
                return true;
            }
            None => self.since = (Instant::now(), held),
            Some(_) => {}
        }
        let fund = if is_small { &self.memory.small } else { &self.memory.large };
        let mut loan = fund.open(claim);
        if self.loan.is_none() {
            loan.grow(held + step).await;
        } else {
            // What it has is of the fund for small ones. Others wait for it, and nobody knows for how long: it gives way.
            tokio::select! {
                biased;
                () = loan.grow(held + step) => {}
                () = self.memory.small.is_contended() => return false,
            }
        }
        self.loan = Some(loan);
        true
    }

    /// The most that this content can need, by what was said of it as long as that holds.
    fn claim(&self, incoming: Incoming) -> u64 {
        let held = incoming.held as u64;
        let announced = incoming.announced.map(|bytes| bytes.saturating_add(SLACK_BYTES));
        let unsaid = if held < SMALL_BYTES_MAX { SMALL_BYTES_MAX } else { u64::MAX };
        let claim = announced.filter(|bytes| *bytes > held).unwrap_or(unsaid);
        claim.min(self.memory.claim_max)
    }
}
