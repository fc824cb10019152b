//! Plays a server to a client's session.
//!
//! - `option NAME` before all else sets an option;
//! - `send MAIL..; RCPT..; RCPT..| CONTENT`, `starttls`, `authenticate USER PASSWORD NONCE`, `reset` and `quit` tell the client what to do;
//! - `C:` expects exactly these lines to have been sent, and no more;
//! - `event ...` expects what the client tells;
//! - `handover ...` expects how the mail that was sent last was handed over, for each recipient;
//! - `wait SECONDS` lets time pass, `disconnect` ends the connection.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use hedwig_envelope::{Content, Envelope, Outcome, Relay};
use hedwig_smtp::{
    ClientOptions, Command, Dialect, Session as _,
    client::{Event, Session},
    sasl::Credentials,
};

use super::script::{Script, Step, escape};

pub(crate) fn play(script: &Script, piece: usize) {
    let now = Instant::now();
    let session = Session::new(options(script), now).unwrap();
    let mut stage = Stage { session, input: BytesMut::new(), now, sent: Vec::new() };
    for step in &script.steps {
        let place = format!("{}:{} in pieces of {piece}", script.name, step.line_number);
        stage.play(step, piece, &place);
    }
    assert_eq!(escape(&stage.sent()), "", "{}: nobody expected this", script.name);
    assert_eq!(stage.session.poll_event(), None, "{}: nobody expected this", script.name);
}

struct Stage {
    session: Session,
    input: BytesMut,
    now: Instant,
    /// What became of the mail that was sent last.
    sent: Vec<Outcome>,
}

impl Stage {
    fn play(&mut self, step: &Step, piece: usize, place: &str) {
        match step.verb.as_str() {
            "option" => {}
            "S" => {
                for bytes in step.text.chunks(piece.min(step.text.len())) {
                    self.input.extend_from_slice(bytes);
                    self.session.receive(&mut self.input, self.now);
                }
            }
            "C" => assert_eq!(escape(&self.sent()), escape(&step.text), "{place}"),
            "event" => {
                let event = self.session.poll_event();
                if let Some(Event::Sent(outcomes)) = &event {
                    self.sent.clone_from(outcomes);
                }
                let event = event.map(|event| describe(&event));
                assert_eq!(event.as_deref(), Some(step.text()), "{place}");
            }
            "handover" => {
                let handovers = self.sent.iter().map(|outcome| outcome.answer().handover);
                let handovers: Vec<_> = handovers.map(|handover| format!("{handover:?}")).collect();
                assert_eq!(handovers.join(", "), step.text(), "{place}");
            }
            "send" => {
                let (envelope, content) = parse_mail(&step.text);
                self.session.send(&envelope, &content, self.now).expect(place);
            }
            "starttls" => self.session.start_tls(self.now).expect(place),
            "tls_started" => {
                self.session.tls_started("TLSv1.3 TEST".into(), self.now).expect(place);
            }
            "authenticate" => {
                let mut words = step.text().split(' ');
                let mut word = || words.next().expect(place);
                let credentials = Credentials::new(word(), word()).unwrap();
                self.session.authenticate(&credentials, word(), self.now).expect(place);
                let shown = format!("{:?}", self.session);
                assert!(!shown.contains("pencil"), "{place}: {shown}");
            }
            "reset" => self.session.reset(self.now).expect(place),
            "quit" => self.session.quit(self.now).expect(place),
            "wait" => {
                self.now += Duration::from_secs(step.text().parse().unwrap());
                self.session.handle_timeout(self.now);
            }
            "disconnect" => self.session.disconnected(),
            "open" => assert!(self.session.is_open(), "{place}"),
            "closed" => assert!(!self.session.is_open(), "{place}"),
            other => panic!("{place}: what is {other:?}?"),
        }
    }

    fn sent(&mut self) -> BytesMut {
        let mut sent = BytesMut::new();
        while self.session.poll_transmit(&mut sent) {}
        self.session.transmitted(sent.len(), self.now);
        sent
    }
}

fn options(script: &Script) -> ClientOptions {
    let relay = Relay::of("mx.example");
    let mut options =
        ClientOptions { hello_name: "c.example".into(), relay: Some(relay), ..Default::default() };
    for step in script.steps.iter().filter(|step| step.verb == "option") {
        match step.text() {
            "lmtp" => options.protocol = Dialect::Lmtp,
            "eight_bit" => options.eight_bit_without_8bitmime = true,
            other => panic!("what is the option {other:?}?"),
        }
    }
    options
}

fn parse_mail(text: &[u8]) -> (Envelope, Content) {
    let bar = text.windows(3).position(|bytes| bytes == b" | ").unwrap();
    let content = Content::new(text[bar + 3..].to_vec().into());
    let mut envelope = None;
    for line in std::str::from_utf8(&text[..bar]).unwrap().split("; ") {
        match (Command::parse(line.as_bytes()).unwrap(), &mut envelope) {
            (Command::Mail { sender, parameters }, None) => {
                envelope = Some(Envelope { sender, parameters, recipients: vec![] });
            }
            (Command::Rcpt(recipient), Some(envelope)) => envelope.recipients.push(recipient),
            (other, _) => panic!("what is {other:?}?"),
        }
    }
    (envelope.unwrap(), content)
}

fn describe(event: &Event) -> String {
    match event {
        Event::Ready => "ready".into(),
        Event::Refused { phase, reply } => format!("refused {phase}: {reply}"),
        Event::StartTls => "tls".into(),
        Event::Authenticated => "authenticated".into(),
        Event::NoMechanism => "no mechanism".into(),
        Event::Sent(outcomes) => format!("sent {}", describe_all(outcomes)),
        Event::WasReset => "reset".into(),
        Event::Failed(failure) => {
            let mail = failure.unfinished.as_ref();
            let mail = mail.map(|mail| {
                let ambiguous = if mail.ambiguous { ", ambiguous" } else { "" };
                format!("{ambiguous}; {}", describe_all(&mail.outcomes))
            });
            format!("failed in {}: {}{}", failure.phase, failure.cause, mail.unwrap_or_default())
        }
        Event::Closed => "closed".into(),
    }
}

fn describe_all(outcomes: &[Outcome]) -> String {
    let describe = |outcome: &Outcome| {
        let (word, answer) = match outcome {
            Outcome::Done(answer) => ("done", answer),
            Outcome::Deferred(answer) => ("deferred", answer),
            Outcome::Failed(answer) => ("failed", answer),
        };
        let ambiguous = if answer.ambiguous { "?" } else { "" };
        format!("{word}{ambiguous} {} ({})", answer.status, answer.reply)
    };
    outcomes.iter().map(describe).collect::<Vec<_>>().join(", ")
}
