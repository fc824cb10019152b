//! SMTP spoken by hand: a line out, a reply in.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::patiently;

/// A connection on which a test says what it likes.
pub(crate) struct Dialogue {
    stream: BufReader<TcpStream>,
}

impl Dialogue {
    /// Connects, reads the greeting, and says EHLO.
    pub(crate) async fn begin(to: SocketAddr) -> (Self, String) {
        let stream = TcpStream::connect(to).await.unwrap();
        let mut dialogue = Self { stream: BufReader::new(stream) };
        assert!(dialogue.reply().await.starts_with("220 "));
        let offered = dialogue.say("EHLO client.example.org").await;
        (dialogue, offered)
    }

    /// Says a line; returns the reply, its lines without CR.
    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }

    /// Says a mail's envelope and content, and returns the replies to each line and to the content until one says no.
    pub(crate) async fn send(&mut self, mail: &str, recipient: &str, content: &str) -> String {
        for line in [mail, recipient, "DATA"] {
            let reply = self.say(line).await;
            if !reply.starts_with(['2', '3']) {
                return reply;
            }
        }
        self.say(&format!("{content}\r\n.")).await
    }

    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(patiently(self.stream.read_line(&mut line)).await.unwrap(), 0, "{reply}");
            reply += &line.replace('\r', "");
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply.trim_end().to_owned();
            }
        }
    }
}
