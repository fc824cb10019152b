//! What a server may do at a station instead of answering as it should.

use std::time::Duration;

/// Where in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Before the greeting.
    Connect,
    /// EHLO or LHLO.
    Hello,
    Helo,
    StartTls,
    Mail,
    /// RCPT, whoever the recipient is.
    Recipient,
    Data,
    /// The first line of the content.
    Content,
    /// The final dot, or the end of a chunk.
    Dot,
    Quit,
}

/// What it does there. Bytes go out as they are, so they have their own line ends.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Says this instead of the usual reply.
    Say(Vec<u8>),
    /// Says this in front of the usual reply.
    SayFirst(Vec<u8>),
    /// Says this, and hangs up once the client has done so.
    SayAndEnd(Vec<u8>),
    /// Says this again and again, until the client has enough.
    SayForever(&'static [u8]),
    /// Hangs up without a word.
    Close,
    /// Says nothing any more, until the client has had enough. No client waits as long in fact: the clock is turned.
    Stall,
    /// Says nothing any more, and leaves the clock alone.
    Ignore,
    /// Is slow with the usual reply.
    Late(Duration),
    /// Keeps its replies from here on to itself, up to the one to DATA.
    KeepBack,
}

impl Act {
    /// One line, or several with their codes, with CRLF between them.
    pub(crate) fn say(text: &str) -> Self {
        Self::Say(format!("{text}\r\n").into_bytes())
    }

    pub(crate) fn say_first(text: &str) -> Self {
        Self::SayFirst(format!("{text}\r\n").into_bytes())
    }

    pub(crate) fn say_and_end(text: &str) -> Self {
        Self::SayAndEnd(format!("{text}\r\n").into_bytes())
    }
}

/// A reply of so many bytes at least, in lines of a usual length.
pub(crate) fn long_reply(code: u16, bytes: usize) -> Vec<u8> {
    let line = format!("{code}-{}\r\n", "so much to say ".repeat(5));
    let mut reply = line.repeat(bytes / line.len() + 1);
    reply.push_str(&format!("{code} and that is all\r\n"));
    reply.into_bytes()
}

/// Lets so much time pass for everybody at once.
///
/// The clock is not left paused, for it would run ahead of what is on its way from socket to socket.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}
