//! What happens when the other side is silent, in virtual time (RFC 5321 §4.5.3.2).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{content, envelope};
use hedwig_envelope::{Content, Outcome};
use hedwig_smtp::{
    ClientOptions,
    client::{Connection, ConnectionError, Phase},
};
use tokio::{
    io::{
        AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
        DuplexStream, ReadBuf, duplex,
    },
    time::{Instant, sleep, timeout},
};

/// A server that says each of these after it has read a line that begins with the word before.
async fn act(stream: DuplexStream, script: &[(&str, &str)]) {
    let mut stream = BufReader::new(stream);
    for (command, reply) in script {
        let mut line = String::new();
        while !line.starts_with(command) {
            line.clear();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return;
            }
        }
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
    std::future::pending::<()>().await;
}

/// Takes a mail until its content has come.
const UNTIL_CONTENT: &[(&str, &str)] = &[
    ("EHLO", "250 mx.example\r\n"),
    ("MAIL", "250 ok\r\n"),
    ("RCPT", "250 ok\r\n"),
    ("DATA", "354 go\r\n"),
];

async fn greet(script: &'static [(&str, &str)]) -> Result<Connection, ConnectionError> {
    let (ours, theirs) = duplex(4096);
    tokio::spawn(async move {
        let mut theirs = theirs;
        theirs.write_all(b"220 mx.example\r\n").await.unwrap();
        act(theirs, script).await;
    });
    Connection::greet(ours, ClientOptions::default()).await
}

/// Sends a mail, and runs out of time: at which phase, after how many seconds, and whether it is ambiguous.
async fn send_in_vain(connection: &mut Connection, content: &Content) -> (Phase, u64, bool) {
    let begin = Instant::now();
    let sent = connection.send(&envelope(&["b@example.net"]), content).await;
    let error = sent.unwrap_err();
    let ConnectionError::TimedOut { phase } = error.error else { panic!("{error}") };
    (phase, begin.elapsed().as_secs(), error.ambiguous)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_greet_is_left_after_five_minutes() {
    let (ours, _theirs) = duplex(4096);
    let begin = Instant::now();
    let error = Connection::greet(ours, ClientOptions::default()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::TimedOut { phase: Phase::Greeting }), "{error}");
    assert_eq!(begin.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn the_reply_to_the_content_is_awaited_for_ten_minutes_and_then_the_mail_is_ambiguous() {
    let mut connection = greet(UNTIL_CONTENT).await.unwrap();
    let in_vain = send_in_vain(&mut connection, &content("x\r\n")).await;
    assert_eq!(in_vain, (Phase::Content, 600, true));
    assert!(!connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_taking_the_content_is_left_after_three_minutes() {
    let mut connection = greet(UNTIL_CONTENT).await.unwrap();
    let in_vain = send_in_vain(&mut connection, &content(&"x".repeat(100_000))).await;
    assert_eq!(in_vain, (Phase::Content, 180, false), "the server cannot have had all of it");
}

#[tokio::test(start_paused = true)]
async fn each_command_has_a_limit_of_its_own() {
    for (answered, phase, minutes) in
        [(1, Phase::Mail, 5), (2, Phase::Recipient, 5), (3, Phase::Data, 2)]
    {
        let mut connection = greet(&UNTIL_CONTENT[..answered]).await.unwrap();
        let in_vain = send_in_vain(&mut connection, &content("x\r\n")).await;
        assert_eq!(in_vain, (phase, minutes * 60, false));
    }
    let begin = Instant::now();
    let error = greet(&[]).await.unwrap_err();
    assert!(matches!(error, ConnectionError::TimedOut { phase: Phase::Hello }), "{error}");
    assert_eq!(begin.elapsed().as_secs(), 300);
}

/// A server that takes a mail, its content by so many octets every so often.
async fn greet_slow_reader(bytes: usize, every: Duration) -> Connection {
    let (ours, mut theirs) = duplex(4096);
    tokio::spawn(async move {
        theirs.write_all(b"220 mx.example\r\n").await.unwrap();
        for (_, reply) in UNTIL_CONTENT {
            let _ = theirs.read(&mut [0; 4096]).await.unwrap();
            theirs.write_all(reply.as_bytes()).await.unwrap();
        }
        let mut tail = Vec::new();
        while !tail.ends_with(b"\r\n.\r\n") {
            let mut piece = vec![0; bytes];
            let read = theirs.read(&mut piece).await.unwrap();
            if read == 0 {
                return;
            }
            tail.extend_from_slice(&piece[..read]);
            tail.drain(..tail.len().saturating_sub(5));
            sleep(every).await;
        }
        theirs.write_all(b"250 taken\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    Connection::greet(ours, ClientOptions::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_the_content_octet_by_octet_is_left() {
    let mut connection = greet_slow_reader(1, Duration::from_secs(179)).await;
    let in_vain = send_in_vain(&mut connection, &content(&"x".repeat(100_000))).await;
    // Three minutes, and what so much takes at 256 octets a second.
    assert_eq!(in_vain, (Phase::Content, 180 + 390, false));
}

#[tokio::test(start_paused = true)]
async fn a_line_of_2400_bits_a_second_carries_a_large_mail() {
    let mut connection = greet_slow_reader(300, Duration::from_secs(1)).await;
    let large = content(&"x".repeat(1_000_000));
    let outcomes = connection.send(&envelope(&["b@example.net"]), &large).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_drips_counts_when_it_is_whole() {
    for (reply, piece) in [("250 ok\r\n", 1), ("250-one\r\n250-two\r\n250 ok\r\n", 9)] {
        for (answered, phase, minutes) in
            [(1, Phase::Mail, 5), (2, Phase::Recipient, 5), (4, Phase::Content, 10)]
        {
            let (ours, mut theirs) = duplex(4096);
            tokio::spawn(async move {
                theirs.write_all(b"220 mx.example\r\n").await.unwrap();
                for (_, reply) in &UNTIL_CONTENT[..answered] {
                    let _ = theirs.read(&mut [0; 4096]).await.unwrap();
                    theirs.write_all(reply.as_bytes()).await.unwrap();
                }
                for drop in reply.as_bytes().chunks(piece) {
                    sleep(Duration::from_secs(minutes * 60 - 1)).await;
                    let _ = theirs.write_all(drop).await;
                }
                std::future::pending::<()>().await;
            });
            let mut connection = Connection::greet(ours, ClientOptions::default()).await.unwrap();
            let (at, after, _) = send_in_vain(&mut connection, &content("x\r\n")).await;
            assert_eq!((at, after), (phase, minutes * 60), "in {piece}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn quit_waits_a_little_only() {
    let connection = greet(&[("EHLO", "250 mx.example\r\n")]).await.unwrap();
    let begin = Instant::now();
    connection.quit().await;
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn quit_waits_no_longer_for_a_reply_that_drips() {
    let (ours, mut theirs) = duplex(4096);
    tokio::spawn(async move {
        theirs.write_all(b"220 mx.example\r\n").await.unwrap();
        let _ = theirs.read(&mut [0; 4096]).await.unwrap();
        theirs.write_all(b"250 mx.example\r\n").await.unwrap();
        while theirs.write_all(b"2").await.is_ok() {
            sleep(Duration::from_secs(4)).await;
        }
    });
    let connection = Connection::greet(ours, ClientOptions::default()).await.unwrap();
    let begin = Instant::now();
    timeout(Duration::from_secs(60), connection.quit()).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn quit_waits_no_longer_for_a_stream_that_does_not_close() {
    let (ours, mut theirs) = duplex(4096);
    theirs.write_all(b"220 mx.example\r\n").await.unwrap();
    let greeted = Connection::greet(NeverShut(ours), ClientOptions::default());
    tokio::spawn(act(theirs, &[("EHLO", "250 mx.example\r\n"), ("QUIT", "221 bye\r\n")]));
    let connection = greeted.await.unwrap();
    let begin = Instant::now();
    timeout(Duration::from_secs(60), connection.quit()).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}

/// A stream whose peer takes nothing at its end, as TLS with a full window does.
struct NeverShut(DuplexStream);

impl AsyncRead for NeverShut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for NeverShut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}
