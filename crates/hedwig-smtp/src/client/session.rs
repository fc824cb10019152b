use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use hedwig_envelope::{Answer, Content, Envelope, Outcome, Relay, Reply, Status};

use super::{
    Cause, ClientOptions, Failure, Phase, Unfinished,
    outbox::Outbox,
    plan::Plan,
    transaction::{AfterData, Pushed, Transaction, push_command},
};
use crate::{Capabilities, Command, CommandError, Dialect, ReplyError, ReplyReader};

/// At most so much is copied out by one `poll_transmit`.
const TRANSMITTED_AT_ONCE_MAX: usize = 64 * 1024;

/// A client's side of one connection (RFC 5321, RFC 2033).
///
/// Tell it with [`transmitted`](Self::transmitted) how much was written: on that rests whether a broken
/// connection leaves a mail ambiguous.
#[derive(Debug)]
pub struct Session {
    options: ClientOptions,
    hello: Command,
    capabilities: Capabilities,
    is_secure: bool,
    state: State,
    replies: ReplyReader,
    expected: VecDeque<Expected>,
    outbox: Outbox,
    transmitted: u64,
    transaction: Option<Transaction>,
    needs_reset: bool,
    is_out_of_step: bool,
    events: VecDeque<Event>,
    last_progress: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ready,
    TlsHandshake,
    Closed,
}

/// Whose reply comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// `is_asked` by the caller, who gets an event for it.
    Reset {
        is_asked: bool,
    },
    Mail,
    Recipient(usize),
    Data,
    Content,
    LoneDot,
    Quit,
}

/// What the client's side has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has been greeted, and mails can be [sent](Session::send).
    Ready,
    /// The server said no. After [`Phase::StartTls`] the session goes on in clear text; otherwise it is
    /// closed.
    Refused {
        /// To what.
        phase: Phase,
        /// Its reply.
        reply: Reply,
    },
    /// Shake hands as a TLS client, and call [`Session::tls_started`].
    StartTls,
    /// The mail at hand is done with: one outcome for each recipient, in the envelope's order.
    Sent(Vec<Outcome>),
    /// RSET was answered.
    WasReset,
    /// The connection cannot be used any more.
    Failed(Failure),
    /// QUIT was answered.
    Closed,
}

impl Session {
    /// A session on a connection that was made at `now`, and waits for the server's greeting.
    ///
    /// # Errors
    /// When [`ClientOptions::hello_name`] cannot be said.
    pub fn new(options: ClientOptions, now: Instant) -> Result<Self, CommandError> {
        let name = options.hello_name.clone();
        let hello = match options.protocol {
            Dialect::Smtp => Command::Ehlo(name),
            Dialect::Lmtp => Command::Lhlo(name),
        };
        hello.write(&mut BytesMut::new())?;
        let is_secure = options.relay.as_ref().is_some_and(|relay| relay.tls.is_some());
        Ok(Self {
            options,
            hello,
            capabilities: Capabilities::default(),
            is_secure,
            state: State::Greeting,
            replies: ReplyReader::default(),
            expected: VecDeque::from([Expected::Greeting]),
            outbox: Outbox::default(),
            transmitted: 0,
            transaction: None,
            needs_reset: false,
            is_out_of_step: false,
            events: VecDeque::new(),
            last_progress: now,
        })
    }

    /// What the server offers.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The server, as outcomes name it.
    #[must_use]
    pub fn relay(&self) -> Option<&Relay> {
        self.options.relay.as_ref()
    }

    /// Whether the session can still be used, now or when what is under way is done with.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether a command can be begun now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
            && self.transaction.is_none()
            && self.expected.is_empty()
            && self.events.is_empty()
    }

    /// Sends a mail; [`Event::Sent`] tells what became of it.
    ///
    /// # Errors
    /// When the session is not ready, or has another command under way.
    pub fn send(
        &mut self,
        envelope: &Envelope,
        content: &Content,
        now: Instant,
    ) -> Result<(), NotReady> {
        self.check_ready()?;
        let options = &self.options;
        match Plan::of(envelope, content, &self.capabilities, options, self.is_secure) {
            Err(unsendable) => {
                let outcomes = vec![unsendable.into(); envelope.recipients.len()];
                self.events.push_back(Event::Sent(outcomes));
            }
            Ok(plan) => {
                self.last_progress = now;
                if std::mem::take(&mut self.needs_reset) {
                    self.say(&Command::Rset, Expected::Reset { is_asked: false });
                }
                let mail = Transaction::new(plan, envelope.clone(), content.clone());
                self.transaction = Some(mail);
                self.advance();
            }
        }
        Ok(())
    }

    /// Says STARTTLS (RFC 3207).
    ///
    /// # Errors
    /// When the session is not ready, or has another command under way.
    pub fn start_tls(&mut self, now: Instant) -> Result<(), NotReady> {
        self.check_ready()?;
        self.last_progress = now;
        self.say(&Command::StartTls, Expected::StartTls);
        Ok(())
    }

    /// Tells that the handshake is done, and what was agreed on. What the server offered in clear text
    /// is forgotten (RFC 3207 §4.2), and it is greeted again.
    ///
    /// # Errors
    /// When [`Event::StartTls`] was not the last event.
    pub fn tls_started(&mut self, description: String, now: Instant) -> Result<(), NotReady> {
        if self.state != State::TlsHandshake {
            return Err(NotReady);
        }
        self.is_secure = true;
        if let Some(relay) = &mut self.options.relay {
            relay.tls = Some(description);
        }
        self.capabilities = Capabilities::default();
        self.state = State::Greeting;
        self.last_progress = now;
        self.say(&self.hello.clone(), Expected::Ehlo);
        Ok(())
    }

    /// Says RSET; [`Event::WasReset`] answers.
    ///
    /// # Errors
    /// When the session is not ready, or has another command under way.
    pub fn reset(&mut self, now: Instant) -> Result<(), NotReady> {
        self.check_ready()?;
        self.last_progress = now;
        self.needs_reset = false;
        self.say(&Command::Rset, Expected::Reset { is_asked: true });
        Ok(())
    }

    /// Says QUIT; [`Event::Closed`] answers.
    ///
    /// # Errors
    /// When the session is not ready, or has another command under way.
    pub fn quit(&mut self, now: Instant) -> Result<(), NotReady> {
        self.check_ready()?;
        self.last_progress = now;
        self.say(&Command::Quit, Expected::Quit);
        Ok(())
    }

    /// Tells that the connection has ended, or failed.
    pub fn disconnected(&mut self) {
        self.fail(Cause::Disconnected);
    }

    /// Tells that so many bytes were written by `now`.
    pub fn transmitted(&mut self, bytes: usize, now: Instant) {
        self.transmitted += bytes as u64;
        self.last_progress = now;
    }

    /// The next piece that is to be sent, not copied when it is large.
    pub fn poll_transmit_bytes(&mut self) -> Option<Bytes> {
        self.outbox.pop()
    }

    fn check_ready(&self) -> Result<(), NotReady> {
        if self.is_ready() { Ok(()) } else { Err(NotReady) }
    }

    fn say(&mut self, command: &Command, expected: Expected) {
        push_command(&mut self.outbox, command);
        self.expected.push_back(expected);
    }

    fn take_reply(&mut self, reply: Reply) {
        let Some(expected) = self.expected.pop_front() else {
            let cause = match reply.code() {
                421 => Cause::SaidGoodbye(reply),
                _ => Cause::Protocol(ReplyError::Unexpected(reply)),
            };
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
            _ => {
                self.is_out_of_step |= reply.code() < 400 && !reply.is_success();
                let outcome = Outcome::of_reply(reply, relay);
                if self.options.protocol == Dialect::Smtp {
                    mail.take_content_reply(outcome);
                } else if mail.take_one_content_reply(outcome) {
                    self.expected.push_front(Expected::Content);
                }
            }
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
    fn advance(&mut self) {
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

    fn close(&mut self) {
        self.state = State::Closed;
        self.expected.clear();
        self.outbox.clear();
    }

    fn fail(&mut self, cause: Cause) {
        if self.state == State::Closed {
            return;
        }
        let phase = self.phase();
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

    /// Our own word on a recipient for whom the server said none (RFC 3463 §3.5, X.4.2).
    fn no_reply(&self, phase: Phase, cause: &Cause, ambiguous: bool) -> Outcome {
        let status = Status::transient(4, 2);
        let reply = Reply::with_status(451, status, format!("No reply to {phase}: {cause}"));
        Outcome::Deferred(Answer { status, reply, relay: self.options.relay.clone(), ambiguous })
    }

    fn phase(&self) -> Phase {
        match (self.expected.front(), self.state) {
            (None, State::TlsHandshake) => Phase::StartTls,
            (None, _) => Phase::Idle,
            (Some(expected), _) => expected.phase(),
        }
    }

    fn time_limit(&self) -> Option<Duration> {
        let limits = &self.options.time_limits;
        let is_sending = self.transmitted < self.outbox.pushed();
        if is_sending && self.transaction.as_ref().is_some_and(Transaction::sends_content) {
            return Some(limits.data_block);
        }
        Some(match self.phase() {
            Phase::Idle => return None,
            Phase::Greeting => limits.greeting,
            Phase::Hello | Phase::StartTls | Phase::Reset => limits.hello,
            Phase::Mail => limits.mail,
            Phase::Recipient => limits.recipient,
            Phase::Data => limits.data_initiation,
            Phase::Content => limits.data_termination,
            Phase::Quit => limits.quit,
        })
    }
}

impl crate::Session for Session {
    type Event = Event;

    fn receive(&mut self, input: &mut BytesMut, now: Instant) {
        if !input.is_empty() {
            self.last_progress = now;
        }
        loop {
            match self.state {
                State::Closed => return input.clear(),
                State::TlsHandshake if input.is_empty() => return,
                State::TlsHandshake => {
                    input.clear();
                    self.events.clear();
                    return self.fail(Cause::Protocol(ReplyError::ClearTextBeforeTls));
                }
                State::Greeting | State::Ready => match self.replies.read(input) {
                    Ok(Some(reply)) => self.take_reply(reply),
                    Ok(None) => return,
                    Err(error) => self.fail(Cause::Protocol(error)),
                },
            }
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self, out: &mut BytesMut) -> bool {
        let mut room = TRANSMITTED_AT_ONCE_MAX;
        while room > 0 {
            let Some(mut bytes) = self.outbox.pop() else { break };
            let taken = bytes.len().min(room);
            out.extend_from_slice(&bytes[..taken]);
            bytes.advance(taken);
            self.outbox.put_back(bytes);
            room -= taken;
        }
        room < TRANSMITTED_AT_ONCE_MAX
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            _ => self.time_limit().map(|limit| self.last_progress + limit),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if crate::Session::poll_timeout(self).is_some_and(|deadline| deadline <= now) {
            self.fail(Cause::TimedOut);
        }
    }
}

impl Expected {
    fn phase(self) -> Phase {
        match self {
            Self::Greeting => Phase::Greeting,
            Self::Ehlo | Self::Helo => Phase::Hello,
            Self::StartTls => Phase::StartTls,
            Self::Reset { .. } => Phase::Reset,
            Self::Mail => Phase::Mail,
            Self::Recipient(_) => Phase::Recipient,
            Self::Data => Phase::Data,
            Self::Content | Self::LoneDot => Phase::Content,
            Self::Quit => Phase::Quit,
        }
    }
}

/// The session has another command under way, or is closed: the caller's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is not ready for another command")]
pub struct NotReady;
