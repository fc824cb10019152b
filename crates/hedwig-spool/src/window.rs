//! How many deliveries to one place may be under way: as many as go well. It grows by one for each good and
//! quick reply while it is small, and by one for each round of them later; it halves when the place shows that
//! it has enough (RFC 5681 does the same for TCP). Pure: time comes in.

use std::time::Duration;

use hedwig_envelope::Timestamp;

/// How many are begun to a place of which nothing is known.
const START: f64 = 5.0;
/// How much longer than usual a reply may take and still be quick: twice as long, and a second.
const QUICK: (f64, f64) = (2.0, 1.0);
/// How much longer than usual a reply takes that is slow: eight times as long, and five seconds.
const SLOW: (f64, f64) = (8.0, 5.0);
/// By how much one reply moves what is usual.
const WEIGHT: f64 = 0.1;

#[derive(Clone, Debug)]
pub(crate) struct Window {
    places: f64,
    ceiling: f64,
    /// From here on it grows slowly: it was too much once.
    threshold: f64,
    /// What a good reply takes, in seconds, on average.
    usual: Option<f64>,
    /// Whether a delivery has gone well since all was new.
    proven: bool,
    /// What was begun before says nothing new.
    shrunk_at: Option<Timestamp>,
}

impl Window {
    /// The window of a place of which nothing is known.
    pub(crate) fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.clamp(1, 1 << 20) as f64;
        Self {
            places: START.min(ceiling),
            ceiling,
            threshold: ceiling,
            usual: None,
            proven: false,
            shrunk_at: None,
        }
    }

    /// How many may be under way; at least one.
    pub(crate) fn places(&self) -> usize {
        // At least 1 and at most 2^20: nothing is cut off but the fraction.
        self.places.max(1.0) as usize
    }

    /// A reply came, after so long, while so many were under way.
    pub(crate) fn good(&mut self, took: Duration, under_way: usize) {
        let took = took.as_secs_f64();
        let usual = *self.usual.get_or_insert(took);
        self.usual = Some(usual + WEIGHT * (took - usual));
        self.proven = true;
        if took > SLOW.0 * usual + SLOW.1 {
            self.places = (self.places * 0.9).max(1.0);
        } else if took <= QUICK.0 * usual + QUICK.1 && 2 * under_way >= self.places() {
            let growth = if self.places < self.threshold { 1.0 } else { 1.0 / self.places };
            self.places = (self.places + growth).min(self.ceiling);
        }
    }

    /// The place refused to talk, or broke off, in what was begun at `begun`. `false` when it should be left
    /// alone for a while.
    pub(crate) fn bad(&mut self, begun: Timestamp, now: Timestamp) -> bool {
        if self.shrunk_at.is_some_and(|at| begun < at) {
            return true;
        }
        self.shrunk_at = Some(now);
        self.threshold = (self.places / 2.0).max(2.0);
        self.places /= 2.0;
        self.proven && self.places >= 1.0
    }

    /// From now on one at a time, until one goes well.
    pub(crate) fn begin_anew(&mut self) {
        (self.places, self.proven) = (1.0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn proven(ceiling: usize) -> Window {
        let mut window = Window::new(ceiling);
        for _ in 0..2 * ceiling {
            window.good(Duration::from_secs(1), ceiling);
        }
        window
    }

    #[test]
    fn it_grows_with_each_good_reply_up_to_its_ceiling() {
        let mut window = Window::new(20);
        assert_eq!(window.places(), 5);
        window.good(Duration::from_secs(1), 5);
        assert_eq!(window.places(), 6);
        assert_eq!(proven(20).places(), 20);
        assert_eq!(Window::new(2).places(), 2);
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_used() {
        let mut window = Window::new(20);
        for _ in 0..100 {
            window.good(Duration::from_secs(1), 1);
        }
        assert_eq!(window.places(), 5);
    }

    #[test]
    fn replies_that_take_longer_than_usual_stop_it_and_slow_ones_shrink_it() {
        let mut window = proven(20);
        window.bad(at(0), at(1));
        assert_eq!(window.places(), 10);
        window.good(Duration::from_secs(4), 10);
        assert_eq!(window.places(), 10);
        window.good(Duration::from_secs(60), 10);
        assert_eq!(window.places(), 9);
    }

    #[test]
    fn it_halves_once_for_all_that_was_under_way_together() {
        let mut window = proven(32);
        assert!(window.bad(at(10), at(20)));
        assert!(window.bad(at(10), at(21)));
        assert_eq!(window.places(), 16);
        assert!(window.bad(at(20), at(30)));
        assert_eq!(window.places(), 8);
    }

    #[test]
    fn after_it_has_shrunk_it_grows_slowly_where_it_was_too_much() {
        let mut window = proven(32);
        window.bad(at(0), at(1));
        for _ in 0..16 {
            window.good(Duration::from_secs(1), 32);
        }
        assert_eq!(window.places(), 16, "a round of replies is one more place, nearly");
        window.good(Duration::from_secs(1), 32);
        assert_eq!(window.places(), 17);
    }

    #[test]
    fn an_unknown_place_that_fails_is_left_alone_and_then_tried_by_one() {
        let mut window = Window::new(20);
        assert!(!window.bad(at(0), at(1)));
        window.begin_anew();
        assert_eq!(window.places(), 1);
        assert!(window.bad(at(0), at(2)), "it was begun before, and says nothing new");
        assert!(!window.bad(at(5), at(6)));
        window.begin_anew();
        window.good(Duration::from_secs(1), 1);
        assert_eq!(window.places(), 2);
    }

    #[test]
    fn a_known_place_that_fails_again_and_again_is_left_alone() {
        let mut window = proven(4);
        assert!(window.bad(at(0), at(1)));
        assert!(window.bad(at(2), at(3)));
        assert!(!window.bad(at(4), at(5)));
    }
}
