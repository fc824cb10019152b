//! The memory that contents on their way in share, lent so that whoever has begun can end.
//!
//! There are two funds: one for contents up to [`SMALL_BYTES_MAX`], one for larger ones. A content that
//! outgrows the first waits for the second with what it has, and whoever borrows from the second gives
//! back what it had of the first; so no content of the first holds one of the second up.
//!
//! Within a [`Fund`] a content borrows as it grows, and says beforehand how much that can be at most.
//! A loan is made only if all borrowers could then still get all they may ask for, one after the other
//! (the banker's algorithm): so there is always one that can go on.

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
    /// The most it will ever ask for.
    claim: u64,
}

/// The order in which requests are looked at. Whoever has begun comes before whoever has not, and the most modest first:
/// there is always one of those that can go on, and it must not be too far behind to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Growing { needed: u64, account: u64 },
    Beginning { account: u64 },
}

impl Turn {
    fn account(self) -> u64 {
        match self {
            Self::Growing { account, .. } | Self::Beginning { account } => account,
        }
    }
}

#[derive(Debug)]
struct Request {
    bytes: u64,
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

    /// Makes those who wait richer, as far as it goes; whoever asks for too much does not hold up the next.
    fn settle(&self, mut ledger: MutexGuard<'_, Ledger>) {
        let mut turns = Vec::with_capacity(ledger.requests.len().min(LOOK_AHEAD));
        turns.extend(ledger.requests.keys().copied().take(LOOK_AHEAD));
        for turn in turns {
            let bytes = ledger.requests[&turn].bytes;
            if !ledger.lend(turn.account(), bytes) {
                continue;
            }
            let request = ledger.requests.remove(&turn);
            if request.is_none_or(|request| request.granted.send(()).is_err()) {
                ledger.take_back(turn.account(), bytes);
            }
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
    fn lend(&mut self, account: u64, bytes: u64) -> bool {
        let Some(entry) = self.accounts.get_mut(&account) else { return false };
        if bytes > self.bytes - self.lent {
            return false;
        }
        entry.lent += bytes;
        self.lent += bytes;
        if self.is_safe() {
            return true;
        }
        self.take_back(account, bytes);
        false
    }

    fn take_back(&mut self, account: u64, bytes: u64) {
        if let Some(entry) = self.accounts.get_mut(&account) {
            entry.lent -= bytes;
            self.lent -= bytes;
        }
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
        let mut waiting = self.ask(bytes);
        if (&mut waiting.grant).await.is_ok() {
            drop(waiting);
            self.bytes += bytes;
        }
    }

    fn ask(&self, bytes: u64) -> Waiting<'_> {
        let (granted, grant) = oneshot::channel();
        let account = self.account;
        let turn = match self.bytes {
            0 => Turn::Beginning { account },
            lent => Turn::Growing { needed: self.claim - lent, account },
        };
        let mut ledger = self.fund.lock();
        ledger.requests.insert(turn, Request { bytes, granted });
        self.fund.settle(ledger);
        Waiting { fund: &self.fund, turn, bytes, grant }
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
    grant: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.grant.close();
        let mut ledger = self.fund.lock();
        ledger.requests.remove(&self.turn);
        // Granted, but nobody was told any more.
        if self.grant.try_recv().is_ok() {
            ledger.take_back(self.turn.account(), self.bytes);
        }
        self.fund.settle(ledger);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::*;

    /// Whether it is so many bytes more without waiting.
    fn grows(loan: &mut Loan, bytes: u64) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        pin!(loan.grow(bytes)).as_mut().poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn one_that_has_begun_can_always_end() {
        let fund = Fund::new(100);
        let mut first = fund.open(90);
        let mut second = fund.open(90);
        assert!(grows(&mut first, 11) && grows(&mut second, 10));
        assert!(!grows(&mut second, 1), "neither would get its 90 any more");
        assert!(grows(&mut first, 79));
        drop(first);
        assert!(grows(&mut second, 80));
    }

    #[test]
    fn who_has_begun_goes_on_however_many_wait_who_have_not() {
        let fund = Fund::new(100);
        let mut begun = fund.open(100);
        assert!(grows(&mut begun, 50));
        let mut small = fund.open(50);
        assert!(grows(&mut small, 50));
        let mut crowd: Vec<Loan> = (0..2 * LOOK_AHEAD).map(|_| fund.open(100)).collect();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut waits: Vec<_> = crowd.iter_mut().map(|loan| Box::pin(loan.grow(60))).collect();
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut context).is_pending());
        }
        let mut goes_on = pin!(begun.grow(50));
        assert!(goes_on.as_mut().poll(&mut context).is_pending());
        drop(small);
        assert!(goes_on.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn what_another_may_need_later_is_lent_to_who_needs_it_for_a_little() {
        let fund = Fund::new(100);
        let mut large = fund.open(100);
        assert!(grows(&mut large, 10));
        let mut small = fund.open(50);
        assert!(grows(&mut small, 50), "it has all it will ever need, and will give it back");
        assert!(!grows(&mut large, 50));
        drop(small);
        assert!(grows(&mut large, 90));
    }

    #[test]
    fn nothing_stays_lent_to_who_stopped_waiting() {
        let fund = Fund::new(100);
        let mut first = fund.open(100);
        assert!(grows(&mut first, 100));
        let mut second = fund.open(60);
        let mut third = fund.open(60);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        {
            let mut waits = pin!(second.grow(60));
            assert!(waits.as_mut().poll(&mut context).is_pending());
            assert_eq!(*fund.waiting.borrow(), 1);
            drop(first);
            // Granted, and dropped before it has heard of it.
        }
        assert_eq!(*fund.waiting.borrow(), 0);
        assert!(grows(&mut third, 60));
        assert_eq!(fund.lock().lent, 60);
    }

    #[test]
    fn no_more_is_lent_than_there_is_whatever_happens() {
        let fund = Fund::new(1000);
        let mut random = fastrand::Rng::with_seed(7);
        let mut loans: Vec<Loan> = Vec::new();
        let mut ended = 0;
        for _ in 0..20_000 {
            if loans.len() < 20 {
                loans.push(fund.open(random.u64(1..=1000)));
            }
            let index = random.usize(..loans.len());
            let loan = &mut loans[index];
            let bytes = random.u64(1..=200);
            if grows(loan, bytes) && loan.bytes() == loan.claim() {
                loans.swap_remove(index);
                ended += 1;
            }
            let ledger = fund.lock();
            assert!(ledger.lent <= 1000 && ledger.is_safe());
            assert_eq!(ledger.lent, loans.iter().map(Loan::bytes).sum::<u64>());
            drop(ledger);
            // Were all stuck at once, nothing would ever end again.
            assert!(loans.iter_mut().any(|loan| {
                let all = loan.claim() - loan.bytes();
                let can_end = all <= 1000 - fund.lock().lent;
                can_end || loan.bytes() == 0
            }));
        }
        assert!(ended > 100, "{ended}");
    }
}
