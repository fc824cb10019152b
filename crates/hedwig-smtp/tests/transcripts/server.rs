//! Plays a client to a server's session.
//!
//! - the time of day is 2026-11-18T12:00:00Z when it begins, and the client is at 198.51.100.7:2525;
//! - `option NAME [VALUE]` before all else sets an option;
//! - `policy QUESTION = REPLY` answers a question, such as `RCPT <a@example.org>`; others are answered yes;
//! - `answer REPLY[; REPLY]` is said to every mail from then on;
//! - `mail ENVELOPE | CONTENT` expects a mail to have come;
//! - `user NAME PASSWORD` and `token TOKEN NAME` say who there is; about the user `nobody` nobody can tell;
//! - `known NAME` expects the client to be authenticated so, `unknown` that it is not;
//! - `client ADDRESS NAME` expects it to be there and to call itself so;
//! - `wait SECONDS` lets time pass, `stop` asks for a shutdown;
//! - `closed REASON` expects the end. `S: *` expects some reply, whatever it says.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use hedwig_envelope::{Reply, Status};
use hedwig_smtp::{
    Dialect, LineEndings, Question, ServerOptions, Session as _,
    sasl::{ChannelBinding, Claim, ScramKeys, Verdict},
    server::{Event, Session},
};

use super::script::{Script, Step, escape};

/// The salt of RFC 7677 §3, whose nonce is used too.
const SALT: &[u8] = &[
    0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81,
];

pub(crate) fn play(script: &Script, piece: usize) {
    let mut stage = Stage::new(script);
    for step in &script.steps {
        let place = format!("{}:{} in pieces of {piece}", script.name, step.line_number);
        stage.play(step, piece, &place);
    }
    assert_eq!(escape(&stage.output), "", "{}: nobody expected this", script.name);
    assert!(stage.mails.is_empty(), "{}: unexpected {:?}", script.name, stage.mails);
    assert_eq!(stage.closed, None, "{}: unexpected end", script.name);
}

struct Stage {
    session: Session,
    policy: HashMap<String, Reply>,
    passwords: HashMap<String, String>,
    tokens: HashMap<String, String>,
    answers: Vec<Reply>,
    mails: VecDeque<String>,
    closed: Option<String>,
    input: BytesMut,
    output: BytesMut,
    can_bind: bool,
    now: Instant,
}

impl Stage {
    fn new(script: &Script) -> Self {
        let mut options = ServerOptions { hostname: "mx.example".into(), ..Default::default() };
        let (mut policy, mut passwords, mut tokens) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        let two = |step: &Step| {
            step.text().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()
        };
        let (mut starttls, mut can_bind, mut xclient) = (false, false, false);
        for step in &script.steps {
            match step.verb.as_str() {
                "option" if step.text() == "starttls" => starttls = true,
                "option" if step.text() == "channel_binding" => can_bind = true,
                "option" if step.text() == "xclient" => xclient = true,
                "option" => set_option(&mut options, step.text()),
                "policy" => {
                    let (question, reply) = step.text().split_once(" = ").unwrap();
                    policy.insert(question.to_owned(), parse_reply(reply));
                }
                "user" => passwords.extend([two(step)]),
                "token" => tokens.extend([two(step)]),
                _ => break,
            }
        }
        let now = Instant::now();
        let client = Some("198.51.100.7:2525".parse().unwrap());
        let session = Session::new(Arc::new(options), client, starttls, now);
        let session = session.at_time("2026-11-18T12:00:00Z".parse().unwrap());
        let mut stage = Self {
            session: if xclient { session.trusting_xclient() } else { session },
            policy,
            passwords,
            tokens,
            answers: vec![parse_reply("250 2.0.0 Ok: queued")],
            mails: VecDeque::new(),
            closed: None,
            input: BytesMut::new(),
            output: BytesMut::new(),
            can_bind,
            now,
        };
        stage.turn(&[]);
        stage
    }

    fn play(&mut self, step: &Step, piece: usize, place: &str) {
        match step.verb.as_str() {
            "option" | "policy" | "user" | "token" => {}
            "known" => {
                let name = self.session.peer().authenticated.as_deref();
                assert_eq!(name, Some(step.text()), "{place}");
            }
            "unknown" => assert_eq!(self.session.peer().authenticated, None, "{place}"),
            "client" => {
                let peer = self.session.peer();
                let hello = peer.hello.as_deref().unwrap_or("-");
                let client = format!("{} {hello}", peer.client.unwrap());
                assert_eq!(client, step.text(), "{place}");
            }
            "answer" => self.answers = step.text().split("; ").map(parse_reply).collect(),
            "C" => {
                let mut rest = &step.text[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(piece.min(rest.len()));
                    self.input.extend_from_slice(now);
                    rest = if self.turn(later) { later } else { &[] };
                }
            }
            "S" => self.expect_output(&step.text, place),
            "mail" => {
                let mail = self.mails.pop_front().unwrap_or_default();
                assert_eq!(mail, escape(&step.text), "{place}");
            }
            "wait" => {
                self.now += Duration::from_secs(step.text().parse().unwrap());
                self.session.handle_timeout(self.now);
                self.turn(&[]);
            }
            "stop" => {
                self.session.shut_down();
                self.turn(&[]);
            }
            "closed" => assert_eq!(self.closed.take().as_deref(), Some(step.text()), "{place}"),
            other => panic!("{place}: what is {other:?}?"),
        }
    }

    /// Works off the input; `false` when `later`, the rest of what the client sent, went before TLS.
    fn turn(&mut self, later: &[u8]) -> bool {
        let mut is_current = true;
        self.session.receive(&mut self.input, self.now);
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Question(question) => self.answer(&question),
                Event::Mail { envelope, content } => {
                    let to: Vec<_> =
                        envelope.recipients.iter().map(|r| r.address.as_str()).collect();
                    let line =
                        format!("{} {} | {}", envelope.sender, to.join(","), escape(&content));
                    self.mails.push_back(line);
                    match &self.answers[..] {
                        [answer] => self.session.reply(answer).unwrap(),
                        answers => self.session.reply_each(answers).unwrap(),
                    }
                }
                Event::Authenticate(claim) => {
                    let verdict = self.judge(claim);
                    self.session.judge(verdict).unwrap();
                }
                Event::StartTls => {
                    self.input.extend_from_slice(later);
                    is_current = false;
                    let tls = "TLSv1.3 TEST".to_owned();
                    self.session.tls_started(tls, &mut self.input, self.now).unwrap();
                    if self.can_bind {
                        self.session.bind_channel(ChannelBinding::new([b'b'; 32]));
                    }
                    assert!(self.input.is_empty(), "what came in clear text is gone");
                }
                Event::Closed(reason) => self.closed = Some(format!("{reason:?}")),
            }
            self.session.receive(&mut self.input, self.now);
        }
        while self.session.poll_transmit(&mut self.output) {}
        is_current
    }

    fn answer(&mut self, question: &Question) {
        let name = match question {
            Question::Connect { .. } => "CONNECT".to_owned(),
            Question::Hello { peer } => format!("HELLO {}", peer.hello.as_deref().unwrap()),
            Question::Mail { sender, .. } => format!("MAIL <{sender}>"),
            Question::Recipient { recipient, .. } => format!("RCPT <{}>", recipient.address),
            Question::Data { .. } => "DATA".to_owned(),
            other => panic!("what is {other:?}?"),
        };
        let reply = self.policy.get(&name).cloned().unwrap_or_else(|| question.yes());
        self.session.reply(&reply).unwrap();
    }

    fn judge(&self, claim: Claim) -> Verdict {
        let accept_if = |is_right, user| match is_right {
            true => Verdict::Accepted(user),
            false => Verdict::Refused,
        };
        match claim {
            Claim::Password { user, .. } if user == "nobody" => Verdict::Unavailable,
            Claim::Password { user, password } => {
                let is_right = self.passwords.get(&user).is_some_and(|p| p == password.reveal());
                accept_if(is_right, user)
            }
            Claim::Token { token, .. } => match self.tokens.get(token.reveal()) {
                Some(user) => Verdict::Accepted(user.clone()),
                None => Verdict::Refused,
            },
            Claim::Keys { user } => {
                let iterations = NonZeroU32::new(4096).unwrap();
                let made = |password| ScramKeys::of_password(password, SALT, iterations).unwrap();
                let keys = self.passwords.get(&user).map(|password| made(password));
                let keys = keys.unwrap_or_else(|| ScramKeys::decoy(b"", &user));
                Verdict::Keys { keys, nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into() }
            }
        }
    }

    fn expect_output(&mut self, expected: &[u8], place: &str) {
        let expected = std::str::from_utf8(expected).unwrap();
        for line in expected.split_inclusive("\r\n") {
            let said = self.next_line();
            if line == "* \r\n" || line == "*\r\n" {
                let mut last = said;
                while last.get(3) == Some(&b'-') {
                    last = self.next_line();
                }
                assert!(last.len() > 3, "{place}: no reply");
            } else {
                assert_eq!(escape(&said), escape(line.as_bytes()), "{place}");
            }
        }
    }

    fn next_line(&mut self) -> BytesMut {
        let end = self.output.iter().position(|byte| *byte == b'\n');
        self.output.split_to(end.map_or(self.output.len(), |end| end + 1))
    }
}

fn set_option(options: &mut ServerOptions, text: &str) {
    let (name, value) = text.split_once(' ').unwrap_or((text, ""));
    let number = || value.parse::<usize>().unwrap();
    match name {
        "lmtp" => options.protocol = Dialect::Lmtp,
        "normalise" => options.line_endings = LineEndings::Normalise,
        "content_bytes_max" => options.content_bytes_max = number() as u64,
        "command_bytes_max" => options.command_bytes_max = number(),
        "recipients_max" => options.recipients_max = number(),
        "errors_max" => options.errors_max = number(),
        "commands_without_mail_max" => options.commands_without_mail_max = number(),
        "silence_max" => options.silence_max = Duration::from_secs(number() as u64),
        "auth" => options.mechanisms = value.split(' ').map(|name| name.parse().unwrap()).collect(),
        "auth_in_clear_text" => options.authentication_in_clear_text = true,
        "auth_required" => options.authentication_required = true,
        "authentication_failures_max" => options.authentication_failures_max = number(),
        "home_domain" => options.home_domain = Some(value.to_owned()),
        "require_tls" => options.require_tls = true,
        "mt_priority" => options.mt_priority = true,
        "deliver_by" => options.deliver_by = true,
        "deliver_by_min" => options.deliver_by_min = Duration::from_secs(number() as u64),
        "future_release" => options.future_release = Some(Duration::from_secs(number() as u64)),
        other => panic!("what is the option {other:?}?"),
    }
}

fn parse_reply(text: &str) -> Reply {
    let mut words = text.splitn(3, ' ');
    let code = words.next().unwrap().parse().unwrap();
    let status: Status = words.next().unwrap().parse().unwrap();
    Reply::with_status(code, status, words.next().unwrap_or_default().to_owned())
}
