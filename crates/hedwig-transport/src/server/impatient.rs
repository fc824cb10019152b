//! The time limits of a connection that hyper does not set.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream that ends when its first bytes do not come in time, or when the client takes nothing of what is
/// written to it.
///
/// hyper-util reads the first bytes to tell HTTP/2 from HTTP/1.1, and waits for them forever; hyper waits
/// forever for a client that does not read.
pub(super) struct Impatient<IO> {
    stream: IO,
    preface: Option<Deadline>,
    matched: usize,
    stalled: Option<Deadline>,
    write_timeout: Duration,
}

type Deadline = Pin<Box<Sleep>>;

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl<IO> Impatient<IO> {
    pub(super) fn new(stream: IO, preface_timeout: Duration, write_timeout: Duration) -> Self {
        let preface = Some(Box::pin(sleep(preface_timeout)));
        Self { stream, preface, matched: 0, stalled: None, write_timeout }
    }

    /// Forgets the first deadline once the version can be told.
    fn saw(&mut self, bytes: &[u8]) {
        let rest = &PREFACE[self.matched..];
        let common = bytes.iter().zip(rest).take_while(|(a, b)| a == b).count();
        self.matched += common;
        if common < bytes.len() || self.matched == PREFACE.len() {
            self.preface = None;
        }
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

impl<IO: AsyncRead + Unpin> AsyncRead for Impatient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = self.preface.as_mut() else { return read };
        if read.is_ready() {
            self.saw(&buffer.filled()[before..]);
            return read;
        }
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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
