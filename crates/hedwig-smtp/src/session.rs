use std::time::Instant;

use bytes::BytesMut;

/// One side of an SMTP or LMTP conversation, without a socket and without a clock.
///
/// The caller owns the buffers and tells the time. It goes round like this:
///
/// 1. [`receive`](Self::receive) whatever was read; what the session leaves in the buffer it wants to
///    see again, with more behind it or after the event at hand was answered;
/// 2. [`poll_event`](Self::poll_event) until `None`, and act on each event; after each answer go to 1;
/// 3. [`poll_transmit`](Self::poll_transmit) until `false`, and write what it gave;
/// 4. wait for input, or until [`poll_timeout`](Self::poll_timeout), then
///    [`handle_timeout`](Self::handle_timeout).
pub trait Session {
    /// What the session has to tell, or to ask, its caller.
    type Event;

    /// Takes what it can use from the front of `input`, which came at `now` at the latest.
    ///
    /// Between two calls bytes may be added at the end of `input`, and nothing else may change in it.
    fn receive(&mut self, input: &mut BytesMut, now: Instant);

    /// The next event. `None`: answer the last one, or feed more.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Appends to `out` what is to be sent, a bounded amount at a time; `false` when there was nothing.
    fn poll_transmit(&mut self, out: &mut BytesMut) -> bool;

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, unless something comes before.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Tells that it is `now`; does nothing before [`poll_timeout`](Self::poll_timeout).
    fn handle_timeout(&mut self, now: Instant);
}
