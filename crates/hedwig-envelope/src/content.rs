use bytes::{Bytes, BytesMut};

/// A mail's header and body, as RFC 5322 octets: CRLF line ends, no dot-stuffing.
///
/// What the client sent is never copied or changed on the way through. What relays add stands above
/// it (RFC 5321 §4.4), so it is kept apart: adding a trace field copies only the fields added so far.
///
/// ```
/// # use hedwig_envelope::Content;
/// let mut content = Content::new("Subject: hi\r\n\r\nHello\r\n".into());
/// content.prepend(b"Received: from a by b\r\n");
/// assert_eq!(content.len(), 23 + 22);
/// assert!(content.to_bytes().ends_with(content.message()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    added: Bytes,
    message: Bytes,
}

impl Content {
    /// The content that a client sent.
    #[must_use]
    pub fn new(message: Bytes) -> Self {
        Self { added: Bytes::new(), message }
    }

    /// The content of a mail that was stored with what had been added to it.
    #[must_use]
    pub fn with_added(added: Bytes, message: Bytes) -> Self {
        Self { added, message }
    }

    /// Puts whole header fields, each with its CRLF, above all others.
    pub fn prepend(&mut self, fields: &[u8]) {
        let mut joined = BytesMut::with_capacity(fields.len() + self.added.len());
        joined.extend_from_slice(fields);
        joined.extend_from_slice(&self.added);
        self.added = joined.freeze();
    }

    /// The header fields that were added on the way.
    #[must_use]
    pub fn added(&self) -> &Bytes {
        &self.added
    }

    /// What the client sent.
    #[must_use]
    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// Everything, in order, without a copy.
    #[must_use]
    pub fn chunks(&self) -> [&Bytes; 2] {
        [&self.added, &self.message]
    }

    /// Everything in one piece; copies only if something was added.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if self.added.is_empty() {
            return self.message.clone();
        }
        [self.added.as_ref(), self.message.as_ref()].concat().into()
    }

    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.added.len() + self.message.len()
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all of it is ASCII, so that a server without 8BITMIME may take it (RFC 6152).
    #[must_use]
    pub fn is_7bit(&self) -> bool {
        self.message.is_ascii() && self.added.is_ascii()
    }
}

impl From<&'static str> for Content {
    fn from(message: &'static str) -> Self {
        Self::new(Bytes::from_static(message.as_bytes()))
    }
}
