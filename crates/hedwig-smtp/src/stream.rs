//! What both drivers need of a byte stream.

use rustls::{CommonState, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes in both directions, over TCP, TLS or memory. An alias.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A [`Stream`] whose type is not told.
pub type BoxStream = Box<dyn Stream>;

/// The TLS version and cipher suite, as a trace field and a log name them.
pub(crate) fn describe_tls(connection: &CommonState) -> String {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        Some(other) => format!("{other:?}"),
        None => "TLS".to_owned(),
    };
    match connection.negotiated_cipher_suite() {
        Some(suite) => format!("{version} {:?}", suite.suite()),
        None => version,
    }
}
