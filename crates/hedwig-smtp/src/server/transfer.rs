//! How a content comes in, by DATA or by BDAT.

use bytes::Bytes;
use hedwig_envelope::{Body, Reply, lines};

use super::{
    CloseReason, Event, NothingToAnswer, Session,
    chunks::{Assembly, ChunkReader},
    commands::Ask,
    content::DataReader,
    fault::ContentFault,
    replies,
    session::{AfterChunk, State, Transaction},
};
use crate::Question;

/// Room for so many bytes is made after DATA, where nobody knows how many will come.
const CONTENT_BYTES_WANTED: usize = 16 * 1024;

/// How much of a content is here, and how much is said to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its bytes in memory, those in the caller's input buffer among them.
    pub held: usize,
    /// How many it will have in all as far as the client said: with SIZE (RFC 1870), or by naming its last
    /// chunk (RFC 3030). It need not be true.
    pub announced: Option<u64>,
}

impl Session {
    /// What there is of a content that has begun and is not refused. A driver that shares out memory
    /// looks here before it reads on.
    #[must_use]
    pub fn incoming(&self) -> Option<Incoming> {
        let Transaction { envelope, chunks } = self.transaction.as_ref()?;
        let said = envelope.parameters.size;
        let so_far = chunks.as_ref().map_or(0, Assembly::len);
        match &self.state {
            State::Data(reader) => {
                let held = reader.held(self.buffered)?;
                Some(Incoming { held, announced: said })
            }
            State::Chunk(reader, AfterChunk::Add { last, .. }) => {
                let total = so_far.saturating_add(reader.left()) as u64;
                let announced = if *last { Some(total) } else { said };
                Some(Incoming { held: so_far + self.buffered, announced })
            }
            State::Commands if chunks.is_some() => Some(Incoming { held: so_far, announced: said }),
            _ => None,
        }
    }

    /// How many bytes the session waits for, when it knows; a driver makes room for them.
    #[must_use]
    pub fn bytes_wanted(&self) -> usize {
        match &self.state {
            State::Chunk(chunk, _) => chunk.left().saturating_sub(self.buffered),
            State::Data(_) => CONTENT_BYTES_WANTED,
            _ => 0,
        }
    }

    /// Tells that there is no memory for the content at hand: it is forgotten, read to its end and then
    /// refused with 452 4.3.1.
    ///
    /// # Errors
    /// When no content is coming in, or it is refused already.
    pub fn run_out_of_memory(&mut self) -> Result<(), NothingToAnswer> {
        match &mut self.state {
            State::Data(reader) if reader.held(0).is_some() => {
                reader.refuse(ContentFault::NoMemory);
            }
            State::Chunk(reader, AfterChunk::Add { last, .. }) => {
                let (left, last) = (reader.left() as u64, *last);
                self.discard_chunk(left, last, ContentFault::NoMemory.reply());
            }
            _ => return Err(NothingToAnswer),
        }
        Ok(())
    }

    /// Tells that the client brings its content so slowly that others wait for the memory: it is told 421.
    pub fn end_as_too_slow(&mut self) {
        self.say(&replies::too_slow());
        self.close(CloseReason::TimedOut);
    }

    /// Why no content may come now.
    fn content_refusal(&self, by_chunks: bool) -> Option<Reply> {
        let Some(Transaction { envelope, chunks }) = &self.transaction else {
            return Some(replies::bad_sequence("Say MAIL and RCPT first"));
        };
        if envelope.recipients.is_empty() {
            return Some(replies::no_recipients());
        }
        if !by_chunks && chunks.is_some() {
            return Some(replies::bad_sequence("The content goes on with BDAT"));
        }
        // RFC 3030 §3: octets in whatever lines cannot be told from their end.
        let is_binary = envelope.parameters.body == Some(Body::BinaryMime);
        (!by_chunks && is_binary).then(|| replies::bad_sequence("BINARYMIME needs BDAT"))
    }

    pub(super) fn data(&mut self) {
        match self.content_refusal(false) {
            Some(refusal) => self.say(&refusal),
            None => self.ask_for_content(Ask::Data),
        }
    }

    pub(super) fn chunk(&mut self, size: u64, last: bool) {
        if let Some(refusal) = self.content_refusal(true) {
            return self.discard_chunk(size, last, refusal);
        }
        match self.assembly() {
            None => self.ask_for_content(Ask::Chunk { size, last }),
            Some(_) => self.expect_chunk(size, last),
        }
    }

    fn ask_for_content(&mut self, ask: Ask) {
        if let Some(transaction) = &self.transaction {
            let envelope = transaction.envelope.clone();
            self.ask(ask, Question::Data { peer: self.peer.clone(), envelope });
        }
    }

    fn assembly(&self) -> Option<&Assembly> {
        self.transaction.as_ref()?.chunks.as_ref()
    }

    pub(super) fn expect_chunk(&mut self, size: u64, last: bool) {
        let so_far = self.assembly().map_or(0, Assembly::len);
        if size.saturating_add(so_far as u64) > self.options.content_bytes_max {
            return self.discard_chunk(size, last, ContentFault::TooLarge.reply());
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.chunks.get_or_insert_default();
        }
        self.state = State::Chunk(ChunkReader::keeping(size), AfterChunk::Add { size, last });
    }

    /// RFC 3030 §2: a refused chunk is read to its end, and its mail is forgotten.
    pub(super) fn discard_chunk(&mut self, size: u64, last: bool, refusal: Reply) {
        let transaction = self.transaction.take();
        // In LMTP the last chunk is the content's end, to which each recipient has its reply.
        let recipients = transaction.map_or(0, |transaction| transaction.envelope.recipients.len());
        let replies = if last { self.replies_due(recipients).max(1) } else { 1 };
        let after = AfterChunk::Say(refusal, replies);
        self.state = State::Chunk(ChunkReader::discarding(size), after);
    }

    pub(super) fn end_chunk(&mut self) {
        let State::Chunk(_, after) = std::mem::replace(&mut self.state, State::Commands) else {
            return;
        };
        match after {
            AfterChunk::Say(reply, times) => (0..times).for_each(|_| self.say(&reply)),
            AfterChunk::Add { size, last: false } => self.say(&replies::chunk_taken(size)),
            AfterChunk::Add { last: true, .. } => self.end_chunks(),
        }
    }

    fn end_chunks(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        let content = transaction.chunks.take().unwrap_or_default().finish();
        let is_binary = transaction.envelope.parameters.body == Some(Body::BinaryMime);
        let line_endings = self.options.line_endings;
        let content = match is_binary {
            true => Ok(content),
            false => lines::mend(content, |stray| line_endings.in_place_of(stray)),
        };
        let content = match content {
            Ok(content) => content,
            Err(fault) => return self.refuse_content(fault),
        };
        if content.len() as u64 > self.options.content_bytes_max {
            return self.refuse_content(ContentFault::TooLarge);
        }
        self.deliver(content);
    }

    pub(super) fn take_content(&mut self, content: Result<Bytes, ContentFault>) {
        self.state = State::Commands;
        match content {
            Ok(content) => self.deliver(content),
            Err(fault) => self.refuse_content(fault),
        }
    }

    /// Hands a whole content to the caller, who must answer for it.
    fn deliver(&mut self, content: Bytes) {
        // No state reads a content without a transaction.
        let Some(transaction) = self.transaction.take() else { return };
        let recipients = transaction.envelope.recipients.len();
        self.state = State::Asking(Ask::Content { recipients });
        self.tell(Event::Mail { envelope: transaction.envelope, content });
    }

    /// Refuses a content that was read to its end.
    fn refuse_content(&mut self, fault: ContentFault) {
        let recipients = self.transaction.take().map_or(1, |t| t.envelope.recipients.len());
        let reply = fault.reply();
        (0..self.replies_due(recipients)).for_each(|_| self.say(&reply));
    }

    pub(super) fn read_data(&mut self) {
        self.say(&replies::send_content());
        let options = &self.options;
        let reader = DataReader::new(options.content_bytes_max, options.line_endings);
        self.state = State::Data(reader);
    }
}
