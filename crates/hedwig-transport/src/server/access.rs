//! Who may come in.

use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use subtle::Choice;

use super::{ConnectionInfo, MessagesOptions};
use crate::{Problem, Token};

/// As whom the client may come in; `None` is anybody, where anybody may.
pub(super) fn authenticate(
    parts: &Parts,
    options: &MessagesOptions,
) -> Result<Option<String>, Problem> {
    let shown = bearer(&parts.headers)?;
    if let Some(token) = shown {
        if let Some(token) = find(&options.tokens, token) {
            return Ok(Some(token.name().unwrap_or("token").to_owned()));
        }
        if !options.open {
            return Err(unauthorized("The token shown is not known here.", INVALID_TOKEN));
        }
    }
    let info = parts.extensions.get::<ConnectionInfo>();
    if info.is_some_and(|info| info.client_certificate) {
        return Ok(Some("client certificate".to_owned()));
    }
    if options.open {
        return Ok(None);
    }
    Err(unauthorized("Show a token: Authorization: Bearer TOKEN.", CHALLENGE))
}

/// RFC 6750 §3: what to say to one that showed nothing, and to one that showed the wrong thing.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"hedwig\"");
const INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"hedwig\", error=\"invalid_token\"");

fn unauthorized(detail: &'static str, challenge: HeaderValue) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail)
        .header(header::WWW_AUTHENTICATE, challenge)
}

/// The token in the `Authorization` field (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let wrong =
        || unauthorized("The Authorization field is not of the form Bearer TOKEN.", CHALLENGE);
    if fields.next().is_some() {
        return Err(wrong());
    }
    match field.as_bytes().split_at_checked(b"Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => {
            Ok(Some(token.trim_ascii()))
        }
        _ => Err(wrong()),
    }
}

/// Compares with every token, however early one matches, so that time does not tell which did.
fn find<'a>(tokens: &'a [Token], shown: &[u8]) -> Option<&'a Token> {
    let matches: Vec<Choice> = tokens.iter().map(|token| token.compare(shown)).collect();
    tokens.iter().zip(matches).find(|(_, matched)| bool::from(*matched)).map(|(token, _)| token)
}
