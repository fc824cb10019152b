//! Mailboxes as RFC 5321 §4.1.2 writes them, RFC 6531 §3.3 widens them.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Domain, domain::is_utf8_non_ascii};

/// The longest address taken, in bytes, as it is given and as it is written. RFC 5321 §4.5.3.1.3 asks for at least 256;
/// VERP needs more.
const ADDRESS_BYTES_MAX: usize = 512;
/// A mailbox (`Local-part "@" Domain`), or the bare `postmaster` of RFC 5321 §4.5.1.
///
/// Always valid and always in one spelling: quotes stand only where the local part needs them, the
/// domain's ASCII letters are lower case, and an address literal is as short as can be. So two addresses are equal when they name one mailbox,
/// and [`Display`](fmt::Display) is what may be put between `<` and `>` on the wire.
///
/// ```
/// # use hedwig_envelope::{Address, Domain};
/// let address: Address = r#""john"@Example.COM"#.parse()?;
/// assert_eq!(address.to_string(), "john@example.com");
/// assert_eq!(address.domain(), Some(Domain::Name("example.com")));
/// assert!("a@b>\r\nRSET".parse::<Address>().is_err());
/// # Ok::<(), hedwig_envelope::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: Arc<str>,
    /// Where the `@` stands; the length of `text` for the bare `postmaster`.
    at: u16,
}

impl Address {
    /// The local part as it goes over the wire, with its quotes where it needs them.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The domain; `None` for the bare `postmaster`, who is local to the server that is asked.
    #[must_use]
    pub fn domain(&self) -> Option<Domain<'_>> {
        let text = self.domain_text()?;
        // Parsing succeeded once, so the text can only be a name or one of the literals.
        Some(Domain::parse(text).unwrap_or(Domain::Name(text)))
    }

    /// The domain as it is written, brackets included; `None` for the bare `postmaster`.
    #[must_use]
    pub fn domain_text(&self) -> Option<&str> {
        self.text.get(usize::from(self.at) + 1..)
    }

    /// The whole address, without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the next server must offer SMTPUTF8 (RFC 6531 §3.1). A non-ASCII domain alone does
    /// not: it has an ASCII form.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        !self.local_part().is_ascii()
    }

    /// The address with its domain as A-labels (RFC 5890 §2.3.2.1), as servers without SMTPUTF8 take it.
    ///
    /// `None` when it has no such form: its local part is UTF-8, or DNS cannot hold its domain.
    #[must_use]
    pub fn to_ascii(&self) -> Option<Cow<'_, str>> {
        if self.text.is_ascii() {
            return Some(Cow::Borrowed(&self.text));
        }
        let domain = self.domain_text().filter(|_| !self.needs_utf8())?;
        // Underscores and odd hyphens are against the rules for hosts, and yet in DNS and in use.
        let domain = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Verify)
            .ok()
            .filter(|domain| domain.bytes().all(|byte| byte.is_ascii_graphic()))?;
        Some(Cow::Owned(format!("{}@{domain}", self.local_part())))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an address without its angle brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError::new(text, reason);
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(wrong("it is longer than 512 bytes"));
        }
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self { text: text.into(), at: text.len() as u16 });
        }
        let (local, rest) = split_local_part(text)?;
        let domain = rest.strip_prefix('@').ok_or_else(|| wrong("it has no domain"))?;
        let domain = Domain::parse(domain).map_err(|error| wrong(error.reason))?;
        let mut canonical = String::with_capacity(text.len());
        push_local_part(&mut canonical, &local);
        let at = canonical.len() as u16;
        canonical.push('@');
        domain.push_canonical(&mut canonical);
        // What is stored is read back from there: `::ffff:ffff:ffff` is written longer, with dots.
        if canonical.len() > ADDRESS_BYTES_MAX {
            return Err(wrong("in its one spelling it is longer than 512 bytes"));
        }
        Ok(Self { text: canonical.into(), at })
    }
}

/// The local part without quotes, and what follows it.
fn split_local_part(text: &str) -> Result<(String, &str), AddressError> {
    let wrong = |reason| AddressError::new(text, reason);
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['@', '"']).unwrap_or(text.len());
        let local = &text[..end];
        return if is_dot_string(local) {
            Ok((local.to_owned(), &text[end..]))
        } else {
            Err(wrong("the local part is not a dot-atom; perhaps it needs quotes"))
        };
    };
    let mut local = String::with_capacity(quoted.len());
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((local, &quoted[index + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ' '..='~')) => local.push(escaped),
                _ => return Err(wrong("a backslash quotes nothing that may be quoted")),
            },
            ' '..='~' => local.push(character),
            c if is_utf8_non_ascii(c) => local.push(c),
            _ => return Err(wrong("the local part has a control character")),
        }
    }
    Err(wrong("the quoted local part has no end"))
}

fn push_local_part(out: &mut String, local: &str) {
    if is_dot_string(local) {
        out.push_str(local);
        return;
    }
    out.push('"');
    for character in local.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

fn is_dot_string(local: &str) -> bool {
    let atext = |c: char| {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_non_ascii(c)
    };
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The sender of an envelope (RFC 5321 §3.3): a mailbox, or nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReversePath {
    /// `<>`: whoever cannot take this mail shall tell nobody (RFC 5321 §4.5.5).
    Null,
    /// Where delivery reports go.
    Address(Address),
}

impl ReversePath {
    /// The address to report to, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl From<Address> for ReversePath {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl FromStr for ReversePath {
    type Err = AddressError;

    /// Reads an address without its angle brackets; nothing is the null sender.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() { Ok(Self::Null) } else { text.parse().map(Self::Address) }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().map_or(Ok(()), |address| address.fmt(f))
    }
}

impl Serialize for ReversePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.address().map_or("", Address::as_str))
    }
}

impl<'de> Deserialize<'de> for ReversePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a text is no address. Its message names the text with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl AddressError {
    pub(crate) fn new(text: &str, reason: &'static str) -> Self {
        let end = text.floor_char_boundary(ADDRESS_BYTES_MAX);
        Self { text: text[..end].to_owned(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn quotes_stay_only_where_they_are_needed() {
        for (given, canonical) in [
            (r#""john"@example.com"#, "john@example.com"),
            (r#""john smith"@example.com"#, r#""john smith"@example.com"#),
            (r#""a\"b\\c"@example.com"#, r#""a\"b\\c"@example.com"#),
            (r#""a\b"@example.com"#, "ab@example.com"),
            (r#""a@b"@example.com"#, r#""a@b"@example.com"#),
            (r#"""@example.com"#, r#"""@example.com"#),
            (r#""..".x@example.com"#, ""),
        ] {
            match parse(given) {
                Ok(address) => assert_eq!(address.as_str(), canonical),
                Err(_) => assert_eq!(canonical, "", "{given} should be taken"),
            }
        }
    }

    #[test]
    fn the_domain_is_folded_and_the_local_part_is_not() {
        assert_eq!(parse("Ab@EXAMPLE.com").unwrap().as_str(), "Ab@example.com");
    }

    #[test]
    fn the_bare_postmaster_has_no_domain() {
        let postmaster = parse("Postmaster").unwrap();
        assert_eq!((postmaster.as_str(), postmaster.domain()), ("Postmaster", None));
        assert!(parse("root").is_err());
    }

    #[test]
    fn utf8_is_taken_and_told() {
        assert!(parse("用户@例子.广告").unwrap().needs_utf8());
        assert!(!parse("user@例子.广告").unwrap().needs_utf8());
        let to_ascii = |text: &str| parse(text).unwrap().to_ascii().map(|a| a.into_owned());
        assert_eq!(to_ascii("user@例子.广告").unwrap(), "user@xn--fsqu00a.xn--4rr70v");
        assert_eq!(to_ascii("A_b@c_d.example").unwrap(), "A_b@c_d.example");
        for none in ["用户@例子.广告", "用户@example.net", &format!("a@{}", "例.".repeat(40) + "b")]
        {
            assert_eq!(to_ascii(none), None);
        }
    }

    #[test]
    fn what_could_be_injected_is_refused_and_named() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a@b>",
            "a@b\r\nRSET",
            "a\r@b",
            "\"a\nb\"@c",
            "a b@c",
            "a@b c",
            "a@b..c",
            "a@-b",
            "a..b@c",
            ".a@b",
            "a@b\0",
            "\"a\0\"@b",
            "\"a@b",
            "a@b@c",
            "a@\u{85}b",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("is not an address"), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        assert!(parse(&format!("{}@b", "a".repeat(600))).is_err());
    }

    #[test]
    fn an_address_is_as_long_as_it_is_written() {
        let of_length = |domain: &str, length: usize| {
            parse(&format!("{}@{domain}", "a".repeat(length - 1 - domain.len())))
        };
        assert_eq!(of_length("example.com", 512).unwrap().as_str().len(), 512);
        let mapped = "[IPv6:::ffff:ffff:ffff]";
        assert_eq!(of_length(mapped, 506).unwrap().as_str().len(), 512);
        let error = of_length(mapped, 507).unwrap_err().to_string();
        assert!(error.ends_with("in its one spelling it is longer than 512 bytes"), "{error}");
    }

    #[test]
    fn nothing_is_the_null_sender() {
        assert_eq!("".parse(), Ok(ReversePath::Null));
        assert_eq!(ReversePath::Null.to_string(), "");
    }
}
