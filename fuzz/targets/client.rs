//! Whatever a server says, a client gives every recipient one outcome, and never says what it was not
//! asked to say.
#![no_main]

use std::time::Instant;

use bytes::BytesMut;
use hedwig_envelope::{Address, Content, Envelope, ReversePath};
use hedwig_smtp::{
    ClientOptions, Dialect, Session as _,
    client::{Event, Session},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&choices, bytes)) = bytes.split_first() else { return };
    let now = Instant::now();
    let options = ClientOptions {
        hello_name: "client.example".into(),
        protocol: if choices & 1 == 0 { Dialect::Smtp } else { Dialect::Lmtp },
        ..ClientOptions::default()
    };
    let recipients = ["a@example.net", "\"b c\"@example.net", "d@example.net"];
    let recipients = recipients.map(|text| text.parse::<Address>().expect("an address"));
    let sender: ReversePath = "sender@example.org".parse().expect("a sender");
    let envelope = Envelope::new(sender, recipients);
    let content = Content::from("Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n");

    let mut session = Session::new(options, now).expect("a name");
    let (mut input, mut said, mut sent, mut settled) = (BytesMut::new(), BytesMut::new(), 0, 0);
    let mut pieces = bytes.chunks(1 + usize::from(choices >> 1));
    loop {
        session.receive(&mut input, now);
        let event = session.poll_event();
        let before = said.len();
        while session.poll_transmit(&mut said) {}
        session.transmitted(said.len() - before, now);
        match event {
            Some(Event::Ready | Event::WasReset) if sent < 3 => {
                sent += usize::from(session.send(&envelope, &content, now).is_ok());
            }
            Some(Event::Sent(outcomes)) => {
                assert_eq!(outcomes.len(), envelope.recipients.len());
                settled += 1;
                if sent < 3 {
                    sent += usize::from(session.send(&envelope, &content, now).is_ok());
                } else {
                    let _ = session.quit(now);
                }
            }
            Some(Event::StartTls) => panic!("nobody asked for TLS"),
            Some(Event::Closed) => break,
            Some(Event::Failed(failure)) => {
                assert!(!session.is_open());
                drop(failure);
                break;
            }
            Some(_) => {}
            None => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => break,
            },
        }
    }
    while session.poll_transmit(&mut said) {}
    assert!(settled <= sent);
    for line in said.as_ref().split(|&byte| byte == b'\n') {
        assert!(line.is_empty() || line.ends_with(b"\r"));
    }
});
