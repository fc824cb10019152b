//! How destinations are treated: how many units each may have under way, when it is left alone, and what its
//! rate lets through. Kept in memory, beside the leases; what a restart should not forget is
//! [saved](Paces::save) when the courier ends.

mod report;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hedwig_envelope::{Answer, MailId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Rate, Rates, Schedule, rate::Spent, schedule::later, window::Window};

pub use report::DestinationState;

/// Tells of a destination which servers it has, if that is known: destinations with the same ones share
/// their concurrency and their back-off.
pub type Sharing = Arc<dyn Fn(&str) -> Option<Arc<str>> + Send + Sync>;

/// From so many destinations on, those of which nothing need be known are forgotten.
const KEPT: usize = 4096;
/// How long what is known of a destination that fails outlives its rest.
const REMEMBERED: Duration = Duration::from_hours(24);

/// What a courier asks of the paces.
#[derive(Clone)]
pub(crate) struct PaceOptions {
    /// How long a destination that is at fault is left alone, by how often it was.
    pub(crate) rest: Schedule,
    /// When mails are given up, and so must be offered although their destination rests.
    pub(crate) expiry: Duration,
    pub(crate) per_destination_max: usize,
    pub(crate) per_sender_max: usize,
    pub(crate) rates: Rates,
    pub(crate) sharing: Option<Sharing>,
}

/// How all destinations are treated.
#[derive(Default)]
pub(crate) struct Paces(Mutex<State>);

#[derive(Default)]
struct State {
    options: Option<PaceOptions>,
    by_key: HashMap<Arc<str>, Pace>,
    forget_at: usize,
    spent: HashMap<Box<str>, Spent>,
    /// What a destination has had of its rate before is not known: it has had all then.
    unknown_since: Option<Timestamp>,
}

struct Pace {
    window: Window,
    under_way: usize,
    failures: u32,
    rest: Option<Rest>,
    /// It wants no more before this time, and nothing is wrong.
    busy_until: Option<Timestamp>,
}

/// A destination is at fault, and left alone.
struct Rest {
    until: Timestamp,
    answer: Arc<Answer>,
}

/// What is told to whoever wants to try a unit.
pub(crate) enum Admission<T> {
    /// At once, with the room that there is for it.
    Go(Permit, T),
    /// When another one has ended.
    Full,
    /// When there is room for it.
    NoRoom,
    /// Not before this time.
    Later(Timestamp),
    /// Not before this time, for the destination answered like this.
    Resting(Timestamp, Arc<Answer>),
}

/// Why a unit was leased.
#[derive(Clone, Debug)]
pub(crate) enum Permit {
    /// It may be tried.
    Try(Arc<Turn>),
    /// It is too late for it, and its destination rests: this was its last word.
    TooLate(Arc<Answer>),
}

/// A place at a destination, until it is dropped.
pub(crate) struct Turn {
    paces: Arc<Paces>,
    key: Arc<str>,
    destination: Arc<str>,
    begun: Timestamp,
}

/// What is known of a destination after a restart.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Saved {
    /// All that was not at rest had its whole rate to spend.
    Complete,
    Resting {
        destination: Box<str>,
        until: Timestamp,
        failures: u32,
        answer: Answer,
    },
    Spent {
        domain: Box<str>,
        upto: Timestamp,
    },
}

impl Paces {
    /// Begins with what was saved; tells nothing of what was not.
    pub(crate) fn begin(&self, options: PaceOptions, saved: Vec<Saved>, now: Timestamp) {
        let mut state = self.lock();
        state.options = Some(options);
        state.unknown_since = (!saved.contains(&Saved::Complete)).then_some(now);
        for saved in saved {
            match saved {
                Saved::Complete => {}
                Saved::Resting { destination, until, failures, answer } => {
                    let pace = state.pace(destination.into(), now);
                    pace.window.begin_anew();
                    pace.failures = failures;
                    pace.rest = Some(Rest { until, answer: Arc::new(answer) });
                }
                Saved::Spent { domain, upto } => {
                    state.spent.insert(domain, Spent(upto));
                }
            }
        }
    }

    /// What is to be known after a restart.
    pub(crate) fn save(&self, now: Timestamp) -> Vec<Saved> {
        let state = self.lock();
        let rests = state.by_key.iter().filter_map(|(key, pace)| {
            let rest = pace.rest.as_ref()?;
            let answer = (*rest.answer).clone();
            let (destination, failures) = (key.as_ref().into(), pace.failures);
            Some(Saved::Resting { destination, until: rest.until, failures, answer })
        });
        let spent = state.spent.iter().filter(|(_, spent)| spent.0 > now);
        let spent =
            spent.map(|(domain, spent)| Saved::Spent { domain: domain.clone(), upto: spent.0 });
        let mut saved: Vec<_> = rests.chain(spent).collect();
        // Those of a courier that ran for less than it takes to know are not all.
        if state.unknown_since.is_none_or(|since| later(since, state.longest_burst()) <= now) {
            saved.push(Saved::Complete);
        }
        saved
    }

    /// Whether a unit for this destination may be tried now. If so, it has a place there. Room for it is asked for last,
    /// and a share of the rate is spent only if there is some.
    ///
    /// # Errors
    /// Those of `room`.
    pub(crate) fn admit<T, E>(
        self: &Arc<Self>,
        destination: &str,
        now: Timestamp,
        room: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Admission<T>, E> {
        let mut state = self.lock();
        let key = state.key(destination);
        let pace = state.pace(key.clone(), now);
        if let Some(until) = pace.busy_until.filter(|until| *until > now) {
            return Ok(Admission::Later(until));
        }
        if let Some(rest) = pace.rest.as_ref().filter(|rest| rest.until > now) {
            return Ok(Admission::Resting(rest.until, rest.answer.clone()));
        }
        if pace.under_way >= pace.window.places() {
            return Ok(Admission::Full);
        }
        let spent = match state.spend(destination, now) {
            Ok(spent) => spent,
            Err(until) => return Ok(Admission::Later(until)),
        };
        let Some(room) = room()? else { return Ok(Admission::NoRoom) };
        if let Some(spent) = spent {
            state.spent.insert(destination.into(), spent);
        }
        state.pace(key.clone(), now).under_way += 1;
        let destination = if *key == *destination { key.clone() } else { destination.into() };
        let turn = Turn { paces: self.clone(), key, destination, begun: now };
        Ok(Admission::Go(Permit::Try(Arc::new(turn)), room))
    }

    /// Until when the destination rests, if it does.
    pub(crate) fn rests_until(&self, destination: &str, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        let rest = state.by_key.get(&state.key(destination))?.rest.as_ref()?;
        Some(rest.until).filter(|until| *until > now)
    }

    /// Lets a destination be tried at once: an operator wants it.
    pub(crate) fn wake(&self, destination: &str) {
        let mut state = self.lock();
        let key = state.key(destination);
        if let Some(pace) = state.by_key.get_mut(&key) {
            (pace.rest, pace.busy_until, pace.failures) = (None, None, 0);
        }
    }

    /// When a mail is given up that came to be with this id.
    pub(crate) fn expires_at(&self, id: MailId) -> Timestamp {
        let expiry = self.lock().options.as_ref().map(|options| options.expiry);
        expiry.map_or(Timestamp::MAX, |expiry| later(id.created_at(), expiry))
    }

    pub(crate) fn per_sender_max(&self) -> usize {
        self.lock().options.as_ref().map_or(usize::MAX, |options| options.per_sender_max)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two steps that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn key(&self, destination: &str) -> Arc<str> {
        let sharing = self.options.as_ref().and_then(|options| options.sharing.as_ref());
        sharing.and_then(|sharing| sharing(destination)).unwrap_or_else(|| destination.into())
    }

    fn pace(&mut self, key: Arc<str>, now: Timestamp) -> &mut Pace {
        if self.by_key.len() >= self.forget_at.max(KEPT) && !self.by_key.contains_key(&key) {
            self.by_key.retain(|_, pace| pace.is_worth_knowing(now));
            self.forget_at = 2 * self.by_key.len();
        }
        let ceiling = self.options.as_ref().map_or(1, |options| options.per_destination_max);
        self.by_key.entry(key).or_insert_with(|| Pace {
            window: Window::new(ceiling),
            under_way: 0,
            failures: 0,
            rest: None,
            busy_until: None,
        })
    }

    /// What a destination with a rate will have had with one mail more; or when there will be a share for it.
    fn spend(&mut self, destination: &str, now: Timestamp) -> Result<Option<Spent>, Timestamp> {
        let rate = self.options.as_ref().and_then(|options| options.rates.of(destination));
        let Some(rate) = rate else { return Ok(None) };
        if self.spent.len() >= KEPT && self.spent.len() == self.spent.capacity() {
            self.spent.retain(|_, spent| spent.0 > now);
        }
        let known = self.spent.get(destination).copied();
        let mut spent = known.unwrap_or_else(|| self.fresh(rate, now));
        spent.take(rate, now)?;
        Ok(Some(spent))
    }

    /// What a destination has had that had none since the courier began.
    fn fresh(&self, rate: Rate, now: Timestamp) -> Spent {
        match self.unknown_since {
            Some(since) => Spent::all_at(rate, since),
            None => Spent(now),
        }
    }

    fn longest_burst(&self) -> Duration {
        self.options.as_ref().map_or(Duration::ZERO, |options| options.rates.longest_burst())
    }
}

impl Pace {
    fn is_worth_knowing(&self, now: Timestamp) -> bool {
        let rests = self.rest.as_ref().is_some_and(|rest| later(rest.until, REMEMBERED) > now);
        rests || self.under_way > 0
    }
}

impl Turn {
    /// The destination talks with us.
    pub(crate) fn went_well(&self, now: Timestamp) {
        let mut state = self.paces.lock();
        let key = state.key(&self.destination);
        let under_way = state.pace(self.key.clone(), now).under_way;
        let pace = state.pace(key, now);
        if pace.rest.take().is_some() {
            tracing::info!(destination = &*self.key, "a destination can be reached again");
        }
        pace.failures = 0;
        let took = Duration::try_from(now.duration_since(self.begun)).unwrap_or_default();
        pace.window.good(took, under_way.max(pace.under_way));
    }

    /// The destination broke off: it gets less for now.
    pub(crate) fn was_cut_short(&self, now: Timestamp) {
        let mut state = self.paces.lock();
        let key = state.key(&self.destination);
        state.pace(key, now).window.bad(self.begun, now);
    }

    /// The destination wants no more until then.
    pub(crate) fn met_a_crowd(&self, until: Timestamp, now: Timestamp) {
        let mut state = self.paces.lock();
        let key = state.key(&self.destination);
        let pace = state.pace(key, now);
        pace.busy_until = pace.busy_until.max(Some(until));
    }

    /// The destination is at fault, and may want to be left alone until some time. Tells when to try the
    /// unit again.
    pub(crate) fn failed(
        &self,
        answer: &Answer,
        at_least_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Timestamp {
        let mut state = self.paces.lock();
        let rest_schedule = state.options.as_ref().map(|options| options.rest).unwrap_or_default();
        let key = state.key(&self.destination);
        let pace = state.pace(key.clone(), now);
        let goes_on = pace.window.bad(self.begun, now);
        if let Some(rest) = pace.rest.as_ref().filter(|rest| rest.until > now) {
            return rest.until;
        }
        if goes_on && at_least_until.is_none() {
            return later(now, rest_schedule.delay(1, fastrand::f64()));
        }
        pace.failures = pace.failures.saturating_add(1);
        pace.window.begin_anew();
        let delay = rest_schedule.delay(pace.failures, fastrand::f64());
        let until = later(now, delay).max(at_least_until.unwrap_or(now));
        let failures = pace.failures;
        // What was said belongs to that mail's attempt, and not to those that rest because of it.
        let (answer, reply) = (Answer { conversation: None, ..answer.clone() }, &answer.reply);
        pace.rest = Some(Rest { until, answer: Arc::new(answer) });
        tracing::info!(
            destination = &*key, %until, failures, %reply,
            "a destination is left alone for a while"
        );
        until
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(pace) = self.paces.lock().by_key.get_mut(&self.key) {
            pace.under_way = pace.under_way.saturating_sub(1);
        }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("key", &self.key).finish_non_exhaustive()
    }
}
