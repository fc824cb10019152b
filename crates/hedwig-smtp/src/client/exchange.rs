//! The wire under a client's session: writes and reads at once, so that a server whose replies we do
//! not read cannot stop reading our commands (RFC 2920 §3.1).

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{Event, Session};
use crate::{Session as _, stream::BoxStream};

const READ_BYTES_MIN: usize = 4096;
/// How much is taken from the session before it has been written.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
const SLICES_MAX: usize = 16;

pub(super) struct Wire {
    pub(super) stream: BoxStream,
    pub(super) input: BytesMut,
    output: VecDeque<Bytes>,
    needs_flush: bool,
    timer: Pin<Box<Sleep>>,
    /// What broke the connection, for the session only knows that it broke.
    pub(super) error: Option<io::Error>,
}

enum Progress {
    Wrote(usize),
    Read,
    Ended(Option<io::Error>),
    TimedOut,
}

impl Wire {
    pub(super) fn new(stream: BoxStream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: VecDeque::new(),
            needs_flush: false,
            timer: Box::pin(sleep_until(Instant::now())),
            error: None,
        }
    }

    /// Works until the session has an event.
    pub(super) async fn next_event(&mut self, session: &mut Session) -> Event {
        loop {
            if let Some(event) = session.poll_event() {
                return event;
            }
            self.fill_output(session);
            let deadline = session.poll_timeout().map(Instant::from_std);
            let progress = poll_fn(|context| self.poll_progress(deadline, context)).await;
            let now = Instant::now().into_std();
            match progress {
                Progress::Wrote(bytes) => session.transmitted(bytes, now),
                Progress::Read => session.receive(&mut self.input, now),
                Progress::TimedOut => session.handle_timeout(now),
                Progress::Ended(error) => {
                    self.error = error;
                    session.disconnected();
                }
            }
        }
    }

    /// Whether the server has neither said anything nor hung up, as far as is known here. What it said is
    /// lost with the answer.
    pub(super) async fn is_silent(&mut self) -> bool {
        let mut octet = [0];
        let mut buffer = ReadBuf::new(&mut octet);
        let silent = poll_fn(|context| {
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            Poll::Ready(read.is_pending())
        });
        self.input.is_empty() && silent.await
    }

    fn fill_output(&mut self, session: &mut Session) {
        let mut waiting: usize = self.output.iter().map(Bytes::len).sum();
        while waiting < OUTPUT_BYTES_MAX
            && let Some(bytes) = session.poll_transmit_bytes()
        {
            waiting += bytes.len();
            self.output.push_back(bytes);
        }
    }

    fn poll_progress(
        &mut self,
        deadline: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Progress> {
        match self.poll_write(context) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Progress::Ended(None)),
            Poll::Ready(Ok(bytes)) => return Poll::Ready(Progress::Wrote(bytes)),
            // The server's last word may still be there to be read: why it closed.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.output.clear();
                self.needs_flush = false;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Progress::Ended(Some(error))),
            Poll::Pending => {}
        }
        if let Poll::Ready(progress) = self.poll_read(context) {
            return Poll::Ready(progress);
        }
        let Some(deadline) = deadline else { return Poll::Pending };
        self.timer.as_mut().reset(deadline);
        self.timer.as_mut().poll(context).map(|()| Progress::TimedOut)
    }

    /// Ready when something was written; pending too when there is nothing to write.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut *self.stream);
        if self.output.is_empty() {
            if self.needs_flush {
                match ready!(stream.poll_flush(context)) {
                    Ok(()) => self.needs_flush = false,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            return Poll::Pending;
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for (slice, bytes) in slices.iter_mut().zip(&self.output) {
            *slice = IoSlice::new(bytes);
        }
        let count = self.output.len().min(SLICES_MAX);
        let written = ready!(stream.poll_write_vectored(context, &slices[..count]))?;
        self.needs_flush = true;
        self.forget(written);
        Poll::Ready(Ok(written))
    }

    fn forget(&mut self, mut written: usize) {
        while let Some(bytes) = self.output.front_mut() {
            if bytes.len() > written {
                return bytes.advance(written);
            }
            written -= bytes.len();
            self.output.pop_front();
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Progress> {
        self.input.reserve(READ_BYTES_MIN);
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(context));
        Poll::Ready(match read {
            Ok(0) => Progress::Ended(None),
            Ok(_) => Progress::Read,
            Err(error) => Progress::Ended(Some(error)),
        })
    }
}
