//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266): the client's two messages.

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    ChannelBinding, Secret, ServerFault,
    messages::utf8,
    scram::{Key, SALT_BYTES_MAX, hmac, prepare, salted_password, sha256},
};

/// Fewer make the proof cheap to guess the password from (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4096;
/// More are made to keep us busy.
const ITERATIONS_MAX: u32 = 1_000_000;
/// Longer nonces would not fit what is said next.
const NONCE_BYTES_MAX: usize = 1024;

/// What the client says of the TLS connection below (RFC 5802 §6). Nobody is acted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// It has nothing to be known by.
    No,
    /// It has, and the server offers no mechanism that would look at it. A server that does offer one hears in this that
    /// somebody took the offer away.
    NotOffered,
    /// It is this one.
    To(ChannelBinding),
}

impl Bound {
    /// The GS2 header.
    fn header(self) -> &'static str {
        match self {
            Self::No => "n,,",
            Self::NotOffered => "y,,",
            Self::To(_) => "p=tls-exporter,,",
        }
    }

    /// What `c=` says: the header, and what the channel is bound to.
    fn said(self) -> String {
        let binding = match &self {
            Self::To(binding) => binding.bytes(),
            Self::No | Self::NotOffered => &[],
        };
        STANDARD.encode([self.header().as_bytes(), binding].concat())
    }
}

/// A client whose first message is said, or just to be said.
#[derive(Debug)]
pub(super) struct ServerFirst {
    user: String,
    password: Secret,
    nonce: String,
    bound: Bound,
}

/// The client's first message (RFC 5802 §7).
pub(super) fn client_first(awaited: &ServerFirst) -> String {
    format!("{}{}", awaited.bound.header(), awaited.bare())
}

impl ServerFirst {
    pub(super) fn awaited(user: &str, password: Secret, nonce: &str, bound: Bound) -> Self {
        Self { user: user.to_owned(), password, nonce: nonce.to_owned(), bound }
    }

    fn bare(&self) -> String {
        // What SASLprep forbids is found out when there is somebody to tell.
        let user = prepare(&self.user).unwrap_or(self.user.as_str().into());
        let user = user.replace('=', "=3D").replace(',', "=2C");
        format!("n={user},r={}", self.nonce)
    }

    /// The client's final message, and what the server's signature will be held against.
    pub(super) fn answer(&self, challenge: &[u8]) -> Result<(String, Proved), ServerFault> {
        let text = utf8(challenge)?;
        let mut attributes = text.split(',');
        let mut attribute = |name: &str| {
            let value = attributes.next().and_then(|attribute| attribute.strip_prefix(name));
            value.ok_or(ServerFault::Malformed)
        };
        let (nonce, salt, iterations) = (attribute("r=")?, attribute("s=")?, attribute("i=")?);
        let theirs = nonce.strip_prefix(&self.nonce).ok_or(ServerFault::Malformed)?;
        let is_printable = theirs.bytes().all(|byte| byte.is_ascii_graphic());
        if theirs.is_empty() || !is_printable || nonce.len() > NONCE_BYTES_MAX {
            return Err(ServerFault::Malformed);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ServerFault::Malformed)?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ServerFault::Malformed);
        }
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| ServerFault::Malformed)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations.get()) {
            return Err(ServerFault::Iterations(iterations.get()));
        }
        prepare(&self.user).map_err(|_| ServerFault::Password)?;
        let salted = salted_password(self.password.reveal(), &salt, iterations);
        let salted = salted.map_err(|_| ServerFault::Password)?;
        let unproved = format!("c={},r={nonce}", self.bound.said());
        let said = format!("{},{text},{unproved}", self.bare());
        let client_key = hmac(&salted, b"Client Key");
        let mut proof = client_key;
        let signature = hmac(&sha256(&client_key), said.as_bytes());
        proof.iter_mut().zip(signature).for_each(|(key, byte)| *key ^= byte);
        let expected = hmac(&hmac(&salted, b"Server Key"), said.as_bytes());
        Ok((format!("{unproved},p={}", STANDARD.encode(proof)), Proved { expected }))
    }
}

/// A client that has proved itself.
pub(super) struct Proved {
    expected: Key,
}

impl std::fmt::Debug for Proved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proved(..)")
    }
}

impl Proved {
    /// Looks at the server's final message.
    pub(super) fn verify(&self, message: &[u8]) -> Result<(), ServerFault> {
        let text = utf8(message)?;
        if text.starts_with("e=") {
            return Err(ServerFault::Signature);
        }
        let signature = text.split(',').next().and_then(|a| a.strip_prefix("v="));
        let signature = STANDARD.decode(signature.ok_or(ServerFault::Malformed)?);
        let signature = signature.map_err(|_| ServerFault::Malformed)?;
        verify_slices_are_equal(&signature, &self.expected).map_err(|_| ServerFault::Signature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc_comes_true() {
        let (password, nonce) = (Secret::new("pencil"), "rOprNGfwEbeRWgbNEkqO");
        let awaited = ServerFirst::awaited("user", password, nonce, Bound::No);
        assert_eq!(client_first(&awaited), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (answer, proved) = awaited.answer(challenge).unwrap();
        assert_eq!(
            answer,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proved.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    proptest! {
        #[test]
        fn no_message_breaks_a_parser(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let awaited = ServerFirst::awaited("user", Secret::new("pencil"), "", Bound::No);
            let _ = awaited.answer(&message);
            let proved = Proved { expected: [0; 32] };
            prop_assert!(proved.verify(&message).is_err());
        }
    }
}
