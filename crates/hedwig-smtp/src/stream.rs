//! What both drivers need of a byte stream.

use rustls::{CommonState, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::sasl::ChannelBinding;

/// Bytes in both directions, over TCP, TLS or memory. An alias.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A [`Stream`] whose type is not told.
pub type BoxStream = Box<dyn Stream>;

/// A stream whose handshake is done.
pub(crate) struct Secure {
    pub(crate) stream: BoxStream,
    /// The TLS version and cipher suite.
    pub(crate) description: String,
    pub(crate) binding: Option<ChannelBinding>,
}

/// What a TLS connection is known by at both of its ends, if it is of TLS 1.3 (RFC 9266). `export` exports keying
/// material for a label, which the two ends' types do each for itself.
pub(crate) fn channel_binding(
    connection: &CommonState,
    export: impl FnOnce(&[u8], [u8; 32]) -> Result<[u8; 32], rustls::Error>,
) -> Result<Option<ChannelBinding>, rustls::Error> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(None);
    }
    export(ChannelBinding::LABEL, [0; 32]).map(|exported| Some(ChannelBinding::new(exported)))
}

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
