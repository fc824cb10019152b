use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use super::*;

/// What comes of it without waiting.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether it is so many bytes more without waiting.
fn grows(loan: &mut Loan, bytes: u64) -> bool {
    poll(pin!(loan.grow(bytes))).is_ready()
}

/// Whether it may claim so much; `None` when it must wait for that.
fn raises(loan: &mut Loan, claim: u64) -> Option<bool> {
    match poll(pin!(loan.raise(claim))) {
        Poll::Ready(is_raised) => Some(is_raised),
        Poll::Pending => None,
    }
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
fn all_who_outgrow_their_claims_end_one_after_the_other() {
    let fund = Fund::new(100);
    let mut loans: Vec<Loan> = (0..4).map(|_| fund.open(20)).collect();
    assert!(loans.iter_mut().all(|loan| grows(loan, 20)));
    for number in 0..4 {
        assert_eq!(raises(&mut loans[0], 100), Some(true), "{number}");
        for other in &mut loans[1..] {
            assert_eq!(raises(other, 100), None, "one that may need all is under way");
        }
        assert!(grows(&mut loans[0], 20), "without a second loan beside the first");
        loans.remove(0);
    }
    assert_eq!(fund.lock().lent, 0);
}

#[test]
fn who_outgrew_its_claim_gives_way_when_all_wait_for_each_other() {
    let fund = Fund::new(100);
    let mut honest = fund.open(60);
    let mut modest = fund.open(50);
    assert!(grows(&mut honest, 50) && grows(&mut modest, 50));
    let mut goes_on = pin!(honest.grow(10));
    assert!(poll(goes_on.as_mut()).is_pending());
    assert_eq!(raises(&mut modest, 100), Some(false));
    drop(modest);
    assert!(poll(goes_on.as_mut()).is_ready());
}

#[test]
fn a_claim_is_not_raised_for_who_stopped_waiting() {
    let fund = Fund::new(100);
    let mut first = fund.open(90);
    let mut second = fund.open(20);
    assert!(grows(&mut first, 10) && grows(&mut second, 20));
    {
        let mut waits = pin!(second.raise(100));
        assert!(poll(waits.as_mut()).is_pending());
        drop(first);
        // Granted, and dropped before it has heard of it.
    }
    assert_eq!(second.claim(), 20);
    assert!(fund.lock().accounts.values().all(|account| account.claim == 20));
}

#[test]
fn who_has_begun_goes_on_however_many_wait_who_have_not() {
    let fund = Fund::new(100);
    let mut begun = fund.open(100);
    assert!(grows(&mut begun, 50));
    let mut small = fund.open(50);
    assert!(grows(&mut small, 50));
    let mut crowd: Vec<Loan> = (0..2 * LOOK_AHEAD).map(|_| fund.open(100)).collect();
    let mut waits: Vec<_> = crowd.iter_mut().map(|loan| Box::pin(loan.grow(60))).collect();
    for wait in &mut waits {
        assert!(poll(wait.as_mut()).is_pending());
    }
    let mut goes_on = pin!(begun.grow(50));
    assert!(poll(goes_on.as_mut()).is_pending());
    drop(small);
    assert!(poll(goes_on.as_mut()).is_ready());
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
    {
        let mut waits = pin!(second.grow(60));
        assert!(poll(waits.as_mut()).is_pending());
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
        if loan.bytes() == loan.claim() && raises(loan, 1000) == Some(false) {
            loans.swap_remove(index);
            continue;
        }
        let loan = &mut loans[index];
        if grows(loan, bytes) && loan.bytes() == loan.claim() && random.bool() {
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
