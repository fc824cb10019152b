//! How a destination is treated now, for whoever asks.

use hedwig_envelope::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Paces, State};
use crate::rate::Spent;

/// How a destination is treated now. Without a courier nothing is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationState {
    /// The destination: a domain in lower case.
    pub destination: String,
    /// Its set of servers, if others may share it; they share all that is said here but the rate.
    pub servers: Option<String>,
    /// How many units are under way to it.
    pub under_way: usize,
    /// How many may be; `None` when none was sent there of late.
    pub window: Option<usize>,
    /// How many may be at the most.
    pub ceiling: Option<usize>,
    /// How often in a row it was at fault.
    pub failures: u32,
    /// It is left alone until then.
    pub rests_until: Option<Timestamp>,
    /// What it was left alone for last.
    pub last_failure: Option<String>,
    /// It wants no more before then, and nothing is wrong.
    pub busy_until: Option<Timestamp>,
    /// Its rate: so many mails in so many seconds.
    pub rate: Option<(u32, u64)>,
    /// Its rate lets nothing through before then.
    pub rate_spent_until: Option<Timestamp>,
}

impl Paces {
    /// How this destination is treated at `now`.
    pub(crate) fn report(&self, destination: &str, now: Timestamp) -> DestinationState {
        let state = self.lock();
        let key = state.key(destination);
        let options = state.options.as_ref();
        let rate = options.and_then(|options| options.rates.of(destination));
        let after = |until: Timestamp| Some(until).filter(|until| *until > now);
        let mut report = DestinationState {
            destination: destination.to_owned(),
            servers: (*key != *destination).then(|| key.to_string()),
            ceiling: options.map(|options| options.per_destination_max),
            rate: rate.map(|rate| (rate.mails(), rate.per().as_secs())),
            rate_spent_until: rate.and_then(|rate| {
                // What is taken here is a copy's.
                let mut spent = state.spent_of(destination, rate, now);
                spent.take(rate, now).err().and_then(after)
            }),
            ..DestinationState::default()
        };
        if let Some(pace) = state.by_key.get(&key) {
            report.under_way = pace.under_way;
            report.window = Some(pace.window.places());
            report.failures = pace.failures;
            report.rests_until = pace.rest.as_ref().and_then(|rest| after(rest.until));
            report.last_failure = pace.rest.as_ref().map(|rest| rest.answer.reply.to_string());
            report.busy_until = pace.busy_until.and_then(after);
        }
        report
    }
}

impl State {
    fn spent_of(&self, destination: &str, rate: crate::Rate, now: Timestamp) -> Spent {
        let known = self.spent.get(destination).copied();
        known.unwrap_or_else(|| self.fresh(rate, now))
    }
}
