//! What a receiving server says to one client: line by line, sharing no code with the client.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::{
    acts::{Act, At, pass},
    manners::{Manners, Tls},
    server::{Log, Taken},
};

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Session {
    stream: BufReader<Box<dyn Stream>>,
    manners: Manners,
    log: Arc<Mutex<Log>>,
    client: Option<IpAddr>,
    number: usize,
    encrypted: bool,
    lmtp: bool,
    mails: usize,
    /// Replies that are kept back.
    kept: Option<Vec<u8>>,
}

/// Speaks with one client, and writes down what came of it.
pub(super) async fn converse(
    stream: impl Stream + 'static,
    client: Option<IpAddr>,
    manners: Manners,
    log: Arc<Mutex<Log>>,
) {
    let number = {
        let mut log = log.lock().unwrap();
        log.connections += 1;
        log.connections
    };
    let stream: Box<dyn Stream> = Box::new(stream);
    let mut session = Session {
        stream: BufReader::new(stream),
        manners,
        log,
        client,
        number,
        encrypted: false,
        lmtp: false,
        mails: 0,
        kept: None,
    };
    // A client that goes away is no failure of a test.
    let _ = session.run().await;
}

impl Session {
    async fn run(&mut self) -> io::Result<()> {
        let greeting = self.manners.greeting.clone();
        self.answer(At::Connect, &greeting).await?;
        let (mut sender, mut recipients) = (String::new(), Vec::new());
        while self.mails < self.manners.mails_max {
            let line = self.line().await?;
            self.log.lock().unwrap().commands.push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" => {
                    self.lmtp = verb == "LHLO";
                    self.hello().await?;
                }
                "HELO" => self.answer(At::Helo, "250 server.example").await?,
                "RSET" | "NOOP" => self.say("250 ok").await?,
                "MAIL" => {
                    sender = path(&line);
                    recipients.clear();
                    let reply = self.manners.mail.clone();
                    self.answer(At::Mail, &reply).await?;
                }
                "RCPT" => {
                    let recipient = path(&line);
                    let reply = fitting(&self.manners.recipients, &recipient, "250 2.1.5 ok");
                    if reply.starts_with('2') {
                        recipients.push(recipient);
                    }
                    self.answer(At::Recipient, &reply).await?;
                }
                "DATA" if recipients.is_empty() => self.say("554 5.5.1 no recipients").await?,
                "DATA" => self.data(&sender, &recipients).await?,
                "BDAT" => self.chunk(&line).await?,
                "STARTTLS" => self.start_tls().await?,
                "QUIT" => return self.answer(At::Quit, "221 2.0.0 bye").await,
                _ => self.say("502 5.5.1 what?").await?,
            }
        }
        if self.manners.waits_with_goodbye {
            self.line().await?;
        }
        match self.manners.goodbye.clone() {
            Some(goodbye) => self.say(&goodbye).await,
            None => Ok(()),
        }
    }

    async fn hello(&mut self) -> io::Result<()> {
        if let Some(reply) = self.manners.hello.clone() {
            return self.answer(At::Hello, &reply).await;
        }
        let offers = !self.encrypted && !matches!(self.manners.tls, Tls::NotOffered);
        let tls = if offers { "250-STARTTLS\r\n" } else { "" };
        let requires = self.encrypted && self.manners.require_tls;
        let requires = if requires { "250-REQUIRETLS\r\n" } else { "" };
        let rest = "250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES";
        self.answer(At::Hello, &format!("250-server.example\r\n{tls}{requires}{rest}")).await
    }

    async fn data(&mut self, sender: &str, recipients: &[String]) -> io::Result<()> {
        let reply = self.manners.data.clone();
        self.answer(At::Data, &reply).await?;
        if !reply.starts_with('3') {
            return Ok(());
        }
        let mut content = String::new();
        loop {
            let line = self.line().await?;
            if content.is_empty() {
                self.act(At::Content).await?;
            }
            if line == "." {
                break;
            }
            content.push_str(line.strip_prefix('.').unwrap_or(&line));
            content.push_str("\r\n");
        }
        self.mails += 1;
        let reply = self.manners.content.clone();
        if reply.is_empty() || reply.starts_with('2') {
            self.log.lock().unwrap().taken.push(Taken {
                sender: sender.to_owned(),
                recipients: recipients.to_vec(),
                content,
                encrypted: self.encrypted,
                client: self.client,
                connection: self.number,
            });
        }
        if !self.lmtp {
            return self.answer(At::Dot, &reply).await;
        }
        if self.act(At::Dot).await? {
            return Ok(());
        }
        for recipient in recipients {
            let reply = fitting(&self.manners.contents, recipient, &reply);
            self.say(&reply).await?;
        }
        Ok(())
    }

    /// A content of one chunk, which nobody takes.
    async fn chunk(&mut self, line: &str) -> io::Result<()> {
        let size = line.split(' ').nth(1).and_then(|size| size.parse().ok()).unwrap();
        self.stream.read_exact(&mut vec![0; size]).await?;
        let reply = self.manners.content.clone();
        self.answer(At::Dot, &reply).await
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        if self.act(At::StartTls).await? {
            return Ok(());
        }
        match self.manners.tls.clone() {
            Tls::NotOffered => self.say("502 5.5.1 what?").await,
            Tls::Refused(reply) => self.say(&reply).await,
            Tls::Broken => {
                self.say("220 2.0.0 go on").await?;
                let mut hello = [0; 1];
                self.stream.read_exact(&mut hello).await?;
                self.say("this is no handshake, this is a song").await?;
                Err(io::ErrorKind::InvalidData.into())
            }
            Tls::Works(acceptor) => {
                self.say("220 2.0.0 go on").await?;
                let nobody: Box<dyn Stream> = Box::new(tokio::io::empty());
                let clear = std::mem::replace(&mut self.stream, BufReader::new(nobody));
                let stream = acceptor.accept(clear.into_inner()).await?;
                self.stream = BufReader::new(Box::new(stream));
                self.encrypted = true;
                Ok(())
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(1 << 20).read_until(b'\n', &mut line).await?;
        let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        if reply.is_empty() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.write(format!("{reply}\r\n").as_bytes()).await
    }

    /// The usual reply, unless something else is to be done here.
    async fn answer(&mut self, station: At, reply: &str) -> io::Result<()> {
        if station == At::Data
            && let Some(kept) = self.kept.take()
        {
            self.write(&kept).await?;
        }
        if self.act(station).await? { Ok(()) } else { self.say(reply).await }
    }

    /// Does what is to be done at this station. Whether that was in place of the usual reply.
    async fn act(&mut self, station: At) -> io::Result<bool> {
        let mut acts = self.manners.acts.iter().filter(|(place, _)| *place == station);
        let Some(act) = acts.next().map(|(_, act)| act.clone()) else { return Ok(false) };
        match act {
            Act::Say(bytes) => self.write(&bytes).await.map(|()| true),
            Act::SayFirst(bytes) => self.write(&bytes).await.map(|()| false),
            Act::SayAndEnd(bytes) => {
                self.write(&bytes).await?;
                self.stream.shutdown().await?;
                // Who hangs up on bytes it has not read takes back the bytes it has sent.
                tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await?;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Act::SayForever(bytes) => loop {
                self.write(bytes).await?;
            },
            Act::Close => Err(io::ErrorKind::BrokenPipe.into()),
            Act::Stall => self.stall().await,
            Act::Ignore => std::future::pending().await,
            Act::Late(time) => {
                pass(time).await;
                Ok(false)
            }
            Act::KeepBack => {
                self.kept = Some(Vec::new());
                Ok(false)
            }
        }
    }

    /// Turns the clock past every limit, again and again, for the client may not have begun to wait.
    async fn stall(&mut self) -> io::Result<bool> {
        let mut ignored = [0; 1024];
        loop {
            pass(Duration::from_secs(11 * 60)).await;
            let patience = Duration::from_millis(200);
            while let Ok(read) =
                tokio::time::timeout(patience, self.stream.read(&mut ignored)).await
            {
                if read? == 0 {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
            return Ok(());
        }
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>'));
    inside.map_or_else(|| panic!("no path in {line:?}"), |(path, _)| path.to_owned())
}

fn fitting(replies: &[(&'static str, String)], recipient: &str, otherwise: &str) -> String {
    let found = replies.iter().find(|(beginning, _)| recipient.starts_with(beginning));
    found.map_or_else(|| otherwise.to_owned(), |(_, reply)| reply.clone())
}
