//! What each reply of the server's leads to.

use hedwig_envelope::{Handover, Outcome, Reply};

use super::{
    Cause, Event, Phase, Session,
    session::{Expected, State},
    transaction::{AfterData, Pushed},
};
use crate::{Capabilities, Command, Dialect, ReplyError};

impl Session {
    pub(super) fn take_reply(&mut self, reply: Reply) {
        if let Some(transcript) = &self.outbox.transcript {
            let is_authentication = self.expected.front() == Some(&Expected::Authentication);
            transcript.received(&reply, is_authentication);
        }
        let Some(expected) = self.expected.pop_front() else {
            if reply.code() == 421 {
                return self.fail(Cause::SaidGoodbye(reply));
            }
            let cause = Cause::Protocol(ReplyError::Unexpected(reply));
            self.doubt_success(&cause);
            return self.fail(cause);
        };
        // RFC 5321 §3.8: 421 may be the reply to anything, and nothing follows it.
        let is_goodbye = reply.code() == 421 && expected != Expected::Quit;
        if is_goodbye && self.transaction.is_some() {
            return self.take_goodbye(reply);
        }
        match expected {
            Expected::Greeting => self.take_greeting(reply),
            Expected::Ehlo => self.take_ehlo_reply(reply),
            Expected::Helo if reply.is_success() => self.become_ready(),
            Expected::Helo => self.refuse(Phase::Hello, reply),
            Expected::StartTls => self.take_starttls_reply(reply),
            Expected::Authentication => self.take_authentication_reply(reply),
            Expected::Reset { is_asked } => self.take_reset_reply(reply, is_asked),
            Expected::Quit => {
                self.state = State::Closed;
                self.events.push_back(Event::Closed);
            }
            Expected::LoneDot => {}
            Expected::Mail | Expected::Recipient(_) | Expected::Data | Expected::Content => {
                self.take_transaction_reply(expected, reply);
            }
        }
        self.advance();
    }

    /// One reply too many: when the caller has not heard yet what became of its mail, each of its replies may have
    /// been that to the command before, and a success none. Behind a 354 that cannot be.
    fn doubt_success(&mut self, cause: &Cause) {
        let doubtful = self.no_reply(Phase::Content, cause, true);
        for event in self.events.iter_mut().filter(|_| self.went_by_chunks) {
            let Event::Sent(outcomes) = event else { continue };
            let successes =
                outcomes.iter_mut().filter(|outcome| matches!(outcome, Outcome::Done(_)));
            successes.for_each(|success| success.clone_from(&doubtful));
        }
    }

    fn take_greeting(&mut self, reply: Reply) {
        if reply.code() == 220 {
            self.say(&self.hello.clone(), Expected::Ehlo);
        } else {
            self.refuse(Phase::Greeting, reply);
        }
    }

    fn take_ehlo_reply(&mut self, reply: Reply) {
        if reply.is_success() {
            self.capabilities = Capabilities::of_reply(&reply);
            self.become_ready();
        } else if reply.is_permanent() && !self.is_secure && self.options.protocol == Dialect::Smtp
        {
            // RFC 5321 §3.2: an old server may know HELO only; it cannot have offered STARTTLS.
            let name = self.options.hello_name.clone();
            self.say(&Command::Helo(name), Expected::Helo);
        } else {
            self.refuse(Phase::Hello, reply);
        }
    }

    fn become_ready(&mut self) {
        self.state = State::Ready;
        self.events.push_back(Event::Ready);
    }

    fn refuse(&mut self, phase: Phase, reply: Reply) {
        self.close();
        self.events.push_back(Event::Refused { phase, reply });
    }

    fn take_starttls_reply(&mut self, reply: Reply) {
        if reply.code() == 220 {
            self.state = State::TlsHandshake;
            self.events.push_back(Event::StartTls);
        } else if reply.code() == 421 {
            self.fail(Cause::SaidGoodbye(reply));
        } else {
            self.events.push_back(Event::Refused { phase: Phase::StartTls, reply });
        }
    }

    fn take_reset_reply(&mut self, reply: Reply, is_asked: bool) {
        if !reply.is_success() {
            // RFC 5321 §4.1.1.5: RSET cannot be refused. Who does so has lost track.
            self.expected.push_front(Expected::Reset { is_asked });
            self.fail(Cause::Protocol(ReplyError::Unexpected(reply)));
        } else if is_asked {
            self.events.push_back(Event::WasReset);
        }
    }

    fn take_transaction_reply(&mut self, expected: Expected, reply: Reply) {
        let handover = self.handover();
        let Some(mail) = &mut self.transaction else { return };
        let relay = self.options.relay.clone();
        match expected {
            Expected::Mail => mail.take_mail_reply(Outcome::of_reply(reply, relay)),
            Expected::Recipient(index) => {
                mail.take_recipient_reply(index, Outcome::of_reply(reply, relay));
            }
            Expected::Data => match mail.take_data_reply(reply, relay, &mut self.outbox) {
                AfterData::Content => self.expected.push_back(Expected::Content),
                // LMTP answers for each recipient, and here is none.
                AfterData::LoneDot if self.options.protocol == Dialect::Lmtp => {}
                AfterData::LoneDot => self.expected.push_back(Expected::LoneDot),
                AfterData::Refused => {}
                AfterData::OutOfStep => self.is_out_of_step = true,
            },
            // Nobody can have taken what was not sent. It is a reply to something else, or a lie.
            _ if reply.is_success() && !mail.was_sent_whole(self.transmitted) => {
                self.expected.push_front(Expected::Content);
                self.fail(Cause::Protocol(ReplyError::Unexpected(reply)));
            }
            _ => {
                let is_nonsense = reply.code() < 400 && !reply.is_success();
                self.is_out_of_step |= is_nonsense;
                let mut outcome = Outcome::of_reply(reply, relay).handed_over(handover);
                if let Outcome::Deferred(answer) = &mut outcome {
                    // It has the content, and nobody knows what it made of it.
                    answer.ambiguous = is_nonsense;
                }
                if self.options.protocol == Dialect::Smtp {
                    mail.take_content_reply(outcome);
                } else if mail.take_one_content_reply(outcome) {
                    self.expected.push_front(Expected::Content);
                }
            }
        }
    }

    /// Who reports success from here on: a server that offers DSN was told what the sender asked for
    /// (RFC 3461 §5.2.1); of the others, one that speaks LMTP has put the mail into its mailbox (RFC 2033 §1).
    fn handover(&self) -> Handover {
        match self.options.protocol {
            _ if self.capabilities.dsn => Handover::TakenOver,
            Dialect::Smtp => Handover::Relayed,
            Dialect::Lmtp => Handover::Delivered,
        }
    }

    /// 421 within a transaction is the word on all who have none yet.
    fn take_goodbye(&mut self, reply: Reply) {
        self.close();
        if let Some(mut mail) = self.transaction.take() {
            let outcome = Outcome::of_reply(reply, self.options.relay.clone());
            mail.settle_all(&outcome);
            self.events.push_back(Event::Sent(mail.into_outcomes(|| outcome.clone())));
        }
    }

    /// Pushes what may go out now, or ends the transaction.
    pub(super) fn advance(&mut self) {
        let Some(mail) = &mut self.transaction else { return };
        while let Some(pushed) = mail.push_next(&mut self.outbox, self.expected.is_empty()) {
            self.expected.push_back(match pushed {
                Pushed::Mail => Expected::Mail,
                Pushed::Recipient(index) => Expected::Recipient(index),
                Pushed::Data => Expected::Data,
                Pushed::Content => Expected::Content,
            });
        }
        if self.expected.is_empty() && mail.is_finished() {
            self.needs_reset = mail.needs_reset();
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(mail) = self.transaction.take() else { return };
        if self.is_out_of_step {
            self.close();
        }
        let no_reply = self.no_reply(Phase::Recipient, &Cause::Disconnected, false);
        self.events.push_back(Event::Sent(mail.into_outcomes(|| no_reply.clone())));
    }
}
