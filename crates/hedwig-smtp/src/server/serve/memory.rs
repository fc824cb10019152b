//! The memory that contents on their way in share, lent so that whoever has begun can end.
//!
//! There are two funds: one for contents up to [`SMALL_BYTES_MAX`], one for larger ones. A content that
//! outgrows the first waits for the second with what it has, and whoever borrows from the second gives
//! back what it had of the first; so no content of the first holds one of the second up.
//!
//! Within a [`Fund`] a content borrows as it grows, and says beforehand how much that can be at most.
//! A loan is made only if all borrowers could then still get all they may ask for, one after the other
//! (the banker's algorithm): so there is always one that can go on. Whoever outgrows what it said waits until it may
//! say more; when all wait then, such a one gives way, for it alone broke its word.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{oneshot, watch};

/// The largest content that borrows from the fund for small ones, in bytes.
pub(super) const SMALL_BYTES_MAX: u64 = 1024 * 1024;

/// Of those who wait so many are looked at each time: it must not cost more the more there are.
const LOOK_AHEAD: usize = 64;

/// Both funds.
#[derive(Clone, Debug)]
pub(super) struct ContentMemory {
    pub(super) small: Fund,
    pub(super) large: Fund,
    /// The most that one content can need.
    pub(super) claim_max: u64,
}

impl ContentMemory {
    /// So many bytes for all contents, of which each has `claim_max` at most.
    pub(super) fn new(bytes: u64, claim_max: u64) -> Self {
        let small = (bytes / 4).max(SMALL_BYTES_MAX);
        let large = bytes.saturating_sub(small).max(claim_max);
        Self { small: Fund::new(small), large: Fund::new(large), claim_max }
    }
}

/// Bytes that are lent.
#[derive(Clone, Debug)]
pub(super) struct Fund {
    ledger: Arc<Mutex<Ledger>>,
    /// How many borrowers wait.
    waiting: watch::Sender<usize>,
}

#[derive(Debug)]
struct Ledger {
    bytes: u64,
    lent: u64,
    accounts: BTreeMap<u64, Account>,
    requests: BTreeMap<Turn, Request>,
    next: u64,
}

#[derive(Debug)]
struct Account {
    lent: u64,
    /// The most it will ask for, unless it raises that.
    claim: u64,
}

/// The order in which requests are looked at. Whoever has begun comes before whoever has not, who kept to its claim before
/// who outgrew it, and the most modest first: there is always one of those that can go on, and it must not be too far
/// behind to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Growing { needed: u64, account: u64 },
    Raising { needed: u64, account: u64 },
    Beginning { account: u64 },
}

impl Turn {
    fn account(self) -> u64 {
        match self {
            Self::Growing { account, .. }
            | Self::Raising { account, .. }
            | Self::Beginning { account } => account,
        }
    }
}

#[derive(Debug)]
struct Request {
    bytes: u64,
    claim: u64,
    granted: oneshot::Sender<()>,
}

impl Fund {
    fn new(bytes: u64) -> Self {
        let (accounts, requests) = (BTreeMap::new(), BTreeMap::new());
        let ledger = Ledger { bytes, lent: 0, accounts, requests, next: 0 };
        Self { ledger: Arc::new(Mutex::new(ledger)), waiting: watch::Sender::new(0) }
    }

    /// An account for one content, which has nothing yet, and will not have more than its claim.
    pub(super) fn open(&self, claim: u64) -> Loan {
        let mut ledger = self.lock();
        let account = ledger.next;
        ledger.next += 1;
        let claim = claim.min(ledger.bytes);
        ledger.accounts.insert(account, Account { lent: 0, claim });
        drop(ledger);
        Loan { fund: self.clone(), account, bytes: 0, claim }
    }

    /// Returns when somebody waits for what others have.
    pub(super) async fn is_contended(&self) {
        // The sender lives as long as the fund.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// Makes those who wait richer, as far as it goes; whoever asks for too much does not hold up the next. One is refused
    /// when none of them would ever go on.
    fn settle(&self, mut ledger: MutexGuard<'_, Ledger>) {
        let mut turns = Vec::with_capacity(ledger.requests.len().min(LOOK_AHEAD));
        turns.extend(ledger.requests.keys().copied().take(LOOK_AHEAD));
        for turn in turns {
            let Request { bytes, claim, .. } = ledger.requests[&turn];
            let Some(before) = ledger.lend(turn.account(), bytes, claim) else { continue };
            let request = ledger.requests.remove(&turn);
            if request.is_none_or(|request| request.granted.send(()).is_err()) {
                ledger.take_back(turn.account(), bytes, before);
            }
        }
        if let Some(turn) = ledger.gives_way() {
            ledger.requests.remove(&turn);
        }
        let waiting = ledger.requests.len();
        drop(ledger);
        self.waiting.send_if_modified(|known| std::mem::replace(known, waiting) != waiting);
    }

    /// The ledger is right whenever the lock is free.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Lends so much to an account that will not have more than this claim; what it claimed before, if that is safe.
    fn lend(&mut self, account: u64, bytes: u64, claim: u64) -> Option<u64> {
        let entry = self.accounts.get_mut(&account)?;
        if bytes > self.bytes - self.lent {
            return None;
        }
        let before = std::mem::replace(&mut entry.claim, claim);
        entry.lent += bytes;
        self.lent += bytes;
        if self.is_safe() {
            return Some(before);
        }
        self.take_back(account, bytes, before);
        None
    }

    fn take_back(&mut self, account: u64, bytes: u64, claim: u64) {
        if let Some(entry) = self.accounts.get_mut(&account) {
            entry.claim = claim;
            entry.lent -= bytes;
            self.lent -= bytes;
        }
    }

    /// Of those who outgrew their claim the one that asks for most, when all who have something wait.
    fn gives_way(&self) -> Option<Turn> {
        let has_begun = |turn: &&Turn| !matches!(turn, Turn::Beginning { .. });
        let waiting = self.requests.keys().filter(has_begun).count();
        let borrowers = self.accounts.values().filter(|account| account.lent > 0).count();
        if waiting < borrowers {
            return None;
        }
        self.requests.keys().rfind(|turn| matches!(turn, Turn::Raising { .. })).copied()
    }

    /// Whether all could get what they may still ask for, the most modest first.
    fn is_safe(&self) -> bool {
        let needs = |account: &Account| (account.claim.saturating_sub(account.lent), account.lent);
        let mut borrowers: Vec<_> =
            self.accounts.values().filter(|a| a.lent > 0).map(needs).collect();
        borrowers.sort_unstable();
        let mut free = self.bytes - self.lent;
        borrowers.into_iter().all(|(needed, lent)| {
            let can_end = needed <= free;
            free += lent;
            can_end
        })
    }
}

/// What one content has of a [`Fund`]; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Loan {
    fund: Fund,
    account: u64,
    bytes: u64,
    claim: u64,
}

impl Loan {
    /// How many bytes it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The most that it can become.
    pub(super) fn claim(&self) -> u64 {
        self.claim
    }

    pub(super) fn fund(&self) -> &Fund {
        &self.fund
    }

    /// Waits until it is so many bytes more, but not more than its claim. Dropping the future leaves it
    /// as it was.
    pub(super) async fn grow(&mut self, bytes: u64) {
        let bytes = bytes.min(self.claim - self.bytes);
        let account = self.account;
        let turn = match self.bytes {
            0 => Turn::Beginning { account },
            lent => Turn::Growing { needed: self.claim - lent, account },
        };
        let mut waiting = self.ask(turn, bytes, self.claim);
        if (&mut waiting.grant).await.is_ok() {
            drop(waiting);
            self.bytes += bytes;
        }
    }

    /// Waits until it may claim so much, in the place of what it said before; `false` when all wait for each other, and it
    /// must give back what it has. Dropping the future leaves it as it was.
    pub(super) async fn raise(&mut self, claim: u64) -> bool {
        let claim = claim.clamp(self.claim, self.fund.lock().bytes);
        let turn = Turn::Raising { needed: claim - self.bytes, account: self.account };
        let mut waiting = self.ask(turn, 0, claim);
        let is_granted = (&mut waiting.grant).await.is_ok();
        drop(waiting);
        if is_granted {
            self.claim = claim;
        }
        is_granted
    }

    fn ask(&self, turn: Turn, bytes: u64, claim: u64) -> Waiting<'_> {
        let (granted, grant) = oneshot::channel();
        let mut ledger = self.fund.lock();
        ledger.requests.insert(turn, Request { bytes, claim, granted });
        self.fund.settle(ledger);
        Waiting { fund: &self.fund, turn, bytes, claim: self.claim, grant }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut ledger = self.fund.lock();
        if let Some(Account { lent, .. }) = ledger.accounts.remove(&self.account) {
            ledger.lent -= lent;
        }
        self.fund.settle(ledger);
    }
}

/// A request; when it is dropped nobody waits any more.
struct Waiting<'a> {
    fund: &'a Fund,
    turn: Turn,
    bytes: u64,
    /// What was claimed before.
    claim: u64,
    grant: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.grant.close();
        let mut ledger = self.fund.lock();
        ledger.requests.remove(&self.turn);
        // Granted, but nobody was told any more.
        if self.grant.try_recv().is_ok() {
            ledger.take_back(self.turn.account(), self.bytes, self.claim);
        }
        self.fund.settle(ledger);
    }
}

#[cfg(test)]
mod tests;
