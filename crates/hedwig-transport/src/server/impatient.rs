//! The time limits of a connection that hyper does not set.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::request_line;

/// A stream that ends when its first line does not come in time, or when the client takes nothing of what is
/// written to it.
///
/// hyper-util reads the first bytes to tell HTTP/2 from HTTP/1.1, and waits for them forever; hyper waits
/// forever for a client that does not read.
pub(super) struct Impatient<IO> {
    stream: IO,
    first: FirstLine,
    stalled: Option<Deadline>,
    write_timeout: Duration,
}

type Deadline = Pin<Box<Sleep>>;

/// What was read before the first line was whole.
enum FirstLine {
    Awaited { read: Vec<u8>, deadline: Deadline },
    PassedOn(Bytes),
}

impl<IO> Impatient<IO> {
    pub(super) fn new(stream: IO, first_line_timeout: Duration, write_timeout: Duration) -> Self {
        let deadline = Box::pin(sleep(first_line_timeout));
        let first = FirstLine::Awaited { read: Vec::new(), deadline };
        Self { stream, first, stalled: None, write_timeout }
    }

    /// Lets the client be slow to take what is written, but not for ever.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let limit = self.write_timeout;
        let deadline = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncRead + Unpin> Impatient<IO> {
    /// Reads until the first line is whole, or nothing more comes.
    fn poll_first_line(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let FirstLine::Awaited { read, deadline } = &mut self.first {
            let mut chunk = [0; 2048];
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    ready!(deadline.as_mut().poll(context));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            read.extend_from_slice(buffer.filled());
            if buffer.filled().is_empty() || request_line::is_complete(read) {
                let read = request_line::mend(std::mem::take(read));
                self.first = FirstLine::PassedOn(read.into());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Impatient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_first_line(context))?;
        if let FirstLine::PassedOn(read) = &mut self.first
            && !read.is_empty()
        {
            buffer.put_slice(&read.split_to(read.len().min(buffer.remaining())));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Impatient<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(context, result)
    }
}
