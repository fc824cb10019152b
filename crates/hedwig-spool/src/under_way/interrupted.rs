//! Attempts that were under way when the process before ended.

use hedwig_envelope::{Answer, Outcome, Reply, Status};
use tokio::sync::oneshot;

use super::LeftBehind;
use crate::{
    SpoolError,
    engine::{Engine, Request, Settle},
    leases::UnitKey,
    record::{Encoded, Kind},
    schedule::Pause,
    state::{Settlement, Unit},
};

/// What is not recorded yet. Until it is, nothing is claimed: it may be tried again, and then nobody could
/// tell that it had been tried before.
pub(crate) struct Interrupted {
    left: LeftBehind,
    trouble: Option<(SpoolError, Pause)>,
}

impl Interrupted {
    pub(crate) fn new(left: LeftBehind) -> Self {
        Self { left, trouble: None }
    }
}

impl Engine {
    /// Why nothing may be claimed yet, if so.
    pub(crate) fn check_interrupted(&self) -> Result<(), SpoolError> {
        let Some(interrupted) = &self.interrupted else { return Ok(()) };
        let waits = || SpoolError::io("claim a mail")(std::io::ErrorKind::ResourceBusy.into());
        let trouble = interrupted.trouble.as_ref();
        Err(trouble.map_or_else(waits, |(error, _)| error.duplicate()))
    }

    /// Records each attempt that was under way when the process before ended, as one of which nobody knows
    /// how it went; if it was not done yet, and the index knows what was recorded. Those units are due as before.
    pub(crate) fn record_interrupted(&mut self) {
        let now = self.clock;
        let may_try = |interrupted: &Interrupted| {
            interrupted.trouble.as_ref().is_none_or(|(_, pause)| pause.is_over(now))
        };
        if self.check_index().is_err() || !self.interrupted.as_ref().is_some_and(may_try) {
            return;
        }
        let Some(mut interrupted) = self.interrupted.take() else { return };
        match self.record(&interrupted.left) {
            Ok(count) => {
                if count > 0 {
                    tracing::info!(count, "attempts were interrupted; how they went is not known");
                }
                self.under_way.forget(&interrupted.left);
            }
            Err(error) => {
                self.rebuild_if_damaged(&error);
                self.end_reading();
                let what =
                    "interrupted attempts cannot be recorded: nothing is tried until they are";
                tracing::error!(%error, "{what}");
                interrupted.trouble = Some((error, Pause::since(now)));
                self.interrupted = Some(interrupted);
            }
        }
    }

    /// Tells how many were recorded.
    fn record(&mut self, left: &LeftBehind) -> Result<usize, SpoolError> {
        let mut begun: Vec<_> =
            left.begun.iter().map(|(key, attempts)| (*key, *attempts)).collect();
        begun.sort_unstable();
        let mut answers = Vec::new();
        let mut requests = Vec::new();
        for (key, attempts) in begun {
            let unit = self.index.unit(key.0, key.1)?;
            // One that was tried more often since was recorded; one to be given up is not tried at all.
            let is_open = |unit: &Unit| unit.attempts == attempts && unit.give_up.is_none();
            let Some(unit) = unit.filter(|unit| is_open(unit) && !unit.is_final()) else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            requests.push(Request::Settle(Box::new(self.interrupted(key, &unit, reply))));
            answers.push((key, answer));
        }
        let count = requests.len();
        self.handle(requests, self.clock);
        let mut recorded = Ok(count);
        for (key, mut answer) in answers {
            if let Err(error) = answer.try_recv().unwrap_or(Err(SpoolError::Closed)) {
                self.leases.end(key);
                recorded = Err(error);
            }
        }
        recorded
    }

    fn interrupted(
        &mut self,
        key: UnitKey,
        unit: &Unit,
        reply: oneshot::Sender<Result<(), SpoolError>>,
    ) -> Settle {
        let (token, _) = self.leases.grant(key, unit, None, self.now, self.options.lease);
        let status = Status::transient(4, 2);
        let text = "This attempt was cut short when the queue's process ended: the server may have taken the mail";
        let reply_text = Reply::with_status(451, status, text);
        let answer = Answer { ambiguous: true, ..Answer::new(status, reply_text, None) };
        let outcome = |position| (position, Outcome::Deferred(answer.clone()));
        let settlement = Settlement {
            mail: key.0,
            unit: key.1,
            at: self.now,
            outcomes: unit.waiting().map(|recipient| outcome(recipient.position)).collect(),
            next_due: Some(unit.due.unwrap_or(self.now)),
            delay_reported: unit.delay_reported,
            deadline_over: false,
            conversation: None,
            owed: Vec::new(),
        };
        let encoded = Encoded::new(Kind::Settlement, &settlement, Default::default());
        Settle { token, settlement, encoded, follow_ups: Vec::new(), reply }
    }
}
