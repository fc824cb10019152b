//! AUTH (RFC 4954).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_envelope::{Protocol, Reply};

use super::{Event, NothingToAnswer, Session, framing::Line, replies, session::State};
use crate::{
    Peer,
    sasl::{ChannelBinding, Exchange, Fault, Mechanism, Next, Secret, Verdict},
};

/// The longest line of an exchange with its CRLF, the AUTH command among them (RFC 4954 §4).
pub(super) const RESPONSE_BYTES_MAX: usize = 12_288;

impl Session {
    /// Tells what is thought of the claim in [`Event::Authenticate`].
    ///
    /// # Errors
    /// When no claim awaits its verdict, or it has not been polled yet.
    pub fn judge(&mut self, verdict: Verdict) -> Result<(), NothingToAnswer> {
        if self.has_event() {
            return Err(NothingToAnswer);
        }
        match std::mem::replace(&mut self.state, State::Commands) {
            State::Judging(mut exchange) => {
                let next = exchange.judge(verdict);
                self.proceed(exchange, next);
                self.settle();
                Ok(())
            }
            other => {
                self.state = other;
                Err(NothingToAnswer)
            }
        }
    }

    /// Tells what binds the TLS connection that has just begun; then SCRAM-SHA-256-PLUS is offered with
    /// SCRAM-SHA-256.
    pub fn bind_channel(&mut self, binding: ChannelBinding) {
        self.binding = Some(binding);
    }

    /// What AUTH offers, if it is offered.
    pub(super) fn mechanisms_offered(&self) -> Vec<Mechanism> {
        let mechanisms = &self.options.mechanisms;
        let can_bind = self.binding.is_some() && mechanisms.contains(&Mechanism::ScramSha256);
        let plus = can_bind.then_some(Mechanism::ScramSha256Plus);
        let is_other = |mechanism: &Mechanism| *mechanism != Mechanism::ScramSha256Plus;
        plus.into_iter().chain(mechanisms.iter().copied().filter(is_other)).collect()
    }

    /// How often the client did not prove who it says it is, be it that it broke off. A driver answers ever more slowly.
    #[must_use]
    pub fn authentication_failures(&self) -> usize {
        self.patience.authentication_failures()
    }

    /// Whether AUTH would be heard, as things are.
    pub(super) fn offers_authentication(&self) -> bool {
        let is_safe = self.peer.tls.is_some() || self.options.authentication_in_clear_text;
        is_safe && !self.options.mechanisms.is_empty() && self.peer.authenticated.is_none()
    }

    pub(super) fn authenticate(&mut self, mechanism: &str, initial_response: Option<&Secret>) {
        let mechanism = match self.choose(mechanism) {
            Ok(mechanism) => mechanism,
            Err(refusal) => return self.say(&refusal),
        };
        let mut exchange = Box::new(Exchange::new(mechanism).bound_to(self.binding));
        match initial_response.map(Secret::reveal) {
            None => self.challenge(exchange.first_challenge(), exchange),
            // RFC 4954 §4: a response that is there, and empty.
            Some("=") => {
                let next = exchange.respond(b"");
                self.proceed(exchange, next);
            }
            Some(response) => self.respond(exchange, response.as_bytes()),
        }
    }

    /// The mechanism, if AUTH is right here and now.
    fn choose(&self, mechanism: &str) -> Result<Mechanism, Reply> {
        if self.options.mechanisms.is_empty() {
            return Err(replies::not_implemented());
        }
        if self.peer.hello.is_none() || self.peer.protocol == Protocol::Smtp {
            return Err(replies::bad_sequence("Say EHLO first"));
        }
        if self.peer.authenticated.is_some() {
            return Err(replies::bad_sequence("You are authenticated already"));
        }
        if self.transaction.is_some() {
            return Err(replies::bad_sequence("AUTH is not allowed within a mail"));
        }
        let known = mechanism.parse().ok();
        let known = known.filter(|mechanism| self.mechanisms_offered().contains(mechanism));
        let mechanism = known.ok_or_else(replies::unknown_mechanism)?;
        if self.offers_authentication() {
            Ok(mechanism)
        } else {
            Err(replies::encryption_required())
        }
    }

    pub(super) fn take_response(&mut self, line: Line) {
        let State::Authenticating(exchange) = std::mem::replace(&mut self.state, State::Commands)
        else {
            return;
        };
        match line {
            Line::Whole(line) if &line[..] == b"*" => {
                self.break_off(&replies::authentication_cancelled());
            }
            Line::Whole(line) => self.respond(exchange, &line),
            Line::TooLong => self.break_off(&replies::response_too_long()),
            Line::BareLf => self.break_off(&replies::bare_line_feed()),
        }
    }

    /// Whoever breaks off has failed like one who answers wrongly: or else salts, and whatever they tell, could be had
    /// without end and at once.
    fn break_off(&mut self, reply: &Reply) {
        self.patience.count_authentication_failure();
        self.say(reply);
    }

    fn respond(&mut self, mut exchange: Box<Exchange>, response: &[u8]) {
        match STANDARD.decode(response) {
            Ok(message) => {
                let next = exchange.respond(&message);
                self.proceed(exchange, next);
            }
            Err(_) => self.break_off(&replies::not_base64()),
        }
    }

    fn proceed(&mut self, exchange: Box<Exchange>, next: Next) {
        match next {
            Next::Challenge(message) => self.challenge(&message, exchange),
            Next::Ask(claim) => {
                self.state = State::Judging(exchange);
                self.tell(Event::Authenticate(claim));
            }
            Next::Accepted(identity) => {
                let peer = Peer { authenticated: Some(identity), ..Peer::clone(&self.peer) };
                self.peer = Arc::new(peer);
                self.say(&replies::authenticated());
            }
            Next::Refused(fault) => self.fail(fault),
        }
    }

    fn challenge(&mut self, message: &[u8], exchange: Box<Exchange>) {
        self.say(&Reply::new(334, None, STANDARD.encode(message)));
        self.state = State::Authenticating(exchange);
    }

    fn fail(&mut self, fault: Fault) {
        if fault != Fault::Unavailable {
            self.patience.count_authentication_failure();
        }
        self.say(&match fault {
            Fault::Malformed => replies::malformed_response(),
            Fault::Credentials => replies::wrong_credentials(),
            Fault::Downgraded => replies::downgraded(),
            Fault::Unavailable => replies::authentication_unavailable(),
        });
    }
}
