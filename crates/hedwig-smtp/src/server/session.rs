use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::BytesMut;
use hedwig_envelope::{Envelope, Reply, Timestamp};

use super::{
    CloseReason, Dialect, Event, NothingToAnswer, ServerOptions,
    authentication::RESPONSE_BYTES_MAX,
    chunks::{Assembly, ChunkReader},
    commands::Ask,
    content::DataReader,
    forwarding::Forwarding,
    framing::LineReader,
    patience::Patience,
    replies,
};
use crate::{
    Peer, Question, reply,
    sasl::{ChannelBinding, Exchange},
};

/// A server's side of one connection (RFC 5321, RFC 2033).
#[derive(Debug)]
pub struct Session {
    pub(super) options: Arc<ServerOptions>,
    pub(super) peer: Arc<Peer>,
    pub(super) starttls: bool,
    pub(super) state: State,
    pub(super) transaction: Option<Transaction>,
    lines: LineReader,
    event: Option<Event>,
    output: BytesMut,
    pub(super) patience: Patience,
    pub(super) buffered: usize,
    pub(super) binding: Option<ChannelBinding>,
    pub(super) forwarding: Forwarding,
    /// When the session began, and what time of day it was then.
    began: Option<(Instant, Timestamp)>,
    shutting_down: bool,
}

/// What the session does with what comes next.
#[derive(Debug)]
pub(super) enum State {
    /// Reads commands.
    Commands,
    /// Reads nothing before this is answered.
    Asking(Ask),
    /// Reads the content after DATA.
    Data(DataReader),
    /// Reads the chunk after BDAT, and then says this.
    Chunk(ChunkReader, AfterChunk),
    /// Reads the client's next message after AUTH.
    Authenticating(Box<Exchange>),
    /// Reads nothing before the claim is judged.
    Judging(Box<Exchange>),
    /// The next bytes belong to TLS.
    TlsHandshake,
    /// Nothing more.
    Closed,
}

/// What follows a chunk.
#[derive(Debug)]
pub(super) enum AfterChunk {
    /// It is part of the content, perhaps the last.
    Add { size: u64, last: bool },
    /// It was refused, and this is said so many times.
    Say(Reply, usize),
}

/// A mail on its way in.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) envelope: Arc<Envelope>,
    /// What BDAT has brought; `None` before the first.
    pub(super) chunks: Option<Assembly>,
}

impl Session {
    /// A session with a client that connected at `now`; `starttls` says whether a TLS handshake is on
    /// offer. The first event is the question whether the client may connect.
    #[must_use]
    pub fn new(
        options: Arc<ServerOptions>,
        client: Option<SocketAddr>,
        starttls: bool,
        now: Instant,
    ) -> Self {
        let peer = Arc::new(Peer::new(client));
        let connect = Question::Connect { peer: peer.clone() };
        Self {
            options,
            peer,
            starttls,
            state: State::Asking(Ask::Connect),
            transaction: None,
            lines: LineReader::default(),
            event: Some(Event::Question(connect)),
            output: BytesMut::new(),
            patience: Patience::new(now),
            buffered: 0,
            binding: None,
            forwarding: Forwarding::Never,
            began: None,
            shutting_down: false,
        }
    }

    /// The same session, for a client that began with TLS (RFC 8314 §3.3). Call it on a new one.
    #[must_use]
    pub fn within_tls(mut self, description: String) -> Self {
        self.peer = Arc::new(Peer { tls: Some(description), ..Peer::clone(&self.peer) });
        let connect = Question::Connect { peer: self.peer.clone() };
        self.event = Some(Event::Question(connect));
        self
    }

    /// The same session, which began at this time of day. Call it on a new one; without it FUTURERELEASE is not
    /// offered, for what is offered is a time of day (RFC 4865 §3).
    #[must_use]
    pub fn at_time(mut self, time: Timestamp) -> Self {
        self.began = Some((self.patience.last_heard(), time));
        self
    }

    /// Answers the question, or the mail, at hand. In LMTP, a content's answer counts for each recipient.
    ///
    /// # Errors
    /// When no event awaits an answer, or it has not been polled yet.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), NothingToAnswer> {
        let ask = self.answered()?;
        self.decide(ask, reply);
        self.settle();
        Ok(())
    }

    /// Answers [`Event::Mail`] in LMTP, a reply for each recipient (RFC 2033 §4.2). In SMTP there must
    /// be just one.
    ///
    /// # Errors
    /// When no content awaits its answer, or there are more or fewer replies than are due.
    pub fn reply_each(&mut self, replies: &[Reply]) -> Result<(), NothingToAnswer> {
        let due = match &self.state {
            State::Asking(Ask::Content { recipients }) => self.replies_due(*recipients),
            _ => return Err(NothingToAnswer),
        };
        if replies.len() != due {
            return Err(NothingToAnswer);
        }
        self.answered()?;
        replies.iter().for_each(|reply| self.say(reply));
        self.conclude(replies.iter().any(Reply::is_success));
        self.settle();
        Ok(())
    }

    /// The question that the caller has seen, if there is one.
    fn answered(&mut self) -> Result<Ask, NothingToAnswer> {
        if self.event.is_some() {
            return Err(NothingToAnswer);
        }
        match std::mem::replace(&mut self.state, State::Commands) {
            State::Asking(ask) => Ok(ask),
            other => {
                self.state = other;
                Err(NothingToAnswer)
            }
        }
    }

    /// Tells that the handshake is done. What was said in clear text is forgotten, and `input` with it:
    /// somebody else may have put it there (RFC 3207 §4.2).
    ///
    /// # Errors
    /// When [`Event::StartTls`] was not the last event.
    pub fn tls_started(
        &mut self,
        description: String,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<(), NothingToAnswer> {
        if !matches!(self.state, State::TlsHandshake) || self.event.is_some() {
            return Err(NothingToAnswer);
        }
        input.clear();
        self.lines = LineReader::default();
        self.transaction = None;
        self.binding = None;
        self.peer = Arc::new(Peer { tls: Some(description), ..Peer::new(self.peer.client) });
        self.state = State::Commands;
        self.patience.hear(now);
        self.settle();
        Ok(())
    }

    /// Asks the session to end: at once with 421 when it is idle, after the mail at hand otherwise.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
        if matches!(self.state, State::Authenticating(_)) {
            // Nothing is lost with an exchange, and a person may take long to type.
            self.state = State::Commands;
        }
        self.settle();
    }

    /// Who the client is.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// The time of day when the client was last heard, if the caller has told one.
    pub(super) fn time_of_day(&self) -> Option<Timestamp> {
        let (began, time) = self.began?;
        time.checked_add(self.patience.last_heard().saturating_duration_since(began)).ok()
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.event = Some(event);
    }

    /// Whether something happened that the caller has not seen.
    pub(super) fn has_event(&self) -> bool {
        self.event.is_some()
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        if reply.code() >= 400 {
            self.patience.count_error();
        }
        reply::write(reply, &mut self.output);
    }

    /// Says that the mail has as many recipients as it may.
    pub(super) fn decline_recipient(&mut self) {
        self.patience.count_surplus_recipient();
        reply::write(&replies::too_many_recipients(), &mut self.output);
    }

    pub(super) fn ask(&mut self, ask: Ask, question: Question) {
        self.state = State::Asking(ask);
        self.event = Some(Event::Question(question));
    }

    pub(super) fn start_tls(&mut self) {
        self.state = State::TlsHandshake;
        self.event = Some(Event::StartTls);
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.transaction = None;
        self.state = State::Closed;
        self.event = Some(Event::Closed(reason));
    }

    pub(super) fn conclude(&mut self, is_taken: bool) {
        self.transaction = None;
        if is_taken {
            self.patience.renew();
        }
    }

    pub(in crate::server) fn replies_due(&self, recipients: usize) -> usize {
        match self.options.protocol {
            Dialect::Smtp => 1,
            Dialect::Lmtp => recipients,
        }
    }

    /// Between two commands: is it enough?
    pub(super) fn settle(&mut self) {
        if !matches!(self.state, State::Commands) {
            return;
        }
        let (reply, reason) = if let Some(reply) = self.patience.last_word(&self.options) {
            (reply, CloseReason::Misbehaved)
        } else if self.shutting_down && self.transaction.is_none() {
            (replies::shutting_down(), CloseReason::ShutDown)
        } else {
            return;
        };
        self.say(&reply);
        self.close(reason);
    }

    /// An initial response may make AUTH longer than other commands are.
    fn command_bytes_max(&self) -> usize {
        let max = self.options.command_bytes_max;
        if self.offers_authentication() { max.max(RESPONSE_BYTES_MAX) } else { max }
    }

    /// Whether something was taken and more may be.
    fn step(&mut self, input: &mut BytesMut) -> bool {
        match &mut self.state {
            State::Commands => match self.lines.begins_with_proxy(input) {
                Some(false) => match self.lines.read(input, self.command_bytes_max()) {
                    Some(line) => self.take_line(line),
                    None => return false,
                },
                Some(true) => self.refuse_proxy(),
                None => return false,
            },
            State::Authenticating(_) => match self.lines.read(input, RESPONSE_BYTES_MAX) {
                Some(line) => self.take_response(line),
                None => return false,
            },
            State::Data(reader) => match reader.receive(input) {
                Some(content) => self.take_content(content),
                None => return false,
            },
            State::Chunk(reader, _) => {
                let content = self.transaction.as_mut().and_then(|t| t.chunks.as_mut());
                if !reader.receive(input, content) {
                    return false;
                }
                self.end_chunk();
            }
            State::Asking(_) | State::Judging(_) | State::TlsHandshake | State::Closed => {
                return false;
            }
        }
        self.settle();
        true
    }
}

impl crate::Session for Session {
    type Event = Event;

    fn receive(&mut self, input: &mut BytesMut, now: Instant) {
        self.patience.hear(now);
        while self.step(input) {}
        self.buffered = input.len();
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    fn poll_transmit(&mut self, out: &mut BytesMut) -> bool {
        if self.output.is_empty() {
            return false;
        }
        // Given away and not kept: an idle session holds no buffer.
        out.unsplit(std::mem::take(&mut self.output));
        true
    }

    /// `None` while an event awaits its answer: then the client waits, not we.
    fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Asking(_) | State::Judging(_) | State::Closed => None,
            _ => Some(self.patience.deadline(&self.options)),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if crate::Session::poll_timeout(self).is_some_and(|deadline| deadline <= now) {
            self.say(&replies::timed_out());
            self.close(CloseReason::TimedOut);
        }
    }
}
