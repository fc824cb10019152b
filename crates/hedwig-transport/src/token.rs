use std::{fmt, str::FromStr, sync::Arc};

use subtle::{Choice, ConstantTimeEq};

/// A bearer token (RFC 6750 §2.1): whoever shows it may hand in mail. It is never shown in
/// [`Debug`] output.
#[derive(Clone)]
pub struct Token {
    name: Option<Arc<str>>,
    secret: Arc<str>,
}

impl Token {
    /// The same token, with a name for those who show it. The name goes into a mail's
    /// [origin](hedwig_envelope::Origin::authenticated).
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Whose token it is, if that was said.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the text is this token. How long this takes tells nothing about the token but its
    /// length.
    #[must_use]
    pub fn matches(&self, shown: &[u8]) -> bool {
        self.compare(shown).into()
    }

    pub(crate) fn compare(&self, shown: &[u8]) -> Choice {
        self.secret.as_bytes().ct_eq(shown)
    }

    /// The value of the `Authorization` field that shows it.
    #[must_use]
    pub fn authorization(&self) -> http::HeaderValue {
        let field = format!("Bearer {}", self.secret);
        // A token is visible ASCII, so it always makes a header value.
        let mut value = http::HeaderValue::from_str(&field)
            .unwrap_or_else(|_| http::HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// Reads a token; white space around it, such as the line end of a token file, does not count.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let secret = text.trim();
        let valid =
            (1..=4096).contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_graphic());
        if valid { Ok(Self { name: None, secret: secret.into() }) } else { Err(TokenError) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A text that is no [`Token`]. It does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is 1 to 4096 visible ASCII characters without white space in it")]
pub struct TokenError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_alone() {
        let token: Token = "s3cret\n".parse().unwrap();
        assert!(token.matches(b"s3cret"));
        for other in ["", "s3cre", "s3cret2", "S3cret"] {
            assert!(!token.matches(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = "s3cret".parse::<Token>().unwrap().named("laptop");
        let shown = format!("{token:?} {:?}", token.authorization());
        assert!(shown.contains("laptop") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_could_break_a_header_is_no_token() {
        for text in ["", " ", "a b", "a\r\nb", "grüße"] {
            assert_eq!(text.parse::<Token>().err(), Some(TokenError), "{text:?}");
        }
    }
}
