//! How a content comes in, by DATA or by BDAT.

use bytes::Bytes;
use hedwig_envelope::{Body, Reply};

use super::{
    LineEndings, Session,
    chunks::{Assembly, ChunkReader},
    commands::Ask,
    content::{ContentFault, DataReader},
    replies,
    session::{AfterChunk, State, Transaction},
};
use crate::{Question, line_endings};

impl Session {
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
        self.state = State::Chunk(ChunkReader::keeping(size), AfterChunk::Add { last });
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

    pub(super) fn take_chunk(&mut self, chunk: Bytes) {
        let State::Chunk(_, after) = std::mem::replace(&mut self.state, State::Commands) else {
            return;
        };
        match after {
            AfterChunk::Say(reply, times) => (0..times).for_each(|_| self.say(&reply)),
            AfterChunk::Add { last } => self.add_chunk(chunk, last),
        }
    }

    fn add_chunk(&mut self, chunk: Bytes, last: bool) {
        let Some(transaction) = &mut self.transaction else { return };
        let size = chunk.len() as u64;
        let mut assembly = transaction.chunks.take().unwrap_or_default();
        assembly.add(chunk);
        if !last {
            transaction.chunks = Some(assembly);
            return self.say(&replies::chunk_taken(size));
        }
        let content = assembly.finish();
        let is_binary = transaction.envelope.parameters.body == Some(Body::BinaryMime);
        match self.options.line_endings {
            _ if is_binary => self.deliver(content),
            LineEndings::Normalise => self.deliver(line_endings::normalise(content)),
            LineEndings::Refuse if line_endings::first_bare(&content).is_none() => {
                self.deliver(content);
            }
            LineEndings::Refuse => self.refuse_content(ContentFault::BareLineEnd),
        }
    }

    pub(super) fn take_content(&mut self, content: Result<Bytes, ContentFault>) {
        self.state = State::Commands;
        match content {
            Ok(content) => self.deliver(content),
            Err(fault) => self.refuse_content(fault),
        }
    }

    pub(super) fn read_data(&mut self) {
        self.say(&replies::send_content());
        let options = &self.options;
        let reader = DataReader::new(options.content_bytes_max, options.line_endings);
        self.state = State::Data(reader);
    }
}
