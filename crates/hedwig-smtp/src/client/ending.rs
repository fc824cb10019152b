//! How a session ends, and how long it waits before it does.

use std::time::{Duration, Instant};

use hedwig_envelope::{Answer, Outcome, Reply, Status};

use super::{
    Cause, Event, Failure, Phase, Session, TimeLimits, Unfinished,
    session::{Expected, State},
    transaction::Transaction,
};

impl Session {
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.responder = None;
        self.expected.clear();
        self.outbox.clear();
    }

    pub(super) fn fail(&mut self, cause: Cause) {
        if self.state == State::Closed {
            return;
        }
        let phase = self.phase();
        if phase != Phase::Quit {
            self.note(format_args!("in {phase}: {cause}"));
        }
        self.close();
        let mail = self.transaction.take();
        if phase == Phase::Quit {
            return self.events.push_back(Event::Closed);
        }
        let unfinished = match mail {
            // Only a reply that changes nothing was missing.
            Some(mail) if mail.all_settled() && mail.is_finished() => {
                let no_reply = self.no_reply(phase, &cause, false);
                return self.events.push_back(Event::Sent(mail.into_outcomes(|| no_reply.clone())));
            }
            Some(mail) => {
                let ambiguous = mail.was_sent_whole(self.transmitted);
                let no_reply = self.no_reply(phase, &cause, ambiguous);
                Some(Unfinished { ambiguous, outcomes: mail.into_outcomes(|| no_reply.clone()) })
            }
            None => None,
        };
        self.events.push_back(Event::Failed(Failure { phase, cause, unfinished }));
    }

    /// Our own word on a recipient for whom the server said none: X.5.0 when it spoke nonsense instead, else
    /// X.4.2 (RFC 3463 §3.5, §3.6).
    pub(super) fn no_reply(&self, phase: Phase, cause: &Cause, ambiguous: bool) -> Outcome {
        let status = match cause {
            Cause::Protocol(_) => Status::transient(5, 0),
            _ => Status::transient(4, 2),
        };
        let reply = Reply::with_status(451, status, format!("No reply to {phase}: {cause}"));
        let relay = self.options.relay.clone();
        Outcome::Deferred(Answer { ambiguous, ..Answer::new(status, reply, relay) })
    }

    pub(super) fn phase(&self) -> Phase {
        match (self.expected.front(), self.state) {
            (None, State::TlsHandshake) => Phase::StartTls,
            (None, _) => Phase::Idle,
            (Some(expected), _) => expected.phase(),
        }
    }

    /// Counts the time of what comes next from now on.
    pub(super) fn begin_step(&mut self, now: Instant) {
        self.last_progress = now;
        self.step_begin = now;
        self.step_transmitted = self.transmitted;
    }

    pub(super) fn is_sending(&self) -> bool {
        self.transmitted < self.outbox.pushed()
    }

    /// Until when the server may say nothing whole and take nothing, or take what is sent too slowly.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let limit = self.time_limit()?;
        let bytes = self.outbox.pushed().saturating_sub(self.step_transmitted);
        let slowest = Duration::from_secs(bytes / TimeLimits::SENT_BYTES_PER_SECOND_MIN);
        Some(self.last_progress.min(self.step_begin + slowest) + limit)
    }

    fn time_limit(&self) -> Option<Duration> {
        let limits = &self.options.time_limits;
        if self.is_sending() && self.transaction.as_ref().is_some_and(Transaction::sends_content) {
            return Some(limits.data_block);
        }
        Some(match self.phase() {
            Phase::Idle => return None,
            Phase::Greeting => limits.greeting,
            Phase::Hello | Phase::StartTls | Phase::Authentication | Phase::Reset => limits.hello,
            Phase::Mail => limits.mail,
            Phase::Recipient => limits.recipient,
            Phase::Data => limits.data_initiation,
            Phase::Content => limits.data_termination,
            Phase::Quit => limits.quit,
        })
    }
}

impl Expected {
    fn phase(self) -> Phase {
        match self {
            Self::Greeting => Phase::Greeting,
            Self::Ehlo | Self::Helo => Phase::Hello,
            Self::StartTls => Phase::StartTls,
            Self::Authentication => Phase::Authentication,
            Self::Reset { .. } => Phase::Reset,
            Self::Mail => Phase::Mail,
            Self::Recipient(_) => Phase::Recipient,
            Self::Data => Phase::Data,
            Self::Content | Self::LoneDot => Phase::Content,
            Self::Quit => Phase::Quit,
        }
    }
}
