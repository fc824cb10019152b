//! A client's and a server's session, with nothing between them but a knife.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use hedwig_envelope::{Content, Envelope, Outcome, Reply, Status};
use hedwig_smtp::{
    ClientOptions, Dialect, LineEndings, ServerOptions, Session as _, client, server,
};

pub(crate) struct Pair {
    client: client::Session,
    server: server::Session,
    to_server: BytesMut,
    to_client: BytesMut,
    pieces: std::iter::Cycle<std::vec::IntoIter<usize>>,
    now: Instant,
    pub(crate) mails: Vec<(Envelope, Bytes)>,
}

impl Pair {
    pub(crate) fn new(protocol: Dialect, line_endings: LineEndings, pieces: Vec<usize>) -> Self {
        let now = Instant::now();
        let client = ClientOptions { protocol, ..Default::default() };
        let mut pair = Self {
            client: client::Session::new(client, now).unwrap(),
            server: server(protocol, line_endings, now),
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
            pieces: pieces.into_iter().cycle(),
            now,
            mails: Vec::new(),
        };
        assert_eq!(pair.run(), client::Event::Ready);
        pair
    }

    pub(crate) fn send(&mut self, envelope: &Envelope, content: &Content) -> Vec<Outcome> {
        self.client.send(envelope, content, self.now).unwrap();
        match self.run() {
            client::Event::Sent(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    /// Carries bytes to and fro until the client has something to say.
    fn run(&mut self) -> client::Event {
        let mut seen_by_server = BytesMut::new();
        let mut seen_by_client = BytesMut::new();
        loop {
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            while self.client.poll_transmit(&mut self.to_server) {}
            let piece = self.pieces.next().unwrap();
            let length = piece.min(self.to_server.len());
            seen_by_server.unsplit(self.to_server.split_to(length));
            self.client.transmitted(length, self.now);
            serve(&mut self.server, &mut seen_by_server, self.now, &mut self.mails);
            while self.server.poll_transmit(&mut self.to_client) {}
            let length = piece.min(self.to_client.len());
            seen_by_client.unsplit(self.to_client.split_to(length));
            self.client.receive(&mut seen_by_client, self.now);
        }
    }
}

/// What the server makes of a content that somebody submits without looking at its line ends; `None`
/// when it is refused.
pub(crate) fn submit(
    content: &str,
    line_endings: LineEndings,
    pieces: Vec<usize>,
) -> Option<String> {
    let now = Instant::now();
    let mut session = server(Dialect::Smtp, line_endings, now);
    let begin = "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n";
    let all = format!("{begin}{content}\r\n.\r\nQUIT\r\n");
    let (mut rest, mut input, mut mails) = (all.as_bytes(), BytesMut::new(), Vec::new());
    let mut pieces = pieces.into_iter().cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(pieces.next().unwrap().min(rest.len()));
        input.extend_from_slice(piece);
        rest = later;
        serve(&mut session, &mut input, now, &mut mails);
    }
    assert!(input.is_empty(), "QUIT was understood: the content ended where it should");
    mails.pop().map(|(_, content)| String::from_utf8(content.to_vec()).unwrap())
}

fn server(protocol: Dialect, line_endings: LineEndings, now: Instant) -> server::Session {
    let options = ServerOptions { protocol, line_endings, ..Default::default() };
    server::Session::new(Arc::new(options), None, false, now)
}

fn serve(
    session: &mut server::Session,
    input: &mut BytesMut,
    now: Instant,
    mails: &mut Vec<(Envelope, Bytes)>,
) {
    session.receive(input, now);
    while let Some(event) = session.poll_event() {
        match event {
            server::Event::Question(question) => session.reply(&question.yes()).unwrap(),
            server::Event::Mail { envelope, content } => {
                mails.push((Arc::unwrap_or_clone(envelope), content));
                session.reply(&Reply::with_status(250, Status::OK, "Taken")).unwrap();
            }
            _ => {}
        }
        session.receive(input, now);
    }
}
