//! What each command does (RFC 5321 §4.1).

use std::sync::Arc;

use hedwig_envelope::{
    Address, ByMode, Envelope, Hold, MailParameters, Protocol, Recipient, Reply, ReversePath,
    Timestamp,
};

use super::{
    CloseReason, Dialect, Session,
    fault::ContentFault,
    framing::Line,
    replies,
    session::{State, Transaction},
};
use crate::{Command, CommandError, Peer, Question};

/// What awaits its answer.
#[derive(Debug)]
pub(super) enum Ask {
    Connect,
    /// `before` is who the client was until now.
    Hello {
        before: Arc<Peer>,
        is_extended: bool,
    },
    Mail(Box<Envelope>),
    Recipient(Box<Recipient>),
    Data,
    Chunk {
        size: u64,
        last: bool,
    },
    Content {
        recipients: usize,
    },
}

impl Session {
    pub(super) fn take_line(&mut self, line: Line) {
        let refusal = match line {
            Line::Whole(line) => match Command::parse_at(&line, self.home_domain(&line)) {
                Ok(command) => return self.obey(command),
                Err(error) => return self.refuse_line(&line, &error),
            },
            Line::TooLong => replies::line_too_long(),
            Line::BareLf => replies::bare_line_feed(),
        };
        self.say(&refusal);
    }

    /// What goes behind a local part that stands alone in this line.
    fn home_domain(&self, line: &[u8]) -> Option<&str> {
        let is_mail = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"MAIL"));
        let of_senders = self.options.sender_home_domain.as_deref().filter(|_| is_mail);
        of_senders.or(self.options.home_domain.as_deref())
    }

    fn refuse_line(&mut self, line: &[u8], error: &CommandError) {
        if is_http(line) {
            // A browser was talked into it: what it sends as a form may hold commands further down.
            self.say(&replies::not_http());
            return self.close(CloseReason::Misbehaved);
        }
        if line.starts_with(b"PROXY ") {
            return self.refuse_proxy();
        }
        self.say(error.reply());
        // Where its chunk ends is not known: what follows must not be read as commands.
        if line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT")) {
            self.close(CloseReason::Misbehaved);
        }
    }

    /// Its client would be taken for the proxy, which may be allowed more.
    pub(super) fn refuse_proxy(&mut self) {
        self.say(&replies::no_proxy());
        self.close(CloseReason::Misbehaved);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Helo(name) => self.hello(name, Protocol::Smtp),
            Command::Ehlo(name) => self.hello(name, Protocol::Esmtp),
            Command::Lhlo(name) => self.hello(name, Protocol::Lmtp),
            Command::Mail { sender, parameters } => self.mail(sender, parameters),
            Command::Rcpt(recipient) => self.recipient(recipient),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.chunk(size, last),
            Command::StartTls => self.offer_tls(),
            Command::Xclient(told) => self.forward(*told),
            Command::Quit => {
                self.say(&replies::goodbye());
                self.close(CloseReason::Quit);
            }
            Command::Rset => {
                self.transaction = None;
                self.waste(&replies::ok());
            }
            Command::Noop => self.waste(&replies::ok()),
            Command::Vrfy(_) => self.waste(&replies::not_verified()),
            Command::Help => self.waste(&replies::help()),
            Command::Expn(_) => self.say(&replies::not_implemented()),
            Command::Auth { mechanism, initial_response } => {
                self.authenticate(&mechanism, initial_response.as_ref());
            }
        }
    }

    /// Answers a command that brings no mail forward.
    fn waste(&mut self, reply: &Reply) {
        self.patience.count_wasted_command();
        self.say(reply);
    }

    fn hello(&mut self, name: String, protocol: Protocol) {
        let is_lmtp = self.options.protocol == Dialect::Lmtp;
        if is_lmtp != (protocol == Protocol::Lmtp) {
            // RFC 2033 §4.1: LMTP knows LHLO only, and SMTP must not know it.
            let text = if is_lmtp { "This is LMTP: say LHLO" } else { "This is SMTP: say EHLO" };
            let status = hedwig_envelope::Status::permanent(5, 1);
            return self.say(&Reply::with_status(500, status, text));
        }
        self.patience.count_wasted_command();
        // RFC 5321 §4.1.4: as if RSET had been said.
        self.transaction = None;
        let name = self.name_of_client(name);
        let peer = Peer { hello: Some(name), protocol, ..Peer::clone(&self.peer) };
        let before = std::mem::replace(&mut self.peer, Arc::new(peer));
        let question = Question::Hello { peer: self.peer.clone() };
        self.ask(Ask::Hello { before, is_extended: protocol != Protocol::Smtp }, question);
    }

    fn mail(&mut self, sender: ReversePath, parameters: MailParameters) {
        if self.peer.hello.is_none() {
            return self.say(&replies::bad_sequence("Say EHLO first"));
        }
        if self.transaction.is_some() {
            return self.say(&replies::bad_sequence("One mail at a time"));
        }
        if self.options.authentication_required && self.peer.authenticated.is_none() {
            return self.say(&replies::authentication_required());
        }
        let utf8_unasked = !parameters.smtputf8 && sender.address().is_some_and(is_utf8);
        let refusal = if utf8_unasked {
            Some(replies::needs_smtputf8())
        } else {
            self.parameter_refusal(&parameters)
        };
        if let Some(refusal) = refusal {
            return self.say(&refusal);
        }
        let envelope =
            Envelope { sender: sender.clone(), parameters: parameters.clone(), recipients: vec![] };
        let question = Question::Mail { peer: self.peer.clone(), sender, parameters };
        self.ask(Ask::Mail(Box::new(envelope)), question);
    }

    fn parameter_refusal(&self, parameters: &MailParameters) -> Option<Reply> {
        let options = &self.options;
        let longest_hold = self.longest_hold();
        let not_offered = [
            (
                parameters.require_tls && !(options.require_tls && self.peer.tls.is_some()),
                "REQUIRETLS",
            ),
            (parameters.priority.is_some() && !options.mt_priority, "MT-PRIORITY"),
            (parameters.deliver_by.is_some() && !options.deliver_by, "BY"),
            (parameters.hold.is_some() && longest_hold.is_none(), "HOLDFOR or HOLDUNTIL"),
        ];
        if let Some((_, keyword)) = not_offered.iter().find(|(is_refused, _)| *is_refused) {
            return Some(replies::parameter_not_offered(keyword));
        }
        let is_held_too_long = match (parameters.hold, longest_hold) {
            (Some(Hold::For(seconds)), Some(longest)) => seconds > longest.seconds,
            (Some(Hold::Until(time)), Some(longest)) => time > longest.until,
            _ => false,
        };
        if is_held_too_long {
            return Some(replies::hold_too_long());
        }
        // RFC 2852 §4: only the mode that returns has a least time.
        let is_too_soon = parameters.deliver_by.is_some_and(|by| {
            let seconds = u64::try_from(by.seconds).unwrap_or(0);
            by.mode == ByMode::Return && seconds < options.deliver_by_min.as_secs()
        });
        if is_too_soon {
            return Some(replies::deliver_by_too_short());
        }
        let is_too_large = parameters.size.is_some_and(|size| size > options.content_bytes_max);
        is_too_large.then(|| ContentFault::TooLarge.reply())
    }

    /// RFC 4865 §3: the longest hold in seconds, of at most nine digits, and the latest time, in whole seconds.
    fn longest_hold(&self) -> Option<LongestHold> {
        let max = self.options.future_release?.as_secs().min(999_999_999);
        let until = self.time_of_day()?.as_second().checked_add_unsigned(max)?;
        let until = Timestamp::from_second(until).unwrap_or(Timestamp::MAX);
        Some(LongestHold { seconds: u32::try_from(max).ok()?, until })
    }

    fn recipient(&mut self, recipient: Recipient) {
        let refusal = match &self.transaction {
            None => replies::bad_sequence("Say MAIL first"),
            Some(Transaction { chunks: Some(_), .. }) => {
                replies::bad_sequence("The content has begun already")
            }
            Some(Transaction { envelope, .. }) => {
                if is_utf8(&recipient.address) && !envelope.parameters.smtputf8 {
                    replies::needs_smtputf8()
                } else if envelope.recipients.len() >= self.options.recipients_max {
                    return self.decline_recipient();
                } else {
                    let question = Question::Recipient {
                        peer: self.peer.clone(),
                        sender: envelope.sender.clone(),
                        recipient: recipient.clone(),
                    };
                    return self.ask(Ask::Recipient(Box::new(recipient)), question);
                }
            }
        };
        self.say(&refusal);
    }

    fn offer_tls(&mut self) {
        if !self.offers_starttls() {
            return self.say(&replies::not_implemented());
        }
        self.say(&replies::start_tls());
        self.start_tls();
    }

    /// Does what an answer allows, or says no.
    pub(super) fn decide(&mut self, ask: Ask, reply: &Reply) {
        let is_allowed = reply.is_success();
        match ask {
            Ask::Connect if is_allowed => self.greet(),
            Ask::Connect => {
                self.say(reply);
                self.close(CloseReason::Refused);
            }
            Ask::Hello { is_extended: true, .. } if is_allowed => self.offer(),
            Ask::Hello { .. } if is_allowed => {
                let text = self.options.hostname.clone();
                self.say(&Reply::new(250, None, text));
            }
            Ask::Hello { before, .. } => {
                self.peer = before;
                self.say(reply);
            }
            Ask::Mail(envelope) => {
                if is_allowed {
                    let envelope = Arc::new(*envelope);
                    self.transaction = Some(Transaction { envelope, chunks: None });
                }
                self.say(reply);
            }
            Ask::Recipient(recipient) => {
                if let Some(transaction) = self.transaction.as_mut().filter(|_| is_allowed) {
                    Arc::make_mut(&mut transaction.envelope).recipients.push(*recipient);
                }
                self.say(reply);
            }
            Ask::Data if is_allowed => self.read_data(),
            Ask::Chunk { size, last } if is_allowed => self.expect_chunk(size, last),
            Ask::Chunk { size, last } => self.discard_chunk(size, last, reply.clone()),
            Ask::Data => {
                self.transaction = None;
                self.say(reply);
            }
            Ask::Content { recipients } => {
                (0..self.replies_due(recipients)).for_each(|_| self.say(reply));
                self.conclude(is_allowed);
            }
        }
        // RFC 5321 §3.8: 421 says that the connection is closed.
        if reply.code() == 421 && !matches!(self.state, State::Closed) {
            self.close(CloseReason::Refused);
        }
    }

    fn greet(&mut self) {
        let protocol = match self.options.protocol {
            Dialect::Smtp => "ESMTP",
            Dialect::Lmtp => "LMTP",
        };
        let text = format!("{} {protocol} Hedwig", self.options.hostname);
        self.say(&Reply::new(220, None, text));
    }

    fn offer(&mut self) {
        let text = format!("{}\n{}", self.options.hostname, self.keywords().join("\n"));
        self.say(&Reply::new(250, None, text));
    }

    /// What is offered to EHLO and LHLO. Which of it depends on TLS is decided here alone.
    fn keywords(&self) -> Vec<String> {
        let options = &self.options;
        let is_secure = self.peer.tls.is_some();
        let mut keywords: Vec<String> = vec![
            "PIPELINING".into(),
            format!("SIZE {}", options.content_bytes_max),
            "8BITMIME".into(),
            "SMTPUTF8".into(),
            "ENHANCEDSTATUSCODES".into(),
            "DSN".into(),
            "CHUNKING".into(),
            "BINARYMIME".into(),
        ];
        // RFC 9422 §4: up to six digits, and never 0.
        if options.recipients_max > 0 {
            keywords.push(format!("LIMITS RCPTMAX={}", options.recipients_max.min(999_999)));
        }
        keywords.retain(|keyword| options.dsn || keyword != "DSN");
        if self.offers_starttls() {
            keywords.push("STARTTLS".into());
        }
        if self.offers_authentication() {
            let names: Vec<_> = self.mechanisms_offered().iter().map(|m| m.name()).collect();
            keywords.push(format!("AUTH {}", names.join(" ")));
        }
        if options.require_tls && is_secure {
            keywords.push("REQUIRETLS".into());
        }
        if options.mt_priority {
            keywords.push("MT-PRIORITY".into());
        }
        if options.deliver_by {
            keywords.push(match options.deliver_by_min.as_secs() {
                0 => "DELIVERBY".into(),
                seconds => format!("DELIVERBY {seconds}"),
            });
        }
        if let Some(longest) = self.longest_hold() {
            keywords.push(format!("FUTURERELEASE {} {}", longest.seconds, longest.until));
        }
        keywords.extend(self.xclient_keyword());
        keywords
    }
}

/// How long a client may have a mail held back.
struct LongestHold {
    seconds: u32,
    until: Timestamp,
}

/// RFC 6531 §3.1: whoever sends such an address must have asked for SMTPUTF8.
fn is_utf8(address: &Address) -> bool {
    !address.as_str().is_ascii()
}

/// The first line of an HTTP request, or what an HTTP/2 client sends first (RFC 9113 §3.4).
fn is_http(line: &[u8]) -> bool {
    let has_version = line.windows(6).any(|word| word == b" HTTP/");
    has_version || line.starts_with(b"CONNECT ")
}
