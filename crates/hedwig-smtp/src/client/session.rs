use std::{collections::VecDeque, time::Instant};

use bytes::{Buf, Bytes, BytesMut};
use hedwig_envelope::{Content, Envelope, Relay};

use super::{
    Cause, ClientOptions, Event, NotReady, Transcript,
    outbox::Outbox,
    plan::Plan,
    transaction::{Transaction, push_command},
};
use crate::{
    Capabilities, Command, CommandError, Dialect, ReplyError, ReplyReader,
    sasl::{ChannelBinding, Responder},
};

/// At most so much is copied out by one `poll_transmit`.
const TRANSMITTED_AT_ONCE_MAX: usize = 64 * 1024;

/// A client's side of one connection (RFC 5321, RFC 2033).
///
/// Tell it with [`transmitted`](Self::transmitted) how much was written: on that rests whether a broken
/// connection leaves a mail ambiguous.
#[derive(Debug)]
pub struct Session {
    pub(super) options: ClientOptions,
    pub(super) hello: Command,
    pub(super) capabilities: Capabilities,
    pub(super) is_secure: bool,
    pub(super) state: State,
    pub(super) replies: ReplyReader,
    pub(super) expected: VecDeque<Expected>,
    pub(super) outbox: Outbox,
    pub(super) transmitted: u64,
    pub(super) transaction: Option<Transaction>,
    /// What the TLS connection is known by at both of its ends.
    pub(super) binding: Option<ChannelBinding>,
    /// The authentication that is under way.
    pub(super) responder: Option<Responder>,
    pub(super) needs_reset: bool,
    /// Whether the mail that was sent last went by BDAT: no 354 stood between the commands and its content.
    pub(super) went_by_chunks: bool,
    pub(super) is_out_of_step: bool,
    pub(super) events: VecDeque<Event>,
    /// When the server last took an octet, or the last step began.
    pub(super) last_progress: Instant,
    /// When the last command was begun, or the last reply was whole, or all that was to be said then was sent.
    pub(super) step_begin: Instant,
    /// How much had been written then.
    pub(super) step_transmitted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Greeting,
    Ready,
    TlsHandshake,
    Closed,
}

/// Whose reply comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Authentication,
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
        let tls = options.relay.as_ref().and_then(|relay| relay.tls.clone());
        let transcript = options.transcript.clone();
        let session = Self {
            options,
            hello,
            capabilities: Capabilities::default(),
            is_secure: tls.is_some(),
            state: State::Greeting,
            replies: ReplyReader::default(),
            expected: VecDeque::from([Expected::Greeting]),
            outbox: Outbox::recorded(transcript),
            transmitted: 0,
            transaction: None,
            binding: None,
            responder: None,
            needs_reset: false,
            went_by_chunks: false,
            is_out_of_step: false,
            events: VecDeque::new(),
            last_progress: now,
            step_begin: now,
            step_transmitted: 0,
        };
        tls.into_iter()
            .for_each(|tls| session.note(format_args!("TLS from the first byte: {tls}")));
        Ok(session)
    }

    /// From now on what is said is taken down here, or nowhere.
    pub fn record(&mut self, transcript: Option<Transcript>) {
        self.outbox.transcript = transcript;
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
                self.begin_step(now);
                self.went_by_chunks = plan.by_chunks;
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
        self.begin_step(now);
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
        self.note(format_args!("TLS: {description}"));
        if let Some(relay) = &mut self.options.relay {
            relay.tls = Some(description);
        }
        self.capabilities = Capabilities::default();
        self.state = State::Greeting;
        self.begin_step(now);
        self.say(&self.hello.clone(), Expected::Ehlo);
        Ok(())
    }

    /// Tells what the TLS connection is known by: then SCRAM-SHA-256-PLUS can be spoken (RFC 9266).
    pub fn bind_channel(&mut self, binding: ChannelBinding) {
        self.binding = Some(binding);
    }

    /// Says RSET; [`Event::WasReset`] answers.
    ///
    /// # Errors
    /// When the session is not ready, or has another command under way.
    pub fn reset(&mut self, now: Instant) -> Result<(), NotReady> {
        self.check_ready()?;
        self.begin_step(now);
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
        self.begin_step(now);
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
        if !self.is_sending() {
            self.begin_step(now);
        }
    }

    /// The next piece that is to be sent, not copied when it is large.
    pub fn poll_transmit_bytes(&mut self) -> Option<Bytes> {
        self.outbox.pop()
    }

    pub(super) fn note(&self, text: impl std::fmt::Display) {
        if let Some(transcript) = &self.outbox.transcript {
            transcript.note(text);
        }
    }

    pub(super) fn check_ready(&self) -> Result<(), NotReady> {
        if self.is_ready() { Ok(()) } else { Err(NotReady) }
    }

    pub(super) fn say(&mut self, command: &Command, expected: Expected) {
        push_command(&mut self.outbox, command);
        self.expected.push_back(expected);
    }
}

impl crate::Session for Session {
    type Event = Event;

    fn receive(&mut self, input: &mut BytesMut, now: Instant) {
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
                    Ok(Some(reply)) => {
                        // Only now: a reply that drips octet by octet, or line by line, wins no time.
                        self.begin_step(now);
                        self.take_reply(reply);
                    }
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
            _ => self.deadline(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if crate::Session::poll_timeout(self).is_some_and(|deadline| deadline <= now) {
            self.fail(Cause::TimedOut);
        }
    }
}
