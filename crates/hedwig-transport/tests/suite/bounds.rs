//! What a request may cost: bytes, time, and bytes held by all together.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::common::{Desk, app_with, ask, post, with_token};
use bytes::Bytes;
use hedwig_transport::{Body, MessagesOptions};
use http_body::Frame;
use http_body_util::StreamBody;

/// A body without an announced length.
fn chunked(chunks: Vec<&'static str>) -> Body {
    let frames =
        chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))));
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A body that never says another word after its first.
struct Stalled(Option<Bytes>);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

fn small() -> MessagesOptions {
    MessagesOptions { content_bytes_max: 10, ..with_token() }
}

const PATH: &str = "/v1/messages?from=&to=b@example.net";

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_413() {
    let desk = Desk::default();
    let answer = ask(&app_with(&desk, small()), post(PATH, "12345678901")).await;
    assert_eq!(answer.problem(413, "Payload Too Large"), "More than 10 bytes are not taken.");
    assert_eq!(answer.body["reply"], "552 5.3.4 More than 10 bytes are not taken");
    assert_eq!(desk.count(), 0);
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_413() {
    let desk = Desk::default();
    let request = post(PATH, "").map(|_| chunked(vec!["123456", "78901"]));
    ask(&app_with(&desk, small()), request).await.problem(413, "Payload Too Large");
    assert_eq!(desk.count(), 0);
}

#[tokio::test]
async fn a_body_in_pieces_within_the_limit_is_taken_whole() {
    let desk = Desk::default();
    let request = post(PATH, "").map(|_| chunked(vec!["x", ": ", "y\r", "\n"]));
    assert_eq!(ask(&app_with(&desk, small()), request).await.status, 202);
    assert_eq!(desk.only().content.to_bytes(), "x: y\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_408() {
    let desk = Desk::default();
    let request = post(PATH, "").map(|_| Body::new(Stalled(Some(Bytes::from_static(b"x:")))));
    let before = tokio::time::Instant::now();
    let answer = ask(&app_with(&desk, with_token()), request).await;
    answer.problem(408, "Request Timeout");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(before.elapsed().as_secs(), MessagesOptions::default().stall_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_408_in_the_end() {
    let drops = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), ()))
    });
    let request = post(PATH, "").map(|_| Body::new(StreamBody::new(Box::pin(drops))));
    let before = tokio::time::Instant::now();
    ask(&app_with(&Desk::default(), with_token()), request).await.problem(408, "Request Timeout");
    assert_eq!(before.elapsed(), MessagesOptions::default().body_timeout);
}

#[tokio::test]
async fn all_bodies_together_are_bounded_and_room_comes_back() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let app = app_with(&desk, MessagesOptions { held_bytes_max: 10, ..with_token() });
    let first = tokio::spawn({
        let app = app.clone();
        async move { ask(&app, post(PATH, "x: y\r\n")).await }
    });
    held.has_come().await;
    let second = ask(&app, post(PATH, "x: y\r\n")).await;
    second.problem(503, "Service Unavailable");
    assert_eq!(second.header("retry-after"), "5");
    held.let_go();
    assert_eq!(first.await.unwrap().status, 202);
    assert_eq!(ask(&app, post(PATH, "x: y\r\n")).await.status, 202);
}
