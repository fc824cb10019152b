//! Times that a sender gives in seconds from the MAIL command, and what is left of them when the mail is
//! passed on: they count anew from each hop's MAIL.

use jiff::{SignedDuration, Timestamp};

use crate::{ByMode, DeliverBy, Hold, MailParameters};

/// `BY` has nine digits at most (RFC 2852 §4).
const SECONDS_MAX: i64 = 999_999_999;

impl MailParameters {
    /// Makes these the parameters with which a mail that was received at `received_at` is passed on at `now`:
    /// of `BY` goes off what has passed, and of `HOLDFOR` too; a hold that is over is left out.
    pub fn pass_on(&mut self, received_at: Timestamp, now: Timestamp) {
        self.deliver_by = self.deliver_by.map(|by| by.passed_on(received_at, now));
        self.hold = self.hold.and_then(|hold| hold.passed_on(received_at, now));
    }

    /// Until when a mail with these parameters, received at `received_at`, has to be delivered.
    #[must_use]
    pub fn deadline(&self, received_at: Timestamp) -> Option<Timestamp> {
        self.deliver_by.map(|by| by.deadline(received_at))
    }
}

impl DeliverBy {
    /// The time at which it is too late for a mail received at `received_at`.
    #[must_use]
    pub fn deadline(self, received_at: Timestamp) -> Timestamp {
        let seconds = SignedDuration::from_secs(self.seconds.into());
        let limit = if self.seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
        received_at.checked_add(seconds).unwrap_or(limit)
    }

    /// The wish as the next server has to hear it (RFC 2852 §4.1.4). A mode that returns cannot be said with
    /// no time left, so it keeps a second: whoever passes a mail on looks at its deadline before.
    #[must_use]
    pub fn passed_on(self, received_at: Timestamp, now: Timestamp) -> Self {
        let least = match self.mode {
            ByMode::Return => 1,
            ByMode::Notify => -SECONDS_MAX,
        };
        let left = i64::from(self.seconds).saturating_sub(seconds_between(received_at, now));
        let left = left.clamp(least, SECONDS_MAX);
        // The clamp has made it fit.
        Self { seconds: i32::try_from(left).unwrap_or(self.seconds), ..self }
    }
}

impl Hold {
    /// The wish as the next server has to hear it (RFC 4865 §4); `None` when the time has come.
    #[must_use]
    pub fn passed_on(self, received_at: Timestamp, now: Timestamp) -> Option<Self> {
        if self.release_at(received_at) <= now {
            return None;
        }
        match self {
            Self::Until(_) => Some(self),
            Self::For(seconds) => {
                let left = i64::from(seconds).saturating_sub(seconds_between(received_at, now));
                u32::try_from(left).ok().filter(|left| *left > 0).map(Self::For)
            }
        }
    }
}

/// Whole seconds; none when a clock was set back.
fn seconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.duration_since(earlier).as_secs().max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn by(text: &str, waited: i64) -> String {
        let by: DeliverBy = text.parse().unwrap();
        by.passed_on(at(1000), at(1000 + waited)).to_string()
    }

    #[test]
    fn what_has_passed_goes_off_the_time_to_deliver() {
        assert_eq!(by("120;RT", 0), "120;RT");
        assert_eq!(by("120;R", 50), "70;R");
        assert_eq!(by("120;N", 150), "-30;N");
        assert_eq!(by("-999999999;N", 10), "-999999999;N");
        assert_eq!(by("120;R", -50), "120;R", "a clock was set back");
    }

    #[test]
    fn a_mode_that_returns_can_be_said_at_its_very_end() {
        assert_eq!(by("120;R", 120), "1;R");
        assert_eq!(by("120;R", 1200), "1;R");
    }

    #[test]
    fn the_deadline_counts_from_when_the_mail_came() {
        let deadline = |text: &str| text.parse::<DeliverBy>().unwrap().deadline(at(1000));
        assert_eq!(deadline("120;R"), at(1120));
        assert_eq!(deadline("-60;N"), at(940));
    }

    #[test]
    fn a_hold_shrinks_and_ends() {
        let left = |hold: Hold, now| hold.passed_on(at(1000), at(now));
        assert_eq!(left(Hold::For(600), 1100), Some(Hold::For(500)));
        assert_eq!(left(Hold::For(600), 1600), None);
        assert_eq!(left(Hold::Until(at(1600)), 1599), Some(Hold::Until(at(1600))));
        assert_eq!(left(Hold::Until(at(1600)), 1600), None);
    }
}
