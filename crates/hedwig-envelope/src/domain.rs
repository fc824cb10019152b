//! Domains and address literals as RFC 5321 §4.1.2 and §4.1.3 write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::AddressError;

/// RFC 5321 §4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// What stands after the `@` (RFC 5321 §4.1.2, §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain<'a> {
    /// A domain name, perhaps with U-labels.
    Name(&'a str),
    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
    /// `[tag:text]` with a tag nobody has standardised; kept with its brackets.
    GeneralLiteral(&'a str),
}

impl<'a> Domain<'a> {
    /// Reads a domain or an address literal.
    ///
    /// # Errors
    /// When the text is neither, or longer than 255 bytes.
    pub fn parse(text: &'a str) -> Result<Self, AddressError> {
        if text.len() > DOMAIN_BYTES_MAX {
            return Err(AddressError::new(text, "the domain is longer than 255 bytes"));
        }
        match text.strip_prefix('[') {
            Some(rest) => parse_literal(text, rest.strip_suffix(']')),
            None => parse_name(text),
        }
    }

    /// Writes the domain in the spelling that all equal ones share.
    pub(crate) fn push_canonical(self, out: &mut String) {
        match self {
            Self::Name(name) => out.extend(name.chars().map(|c| c.to_ascii_lowercase())),
            Self::Literal(IpAddr::V4(address)) => out.push_str(&format!("[{address}]")),
            Self::Literal(IpAddr::V6(address)) => out.push_str(&format!("[IPv6:{address}]")),
            Self::GeneralLiteral(literal) => out.push_str(literal),
        }
    }
}

fn parse_name(text: &str) -> Result<Domain<'_>, AddressError> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_utf8_non_ascii(c);
    for label in text.split('.') {
        let reason = if label.is_empty() {
            "the domain has an empty label"
        } else if label.len() > LABEL_BYTES_MAX {
            "the domain has a label of more than 63 bytes"
        } else if label.starts_with('-') || label.ends_with('-') {
            "a label of the domain begins or ends with a hyphen"
        } else if !label.chars().all(allowed) {
            "the domain has a character that no domain may have"
        } else {
            continue;
        };
        return Err(AddressError::new(text, reason));
    }
    Ok(Domain::Name(text))
}

fn parse_literal<'a>(whole: &'a str, inside: Option<&'a str>) -> Result<Domain<'a>, AddressError> {
    let wrong = || AddressError::new(whole, "the address literal is malformed");
    let inside = inside.ok_or_else(wrong)?;
    if let Ok(address) = inside.parse::<Ipv4Addr>() {
        return Ok(Domain::Literal(address.into()));
    }
    let (tag, content) = inside.split_once(':').ok_or_else(wrong)?;
    if tag.eq_ignore_ascii_case("IPv6") {
        let address: Ipv6Addr = content.parse().map_err(|_| wrong())?;
        return Ok(Domain::Literal(address.into()));
    }
    let tag_ok = !tag.is_empty()
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !tag.ends_with('-');
    // dcontent: printable ASCII without "[", "\" and "]".
    let content_ok =
        !content.is_empty() && content.bytes().all(|b| matches!(b, 33..=90 | 94..=126));
    if tag_ok && content_ok { Ok(Domain::GeneralLiteral(whole)) } else { Err(wrong()) }
}

/// RFC 6531 §3.3 takes every UTF-8 character above ASCII; the C1 controls help nobody but attackers.
pub(crate) fn is_utf8_non_ascii(character: char) -> bool {
    !character.is_ascii() && !character.is_control()
}

#[cfg(test)]
mod tests {
    use crate::Address;

    #[test]
    fn address_literals_are_understood() {
        let parse = |text: &str| text.parse::<Address>();
        let domain = |text: &str| parse(text).unwrap().domain().map(|d| format!("{d:?}"));
        assert_eq!(domain("a@[127.0.0.1]").unwrap(), "Literal(127.0.0.1)");
        assert_eq!(domain("a@[IPv6:::1]").unwrap(), "Literal(::1)");
        assert_eq!(parse("a@[ipv6:0:0::1]").unwrap().as_str(), "a@[IPv6:::1]");
        assert_eq!(domain("a@[x-net:40]").unwrap(), r#"GeneralLiteral("[x-net:40]")"#);
        assert!(parse("a@[127.0.0.256]").is_err());
        assert!(parse("a@[127.0.0.1").is_err());
        assert!(parse("a@[]").is_err());
    }
}
