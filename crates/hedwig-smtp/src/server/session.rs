use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use hedwig_envelope::{Envelope, Receipt, Reply};

use super::{Dialect, ServerOptions};
use crate::{Peer, Question};

/// A server's side of one connection.
#[derive(Debug)]
pub struct Session {
    options: Arc<ServerOptions>,
    peer: Arc<Peer>,
}

/// What the server's side has to ask or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Awaits [`Session::reply`]. A success lets the client go on.
    Question(Question),
    /// A whole mail. Awaits [`Session::reply`], or in LMTP [`Session::reply_each`]; a success says that
    /// the mail is safe (RFC 5321 §6.1).
    Mail {
        /// Its envelope.
        envelope: Arc<Envelope>,
        /// Its content, without dot-stuffing.
        content: Bytes,
    },
    /// Write what is to be sent, shake hands as a TLS server, and call [`Session::tls_started`].
    StartTls,
    /// Write what is to be sent, and close the connection.
    Closed(CloseReason),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said QUIT.
    Quit,
    /// The policy did not want the client.
    Refused,
    /// The client was silent too long, or the connection lasted too long.
    TimedOut,
    /// The client made too many errors, or wasted too many commands.
    Misbehaved,
    /// [`Session::shut_down`] was called.
    ShutDown,
}

impl Session {
    /// A session with a client that connected at `now`; `starttls` says whether a TLS handshake is on
    /// offer. The first event is the question whether the client may connect.
    #[must_use]
    pub fn new(
        options: Arc<ServerOptions>,
        client: Option<SocketAddr>,
        starttls: bool,
        now: Instant,
    ) -> Self {
        let _ = (starttls, now);
        Self { options, peer: Arc::new(Peer::new(client)) }
    }

    /// Answers the event at hand. In LMTP, a content's answer counts for each recipient.
    ///
    /// # Errors
    /// When no event awaits an answer.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), NothingToAnswer> {
        let _ = reply;
        todo!()
    }

    /// Answers [`Event::Mail`] in LMTP, a reply for each recipient (RFC 2033 §4.2).
    ///
    /// # Errors
    /// When no content awaits its answer, or there is not one reply for each recipient.
    pub fn reply_each(&mut self, replies: &[Reply]) -> Result<(), NothingToAnswer> {
        let _ = replies;
        todo!()
    }

    /// Tells that the handshake is done. What was said in clear text is forgotten, and `input` with it:
    /// somebody else may have put it there (RFC 3207 §4.2).
    ///
    /// # Errors
    /// When [`Event::StartTls`] was not the last event.
    pub fn tls_started(
        &mut self,
        description: String,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<(), NothingToAnswer> {
        let _ = (description, input, now);
        todo!()
    }

    /// Asks the session to end: at once with 421 when it is idle, after the mail at hand otherwise.
    pub fn shut_down(&mut self) {
        todo!()
    }

    /// How many bytes the session waits for, when it knows; a driver makes room for them.
    #[must_use]
    pub fn bytes_wanted(&self) -> usize {
        todo!()
    }

    /// Who the client is.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }
}

impl crate::Session for Session {
    type Event = Event;

    fn receive(&mut self, _input: &mut BytesMut, _now: Instant) {
        todo!()
    }

    fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    fn poll_transmit(&mut self, _out: &mut BytesMut) -> bool {
        todo!()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }
}

/// An answer came that nobody had asked for: the caller's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event awaits this answer")]
pub struct NothingToAnswer;

/// The replies after a content that a receipt means: one in SMTP, one for each recipient in LMTP.
///
/// In SMTP there is one reply for all recipients. All done is 250 with the receipt's id; when one is
/// deferred its 4yz makes the client try again; else the first failure's 5yz is the reply.
#[must_use]
pub fn replies_for(receipt: &Receipt, dialect: Dialect) -> Vec<Reply> {
    let _ = (receipt, dialect);
    todo!()
}
