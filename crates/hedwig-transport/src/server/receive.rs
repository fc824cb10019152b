//! Reading a body, within bounds of bytes and of time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::MessagesOptions;
use crate::{Body, Problem};

/// How many bytes of bodies are held just now, by all requests together.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding(Arc<AtomicUsize>);

/// A body that was read whole. Its bytes count as held for as long as this lives.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    held: Held,
}

#[derive(Debug)]
struct Held {
    holding: Holding,
    bytes: usize,
}

impl Held {
    /// Counts so many bytes more, unless that were too many.
    fn grow(&mut self, bytes: usize, held_bytes_max: usize) -> bool {
        let before = self.holding.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= held_bytes_max
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holding.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a body of at most `bytes_max` bytes.
pub(super) async fn receive(
    body: &mut Body,
    bytes_max: usize,
    holding: &Holding,
    options: &MessagesOptions,
) -> Result<Received, Problem> {
    // What a client announces can be refused before a byte of it is read.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut held = Held { holding: holding.clone(), bytes: 0 };
    let mut pieces = Pieces::expecting(expected);
    let deadline = Instant::now() + options.body_timeout;
    loop {
        let stalled = Instant::now() + options.stall_timeout;
        let frame = timeout_at(stalled.min(deadline), body.frame()).await;
        let frame = match frame {
            Err(_) => return Err(too_slow()),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if held.bytes + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if !held.grow(data.len(), options.held_bytes_max) {
            return Err(no_room());
        }
        pieces.push(data);
    }
    Ok(Received { bytes: pieces.into_bytes(), held })
}

impl Received {
    /// The size in bytes.
    pub(super) fn len(&self) -> usize {
        self.held.bytes
    }
}

/// Reads on after an early answer and forgets what it reads, so that a client that is still sending
/// sees the answer instead of a broken connection.
pub(super) async fn discard(mut body: Body, options: &MessagesOptions) {
    let mut left = options.request_bytes_max;
    let read_on = async {
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Cut off in the end, whatever it still wants to say.
    let _ = timeout(options.stall_timeout, read_on).await;
}

/// A body in pieces: one needs no copy, more are joined.
struct Pieces {
    expected: usize,
    first: Bytes,
    joined: BytesMut,
}

/// What is set aside for a body on the word of its client alone, in bytes.
const EXPECTED_BYTES_MAX: usize = 1024 * 1024;

impl Pieces {
    fn expecting(bytes: usize) -> Self {
        let expected = bytes.min(EXPECTED_BYTES_MAX);
        Self { expected, first: Bytes::new(), joined: BytesMut::new() }
    }

    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve(self.expected.max(self.first.len() + data.len()));
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

pub(super) fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("More than {bytes_max} bytes are not taken.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large", detail)
        .reply(format!("552 5.3.4 More than {bytes_max} bytes are not taken"))
}

fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "Request Timeout", "The body did not come in time.")
        .header(header::CONNECTION, HeaderValue::from_static("close"))
}

fn no_room() -> Problem {
    let detail = "Too many mails are being taken in just now; try again later.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", detail)
}

fn broken(error: &hedwig_envelope::BoxError) -> Problem {
    tracing::debug!(error = crate::text::printable(&error.to_string(), 512), "body ended early");
    Problem::new(StatusCode::BAD_REQUEST, "Bad Request", "The body ended before its end.")
}
