//! A client without manners: it sends what it is told, byte for byte.

use std::net::SocketAddr;

use hedwig_lab::{LabError, PATIENCE, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// A connection to a server.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    /// Connects, and says nothing.
    pub(crate) async fn connect(server: SocketAddr) -> Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(server).await?) })
    }

    /// Connects from this address of this host.
    pub(crate) async fn from(address: &str, server: SocketAddr) -> Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((address.parse::<std::net::IpAddr>()?, 0).into())?;
        Ok(Self { stream: BufReader::new(socket.connect(server).await?) })
    }

    /// Connects, and gets as far as EHLO.
    pub(crate) async fn greeted(server: SocketAddr) -> Result<Self> {
        let mut raw = Self::connect(server).await?;
        raw.expect(220).await?;
        raw.say("EHLO mallory.example\r\n", 250).await?;
        Ok(raw)
    }

    /// Connects, and gets as far as the content of a mail to this recipient.
    pub(crate) async fn in_data(server: SocketAddr, recipient: &str) -> Result<Self> {
        let mut raw = Self::greeted(server).await?;
        raw.say("MAIL FROM:<mallory@geneegroup.com>\r\n", 250).await?;
        raw.say(&format!("RCPT TO:<{recipient}>\r\n"), 250).await?;
        raw.say("DATA\r\n", 354).await?;
        Ok(raw)
    }

    /// Sends bytes. A server that has hung up shows at the next reply.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends bytes and reads the reply, which must begin with this code, or with this digit of one.
    pub(crate) async fn say(&mut self, bytes: &str, code: u16) -> Result<String> {
        self.send(bytes).await;
        self.expect(code).await
    }

    /// Reads a reply, which must begin with this code, or with this digit of one.
    pub(crate) async fn expect(&mut self, code: u16) -> Result<String> {
        let reply = self.reply().await?.unwrap_or_else(|| "the end of the connection".into());
        if reply.starts_with(&code.to_string()) {
            return Ok(reply);
        }
        Err(LabError::new(format!("{code} was expected, and this came: {reply}")).into())
    }

    /// Reads a whole reply; `None` at the end of the connection.
    pub(crate) async fn reply(&mut self) -> Result<Option<String>> {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            match timeout(4 * PATIENCE, self.stream.read_line(&mut line)).await {
                Err(_) => return Err(LabError::new(format!("no reply after {reply:?}")).into()),
                // A connection that is reset has ended, too.
                Ok(Ok(0) | Err(_)) => return Ok(None),
                Ok(Ok(_)) => reply.push_str(&line),
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Some(reply));
            }
        }
    }

    /// All replies until the connection ends, their codes.
    pub(crate) async fn codes_to_the_end(&mut self) -> Result<Vec<u16>> {
        let mut codes = Vec::new();
        while let Some(reply) = self.reply().await? {
            let code = reply.get(..3).and_then(|code| code.parse().ok());
            codes.push(code.ok_or_else(|| LabError::new(format!("no reply: {reply:?}")))?);
        }
        Ok(codes)
    }
}
