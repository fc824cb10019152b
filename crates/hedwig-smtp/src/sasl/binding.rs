use std::fmt;

/// What one TLS connection has that no other has, at both of its ends alike: the `tls-exporter` of RFC 9266.
///
/// SCRAM-SHA-256-PLUS proves that the client sees the same one, so that nobody sits between with a
/// connection to each side. It is there for TLS 1.3 only. The older `tls-unique` (RFC 5929) is not offered:
/// TLS 1.3 has none, and in TLS 1.2 two connections can be made to have the same (RFC 7627).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChannelBinding([u8; 32]);

impl ChannelBinding {
    /// What TLS is asked to derive it from; there is no context.
    pub const LABEL: &'static [u8] = b"EXPORTER-Channel-Binding";

    /// The keying material that TLS exports for the [label](Self::LABEL).
    #[must_use]
    pub const fn new(exported: [u8; 32]) -> Self {
        Self(exported)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelBinding(..)")
    }
}
