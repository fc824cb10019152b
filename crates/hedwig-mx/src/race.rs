//! Which of a host's addresses can be reached first (RFC 8305).

use std::{future::Future, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

/// How long an attempt has the field to itself before the next begins (RFC 8305 §5, §8).
const HEAD_START: Duration = Duration::from_millis(250);

/// What came of a race.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Raced<A, T, E> {
    /// Who came in, and with what.
    pub(crate) winner: Option<(A, T)>,
    /// Who fell on the way, in that order. Who was merely slower is not among them.
    pub(crate) fallen: Vec<(A, E)>,
}

/// Attempts one after the other: each when the one before has had its head start, or has failed. The first
/// that succeeds ends it, and the others are dropped.
pub(crate) async fn race<A, T, E, F>(
    entrants: impl IntoIterator<Item = A>,
    attempt: impl Fn(A) -> F,
) -> Raced<A, T, E>
where
    A: Copy,
    F: Future<Output = Result<T, E>>,
{
    let attempt = |entrant: A| {
        let running = attempt(entrant);
        async move { (entrant, running.await) }
    };
    let mut waiting = entrants.into_iter();
    let (mut running, mut fallen) = (FuturesUnordered::new(), Vec::new());
    running.extend(waiting.next().map(attempt));
    let mut next_start = Instant::now() + HEAD_START;
    let mut waiting = waiting.peekable();
    loop {
        tokio::select! {
            // Who is done goes before whoever would begin, and chance decides nothing.
            biased;
            done = running.next() => match done {
                None => return Raced { winner: None, fallen },
                Some((entrant, Ok(prize))) => {
                    return Raced { winner: Some((entrant, prize)), fallen };
                }
                Some((entrant, Err(error))) => fallen.push((entrant, error)),
            },
            () = sleep_until(next_start), if waiting.peek().is_some() => {}
        }
        running.extend(waiting.next().map(attempt));
        next_start = Instant::now() + HEAD_START;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// After so many milliseconds, yes or no.
    type Plan = (&'static str, u64, bool);

    /// The winner, who fell, who began when, and how long it took.
    async fn run(
        plans: &[Plan],
    ) -> (Option<&'static str>, Vec<&'static str>, Vec<(&'static str, u64)>, u64) {
        let begin = Instant::now();
        let elapsed = || u64::try_from(begin.elapsed().as_millis()).unwrap();
        let begun = RefCell::new(Vec::new());
        let raced = race(plans.iter().copied(), |(name, time, succeeds)| {
            begun.borrow_mut().push((name, elapsed()));
            async move {
                tokio::time::sleep(Duration::from_millis(time)).await;
                if succeeds { Ok(()) } else { Err(()) }
            }
        })
        .await;
        let fallen = raced.fallen.into_iter().map(|((name, ..), ())| name).collect();
        (raced.winner.map(|((name, ..), ())| name), fallen, begun.into_inner(), elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_alone_while_it_is_quick() {
        let plans = [("v6", 200, true), ("v4", 1, true)];
        assert_eq!(run(&plans).await, (Some("v6"), vec![], vec![("v6", 0)], 200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_costs_its_head_start_and_no_more() {
        let plans = [("v6", 30_000, true), ("v4", 10, true)];
        assert_eq!(run(&plans).await, (Some("v4"), vec![], vec![("v6", 0), ("v4", 250)], 260));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_may_still_win() {
        let plans = [("v6", 300, true), ("v4", 100, true)];
        assert_eq!(run(&plans).await, (Some("v6"), vec![], vec![("v6", 0), ("v4", 250)], 300));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_in_as_the_next_would_begin_lets_nobody_begin() {
        // Often, for what chance decides comes out right as often as not.
        for _ in 0..30 {
            let plans = [("v6", 250, true), ("v4", 1, true)];
            assert_eq!(run(&plans).await, (Some("v6"), vec![], vec![("v6", 0)], 250));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_lets_the_next_begin_at_once() {
        let plans = [("a", 20, false), ("b", 30, false), ("c", 40, true)];
        let begun = vec![("a", 0), ("b", 20), ("c", 50)];
        assert_eq!(run(&plans).await, (Some("c"), vec!["a", "b"], begun, 90));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_winner_all_have_fallen() {
        let plans = [("a", 1000, false), ("b", 300, false)];
        let begun = vec![("a", 0), ("b", 250)];
        assert_eq!(run(&plans).await, (None, vec!["b", "a"], begun, 1000));
        assert_eq!(run(&[]).await, (None, vec![], vec![], 0));
    }
}
