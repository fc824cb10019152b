//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what is stored, and the server's two messages. The client's are in
//! `scram_client.rs`.

use std::{borrow::Cow, fmt, num::NonZeroU32, str::FromStr};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    hmac, pbkdf2,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    ChannelBinding,
    messages::{Malformed, gs2_header, name, own, saslname, utf8},
};

pub(super) type Key = [u8; 32];

/// With the server's part of the nonce and the salt, a challenge still fits one reply line.
const CLIENT_NONCE_BYTES_MAX: usize = 128;
pub(super) const SALT_BYTES_MAX: usize = 64;

/// What a server stores for a user instead of the password (RFC 5802 §3).
///
/// They do not let their holder log in, but let it pretend to be the server, and guess the password at
/// leisure: keep them as secret as a hash. As text they are `SCRAM-SHA-256$4096:SALT$STORED:SERVER`,
/// the form that PostgreSQL has; `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl ScramKeys {
    /// Iterations for new keys: each costs the client one HMAC at every login, and whoever steals the keys
    /// one at every guess. Some clients refuse more than 65,536.
    pub const ITERATIONS: NonZeroU32 = NonZeroU32::new(50_000).expect("it is not zero");

    /// The keys of a password. The salt is random, 16 bytes say, and new for each user.
    ///
    /// # Errors
    /// When the salt is empty or longer than 64 bytes, or RFC 4013 (SASLprep) forbids a character of the password.
    pub fn of_password(
        password: &str,
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> Result<Self, KeysError> {
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(KeysError::Salt);
        }
        let salted = salted_password(password, salt, iterations)?;
        let client_key = hmac(&salted, b"Client Key");
        let server_key = hmac(&salted, b"Server Key");
        Ok(Self { iterations, salt: salt.into(), stored_key: sha256(&client_key), server_key })
    }

    /// Keys that fit no password, always the same for a user and a secret: for users who do not exist, so
    /// that a stranger cannot tell them from those who do.
    #[must_use]
    pub fn decoy(secret: &[u8], user: &str) -> Self {
        let part = |label: &str| hmac(secret, format!("{label}\0{user}").as_bytes());
        Self {
            iterations: Self::ITERATIONS,
            salt: part("salt")[..16].into(),
            stored_key: part("stored"),
            server_key: part("server"),
        }
    }

    /// Whether these are the keys of this password. It takes as long as making them.
    #[must_use]
    pub fn fit(&self, password: &str) -> bool {
        Self::of_password(password, &self.salt, self.iterations)
            .is_ok_and(|made| verify_slices_are_equal(&made.stored_key, &self.stored_key).is_ok())
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|key| STANDARD.encode(key));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl FromStr for ScramKeys {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        let text = text.strip_prefix("SCRAM-SHA-256$").ok_or(KeysError::Form)?;
        let (how, keys) = text.split_once('$').ok_or(KeysError::Form)?;
        let (iterations, salt) = how.split_once(':').ok_or(KeysError::Form)?;
        let (stored, server) = keys.split_once(':').ok_or(KeysError::Form)?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| KeysError::Form);
        let key = |text: &str| Key::try_from(bytes(text)?).map_err(|_| KeysError::Form);
        let salt = bytes(salt)?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(KeysError::Salt);
        }
        Ok(Self {
            iterations: iterations.parse().map_err(|_| KeysError::Form)?,
            salt,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }
}

/// Why there are no keys. It tells nothing of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not the form that [`ScramKeys`] has as text.
    #[error(
        "SCRAM keys are written SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER, the last three in base64"
    )]
    Form,
    /// The salt is empty or too long.
    #[error("a salt has 1 to 64 bytes")]
    Salt,
    /// SASLprep forbids a character.
    #[error("the password has a character in it that RFC 4013 (SASLprep) does not allow")]
    Password,
}

/// A client's first message, read (RFC 5802 §7).
#[derive(Debug)]
pub(super) struct ClientFirst {
    pub(super) user: String,
    nonce: String,
    /// The GS2 header, and behind it what the channel is bound to.
    bound: Vec<u8>,
    bare: String,
}

impl ClientFirst {
    pub(super) fn parse(
        message: &[u8],
        binding: Option<ChannelBinding>,
    ) -> Result<Self, Malformed> {
        let text = utf8(message)?;
        // With -PLUS it must be bound, without it it must not be.
        if text.starts_with('p') != binding.is_some() {
            return Err(Malformed);
        }
        let (length, acts_as) = gs2_header(text)?;
        let bare = &text[length..];
        // A reserved "m=" in front is an extension that must be understood, and none is.
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|a| a.strip_prefix("n=")).ok_or(Malformed)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Malformed)?;
        let is_printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if nonce.is_empty() || nonce.len() > CLIENT_NONCE_BYTES_MAX || !is_printable {
            return Err(Malformed);
        }
        let user = saslname(user)?;
        let user = name(&prepare(&user).map_err(|_| Malformed)?)?;
        own(acts_as.as_deref().unwrap_or_default(), &user)?;
        let mut bound = message[..length].to_vec();
        bound.extend_from_slice(binding.as_ref().map_or(&[], ChannelBinding::bytes));
        Ok(Self { user, nonce: nonce.into(), bound, bare: bare.into() })
    }

    /// The server's first message, and what its answer will be held against.
    pub(super) fn challenge(self, keys: ScramKeys, nonce: &str) -> (String, Challenged) {
        let salt = STANDARD.encode(&keys.salt);
        let nonce = format!("{}{nonce}", self.nonce);
        let message = format!("r={nonce},s={salt},i={}", keys.iterations);
        let said = format!("{},{message}", self.bare);
        (message, Challenged { user: self.user, bound: self.bound, nonce, said, keys })
    }
}

/// A client that was sent its challenge.
#[derive(Debug)]
pub(super) struct Challenged {
    pub(super) user: String,
    bound: Vec<u8>,
    nonce: String,
    /// Both first messages, which the proof covers.
    said: String,
    keys: ScramKeys,
}

impl Challenged {
    /// Looks at the client's final message. `Some` is the server's own proof: then the client knows the
    /// password.
    pub(super) fn verify(&self, message: &[u8]) -> Result<Option<String>, Malformed> {
        let text = utf8(message)?;
        let (unproved, proof) = text.rsplit_once(",p=").ok_or(Malformed)?;
        let mut attributes = unproved.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c=")).ok_or(Malformed)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| Malformed)?;
        let proof = Key::try_from(proof).map_err(|_| Malformed)?;
        let said = format!("{},{unproved}", self.said);
        let signature = hmac(&self.keys.stored_key, said.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(key, byte)| *key ^= byte);
        let is_proved =
            verify_slices_are_equal(&sha256(&client_key), &self.keys.stored_key).is_ok();
        let is_ours = nonce == self.nonce && binding == STANDARD.encode(&self.bound);
        let server_proof = || hmac(&self.keys.server_key, said.as_bytes());
        Ok((is_proved && is_ours).then(|| format!("v={}", STANDARD.encode(server_proof()))))
    }
}

/// `SaltedPassword` of RFC 5802 §3.
pub(super) fn salted_password(
    password: &str,
    salt: &[u8],
    iterations: NonZeroU32,
) -> Result<Key, KeysError> {
    let password = prepare(password)?;
    let mut salted = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
    Ok(salted)
}

/// SASLprep (RFC 4013), so that one word is one word however it was typed.
pub(super) fn prepare(text: &str) -> Result<Cow<'_, str>, KeysError> {
    stringprep::saslprep(text).map_err(|_| KeysError::Password)
}

pub(super) fn hmac(key: &[u8], message: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    thirty_two(tag.as_ref())
}

pub(super) fn sha256(message: &[u8]) -> Key {
    thirty_two(digest(&SHA256, message).as_ref())
}

fn thirty_two(bytes: &[u8]) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(bytes);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(password: &str, salt: &[u8]) -> ScramKeys {
        ScramKeys::of_password(password, salt, NonZeroU32::new(4096).unwrap()).unwrap()
    }

    fn challenged() -> Challenged {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", None).unwrap();
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (message, challenged) = first.challenge(keys("pencil", &salt), nonce);
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(message, expected);
        challenged
    }

    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    /// RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc_comes_true() {
        let proof = challenged().verify(FINAL.as_bytes()).unwrap().unwrap();
        assert_eq!(proof, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn one_wrong_character_is_a_refusal() {
        let challenged = challenged();
        for (right, wrong) in
            [("p=dH", "p=dI"), ("c=biws", "c=eSws"), ("r=rO", "r=rP"), (")hNlF", ")hNlG")]
        {
            let message = FINAL.replace(right, wrong);
            assert_eq!(challenged.verify(message.as_bytes()), Ok(None), "{wrong}");
        }
        for malformed in [
            "",
            "c=biws",
            "c=biws,r=x",
            "c=biws,p=AAAA",
            "r=x,c=biws,p=AAAA",
            FINAL.trim_end_matches('='),
        ] {
            assert_eq!(challenged.verify(malformed.as_bytes()), Err(Malformed), "{malformed}");
        }
    }

    #[test]
    fn a_first_message_that_asks_for_more_than_was_offered_is_malformed() {
        for wrong in [
            "",
            "n,,",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=,r=x",
            "n,,n=us=er,r=x",
            "n,,m=x,n=user,r=x",
            "n,a=root,n=user,r=x",
            "p=tls-unique,,n=user,r=x",
            "n,,n=user,r=a b",
        ] {
            assert!(ClientFirst::parse(wrong.as_bytes(), None).is_err(), "{wrong}");
        }
        let endless = format!("n,,n=user,r={}", "x".repeat(200));
        assert!(ClientFirst::parse(endless.as_bytes(), None).is_err());
    }

    #[test]
    fn keys_are_text_and_no_secret_is_in_their_debug() {
        let keys = keys("pencil", b"salt");
        let text = keys.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$4096:c2FsdA==$"), "{text}");
        assert_eq!(text.parse(), Ok(keys.clone()));
        assert_eq!(format!("{keys:?}"), "ScramKeys { iterations: 4096, .. }");
        assert!(keys.fit("pencil") && !keys.fit("Pencil"));
        for wrong in ["", "SCRAM-SHA-256$0:c2FsdA==$AA==:AA==", "SCRAM-SHA-1$1:c2FsdA==$A:A"] {
            assert!(wrong.parse::<ScramKeys>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn decoys_are_steady_and_unlike_each_other() {
        assert_eq!(ScramKeys::decoy(b"s", "bob"), ScramKeys::decoy(b"s", "bob"));
        assert_ne!(ScramKeys::decoy(b"s", "bob"), ScramKeys::decoy(b"s", "eve"));
        assert_ne!(ScramKeys::decoy(b"s", "bob"), ScramKeys::decoy(b"t", "bob"));
    }

    #[test]
    fn a_word_typed_in_two_ways_is_one_word() {
        assert_eq!(keys("I\u{ad}X", b"salt"), keys("\u{2168}", b"salt"));
        let one = NonZeroU32::MIN;
        assert_eq!(ScramKeys::of_password("\u{7}", b"salt", one), Err(KeysError::Password));
    }

    proptest! {
        #[test]
        fn no_message_breaks_a_parser(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = ClientFirst::parse(&message, None);
            let _ = challenged().verify(&message);
        }

        #[test]
        fn a_first_message_is_read_as_it_was_meant(user in "[a-z,=@.]{1,20}", nonce in "[!-+\\--~]{1,40}") {
            let escaped = user.replace('=', "=3D").replace(',', "=2C");
            let first = ClientFirst::parse(format!("y,,n={escaped},r={nonce},x=future").as_bytes(), None).unwrap();
            prop_assert_eq!((first.user, first.nonce), (user, nonce));
        }
    }
}
