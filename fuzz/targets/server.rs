//! However a client's bytes are cut, a server says and takes the same; and what it takes holds no bare
//! CR or LF and no NUL, unless it is binary, and not more than was offered.
#![no_main]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use hedwig_envelope::{Envelope, Reply, Status, Timestamp};
use hedwig_smtp::{
    Dialect, LineEndings, ServerOptions, Session as _,
    sasl::{Claim, Mechanism, ScramKeys, Verdict},
    server::{Event, Session},
};
use libfuzzer_sys::fuzz_target;

const CONTENT_BYTES_MAX: u64 = 256;

/// What a client heard, and what was taken from it.
type Heard = (Vec<u8>, Vec<(Arc<Envelope>, Bytes)>);

fn serve(options: &Arc<ServerOptions>, [starttls, xclient]: [bool; 2], bytes: &[u8], piece: usize) -> Heard {
    let now = Instant::now();
    let session = Session::new(options.clone(), None, starttls, now);
    let session = session.at_time(Timestamp::UNIX_EPOCH);
    let mut session = if xclient { session.trusting_xclient() } else { session };
    let (mut input, mut said, mut mails) = (BytesMut::new(), BytesMut::new(), Vec::new());
    let mut pieces = bytes.chunks(piece);
    loop {
        session.receive(&mut input, now);
        let event = session.poll_event();
        while session.poll_transmit(&mut said) {}
        match event {
            Some(Event::Question(question)) => session.reply(&question.yes()).expect("asked"),
            Some(Event::Mail { envelope, content }) => {
                mails.push((envelope, content));
                let reply = Reply::with_status(250, Status::OK, "Ok");
                session.reply(&reply).expect("asked");
            }
            Some(Event::Authenticate(claim)) => session.judge(judge(claim)).expect("claimed"),
            Some(Event::StartTls) => {
                session.tls_started("TLS".into(), &mut input, now).expect("asked");
            }
            Some(Event::Closed(_)) => break,
            None => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => break,
            },
        }
    }
    while session.poll_transmit(&mut said) {}
    (said.to_vec(), mails)
}

fn judge(claim: Claim) -> Verdict {
    match claim {
        Claim::Password { user, .. } if user == "a" => Verdict::Accepted(user),
        Claim::Keys { user } => {
            Verdict::Keys { keys: ScramKeys::decoy(b"", &user), nonce: "nonce".into() }
        }
        Claim::Password { .. } | Claim::Token { .. } => Verdict::Refused,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choices, bytes)) = bytes.split_first() else { return };
    let line_endings =
        if choices & 1 == 0 { LineEndings::Refuse } else { LineEndings::Normalise };
    let options = Arc::new(ServerOptions {
        protocol: if choices & 2 == 0 { Dialect::Smtp } else { Dialect::Lmtp },
        line_endings,
        content_bytes_max: CONTENT_BYTES_MAX,
        mechanisms: Mechanism::ALL.to_vec(),
        require_tls: true,
        mt_priority: true,
        deliver_by: true,
        future_release: Some(Duration::from_secs(3600)),
        ..ServerOptions::default()
    });
    let [starttls, xclient] = [choices & 4 != 0, choices & 8 != 0];
    let whole = serve(&options, [starttls, xclient], bytes, bytes.len().max(1));
    if !starttls {
        // With STARTTLS the cut matters: what came before the handshake is thrown away.
        assert_eq!(whole, serve(&options, [false, xclient], bytes, 1 + usize::from(choices >> 3)));
    }
    let (said, mails) = whole;
    for line in said.split_inclusive(|&byte| byte == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= 512 + 2, "a reply is no line");
        assert!(!line[..line.len() - 2].iter().any(u8::is_ascii_control));
    }
    for (envelope, content) in mails {
        assert!(!envelope.recipients.is_empty());
        assert!(content.len() as u64 <= CONTENT_BYTES_MAX);
        let binary = envelope.parameters.body == Some(hedwig_envelope::Body::BinaryMime);
        let lines = String::from_utf8_lossy(&content).replace("\r\n", "");
        assert!(binary || !lines.contains(['\r', '\n', '\0']), "a bare CR or LF, or a NUL, got in");
    }
});
