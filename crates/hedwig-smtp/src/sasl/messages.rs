//! The clients' messages of PLAIN, LOGIN and OAUTHBEARER.

use super::{Claim, Secret};

const NAME_BYTES_MAX: usize = 255;
const PASSWORD_BYTES_MAX: usize = 1024;

/// A message that breaks its mechanism's grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// `[authorization identity] NUL user NUL password` (RFC 4616 §2). Nobody here may act for another, so
/// an authorization identity must be the user's own name.
pub(super) fn plain(message: &[u8]) -> Result<Claim, Malformed> {
    let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
    let mut parts = text.split('\0');
    let (Some(acts_as), Some(user), Some(secret), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed);
    };
    let user = name(user)?;
    own(acts_as, &user)?;
    Ok(Claim::Password { user, password: password(secret)? })
}

/// A user's name.
pub(super) fn name(text: &str) -> Result<String, Malformed> {
    let is_name = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    if is_name && !text.contains(char::is_control) { Ok(text.to_owned()) } else { Err(Malformed) }
}

/// A password. One that is empty proves nothing, and some directories would say yes to it.
pub(super) fn password(text: &str) -> Result<Secret, Malformed> {
    let is_password = !text.is_empty() && text.len() <= PASSWORD_BYTES_MAX && !text.contains('\0');
    if is_password { Ok(Secret::new(text)) } else { Err(Malformed) }
}

pub(super) fn utf8(message: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(message).map_err(|_| Malformed)
}

/// Whether an authorization identity is left out, or the user's own.
pub(super) fn own(acts_as: &str, user: &str) -> Result<(), Malformed> {
    if acts_as.is_empty() || acts_as == user { Ok(()) } else { Err(Malformed) }
}

/// The GS2 header of RFC 5801 §4 as SCRAM and OAUTHBEARER have it: its length with both commas, and the
/// authorization identity.
pub(super) fn gs2_header(text: &str) -> Result<(usize, Option<String>), Malformed> {
    let mut parts = text.splitn(3, ',');
    let (Some("n" | "y" | "p=tls-exporter"), Some(acts_as), Some(rest)) =
        (parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed);
    };
    let length = text.len() - rest.len();
    if acts_as.is_empty() {
        return Ok((length, None));
    }
    let acts_as = acts_as.strip_prefix("a=").ok_or(Malformed)?;
    Ok((length, Some(name(&saslname(acts_as)?)?)))
}

/// `=2C` and `=3D` stand for a comma and an equals sign (RFC 5801 §4).
pub(super) fn saslname(text: &str) -> Result<String, Malformed> {
    let mut pieces = text.split('=');
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (character, rest) = match piece.get(..2) {
            Some("2C") => (',', &piece[2..]),
            Some("3D") => ('=', &piece[2..]),
            _ => return Err(Malformed),
        };
        decoded.push(character);
        decoded += rest;
    }
    Ok(decoded)
}

/// A GS2 header and `key=value` pairs, of which `auth` is read (RFC 7628 §3.1).
pub(super) fn oauth(message: &[u8]) -> Result<Claim, Malformed> {
    let text = utf8(message)?;
    let (length, user) = gs2_header(text)?;
    if text.starts_with('p') {
        return Err(Malformed);
    }
    let pairs = text[length..].strip_prefix('\x01').and_then(|t| t.strip_suffix("\x01\x01"));
    let value = |pair: &str| pair.strip_prefix("auth=").map(str::to_owned);
    let value = pairs.ok_or(Malformed)?.split('\x01').find_map(value).ok_or(Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(Malformed)?;
    let token = token.trim_start_matches(' ');
    // RFC 6750 §2.1: b64token.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() || !token.bytes().all(is_token) {
        return Err(Malformed);
    }
    Ok(Claim::Token { user, token: Secret::new(token) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_is_three_parts_of_which_the_first_may_be_empty() {
        let claim = Claim::Password { user: "tim".into(), password: Secret::new("tan staaf") };
        assert_eq!(plain(b"\0tim\0tan staaf"), Ok(claim.clone()));
        assert_eq!(plain(b"tim\0tim\0tan staaf"), Ok(claim));
        for wrong in [
            &b""[..],
            b"tim",
            b"tim\0x",
            b"\0tim\0",
            b"\0\0x",
            b"root\0tim\0x",
            b"\0tim\0x\0",
            b"\0t\nim\0x",
            b"\0tim\0\xff",
        ] {
            assert_eq!(plain(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn a_bearer_token_is_found_among_the_pairs() {
        let message = b"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer vF9dft4qmT\x01\x01";
        let claim = Claim::Token {
            user: Some("user@example.com".into()),
            token: Secret::new("vF9dft4qmT"),
        };
        assert_eq!(oauth(message), Ok(claim));
        for wrong in [
            "",
            "n,,",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Basic abc\x01\x01",
            "n,,\x01auth=Bearer a b\x01\x01",
            "n,,\x01auth=Bearer abc\x01",
            "n,b,\x01auth=Bearer abc\x01\x01",
            "p=tls-unique,,\x01auth=Bearer abc\x01\x01",
        ] {
            assert_eq!(oauth(wrong.as_bytes()), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn a_saslname_has_two_escapes_and_no_other() {
        assert_eq!(saslname("a=2Cb=3D"), Ok("a,b=".into()));
        for wrong in ["a=", "a=2", "a=2c", "=41", "=ü"] {
            assert_eq!(saslname(wrong), Err(Malformed), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_plain_says_is_what_was_meant(user in "[^\\p{Cc}]{1,60}", secret in "[^\0]{1,200}") {
            let message = format!("\0{user}\0{secret}");
            let claim = Claim::Password { user, password: Secret::new(secret) };
            prop_assert_eq!(plain(message.as_bytes()), Ok(claim));
        }

        #[test]
        fn names_survive_their_escapes(text in "[^\\p{Cc}]{1,60}") {
            let escaped = text.replace('=', "=3D").replace(',', "=2C");
            prop_assert_eq!(saslname(&escaped), Ok(text.clone()));
            let header = format!("y,a={escaped},");
            prop_assert_eq!(gs2_header(&format!("{header}rest")), Ok((header.len(), Some(text))));
        }

        #[test]
        fn no_message_breaks_a_parser(message in prop::collection::vec(any::<u8>(), 0..64)) {
            for claim in [plain(&message), oauth(&message)].into_iter().flatten() {
                prop_assert!(!claim.user().is_some_and(|user| user.contains(char::is_control)));
            }
        }
    }
}
