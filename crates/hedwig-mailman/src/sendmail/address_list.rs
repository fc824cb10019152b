//! Address lists as RFC 5322 §3.4 writes them, obsolete syntax (§4.4) and bare local parts included.
//!
//! A mail library's parser gives names and addresses as text; here it matters *where* an address
//! stands, so that `root` can become `root@example.org` in place, and that a quoted local part keeps
//! its quotes.

use std::ops::Range;

/// How deep comments may lie in each other.
const COMMENT_DEPTH_MAX: usize = 32;

/// An address in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// Where it stands, in bytes: from its first to its last character.
    pub(crate) span: Range<usize>,
    /// The address without comments and white space; perhaps a local part only.
    pub(crate) text: String,
}

impl Mention {
    /// Whether it is a local part without a domain.
    pub(crate) fn is_bare(&self) -> bool {
        // An @ within quotes does not count.
        let unquoted = self.text.rsplit_once('"').map_or(self.text.as_str(), |(_, rest)| rest);
        !unquoted.contains('@')
    }
}

/// The addresses of a list, in order. Names, comments, groups and source routes are left out, and so
/// is `<>`.
///
/// # Errors
/// When something in it is no address; the error tells what.
pub(crate) fn addresses(list: &[u8]) -> Result<Vec<Mention>, AddressListError> {
    let mut found = Vec::new();
    let mut element: Vec<Token<'_>> = Vec::new();
    let mut tokens = Tokens { list, position: 0 };
    while let Some(token) = tokens.next()? {
        match token.text {
            b"," | b";" => found.extend(mention(&std::mem::take(&mut element))?),
            // What went before was the name of a group.
            b":" => element.clear(),
            b"<" => {
                // And here it was somebody's name.
                element.clear();
                found.extend(mention(&tokens.angle_address()?)?);
                tokens.skip_to_separator()?;
            }
            _ => element.push(token),
        }
    }
    found.extend(mention(&element)?);
    Ok(found)
}

/// A text that is no list of addresses. Its message names the text with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {reason}")]
pub(crate) struct AddressListError {
    text: String,
    reason: &'static str,
}

impl AddressListError {
    fn new(text: &[u8], reason: &'static str) -> Self {
        Self { text: String::from_utf8_lossy(text).chars().take(128).collect(), reason }
    }
}

#[derive(Clone, Debug)]
struct Token<'a> {
    start: usize,
    text: &'a [u8],
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }

    fn is_word(&self) -> bool {
        !matches!(self.text, b"." | b"@")
    }
}

/// The address that tokens without separators make.
fn mention(tokens: &[Token<'_>]) -> Result<Option<Mention>, AddressListError> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Ok(None) };
    let bytes = tokens.iter().map(|token| token.text).collect::<Vec<_>>().concat();
    if tokens.windows(2).any(|pair| pair[0].is_word() && pair[1].is_word()) {
        let words = tokens.iter().map(|token| token.text).collect::<Vec<_>>().join(&b' ');
        return Err(AddressListError::new(
            &words,
            "is not an address; <> around it may be missing",
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| AddressListError::new(error.as_bytes(), "is not an address in UTF-8"))?;
    Ok(Some(Mention { span: first.start..last.end(), text }))
}

struct Tokens<'a> {
    list: &'a [u8],
    position: usize,
}

impl<'a> Tokens<'a> {
    /// The next word, quoted string, literal or special character.
    fn next(&mut self) -> Result<Option<Token<'a>>, AddressListError> {
        self.skip_white_space_and_comments()?;
        let start = self.position;
        let Some(&byte) = self.list.get(start) else { return Ok(None) };
        self.position = match byte {
            b'"' => self.end_of(b'"', "has a quoted string without an end")?,
            b'[' => self.end_of(b']', "has an address literal without an end")?,
            _ if is_special(byte) => start + 1,
            _ => {
                let is_end =
                    |b: &u8| is_special(*b) || b.is_ascii_whitespace() || b"\"[(".contains(b);
                let rest = &self.list[start..];
                start + rest.iter().position(is_end).unwrap_or(rest.len())
            }
        };
        Ok(Some(Token { start, text: &self.list[start..self.position] }))
    }

    /// What stands up to the `>`, without a source route (RFC 5322 §4.4).
    fn angle_address(&mut self) -> Result<Vec<Token<'a>>, AddressListError> {
        let mut inside = Vec::new();
        let mut is_route = false;
        while let Some(token) = self.next()? {
            match token.text {
                b">" => return Ok(inside),
                b"@" if inside.is_empty() => is_route = true,
                b":" if is_route => {
                    inside.clear();
                    is_route = false;
                }
                _ if is_route => {}
                b"<" | b"," | b";" | b":" => break,
                _ => inside.push(token),
            }
        }
        Err(AddressListError::new(self.list, "has a < without its >"))
    }

    /// Goes on to where the next element begins, over what some write behind an address.
    fn skip_to_separator(&mut self) -> Result<(), AddressListError> {
        loop {
            let before = self.position;
            match self.next()? {
                None => return Ok(()),
                Some(token) if matches!(token.text, b"," | b";") => {
                    self.position = before;
                    return Ok(());
                }
                Some(token) if matches!(token.text, b"<" | b">" | b"@" | b":") => {
                    return Err(AddressListError::new(self.list, "lacks a comma"));
                }
                Some(_) => {}
            }
        }
    }

    fn skip_white_space_and_comments(&mut self) -> Result<(), AddressListError> {
        let mut depth = 0;
        while let Some(&byte) = self.list.get(self.position) {
            match byte {
                b'(' if depth == COMMENT_DEPTH_MAX => {
                    return Err(AddressListError::new(self.list, "has too many nested comments"));
                }
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b'\\' if depth > 0 => self.position += 1,
                _ if depth > 0 || byte.is_ascii_whitespace() => {}
                _ => return Ok(()),
            }
            self.position += 1;
        }
        if depth == 0 { Ok(()) } else { Err(self.open_ended("has a comment without an end")) }
    }

    /// Just behind the delimiter that ends what begins here.
    fn end_of(&self, delimiter: u8, missing: &'static str) -> Result<usize, AddressListError> {
        let mut position = self.position + 1;
        while let Some(&byte) = self.list.get(position) {
            position += 1;
            match byte {
                b'\\' => position += 1,
                _ if byte == delimiter => return Ok(position),
                _ => {}
            }
        }
        Err(self.open_ended(missing))
    }

    fn open_ended(&self, reason: &'static str) -> AddressListError {
        AddressListError::new(self.list, reason)
    }
}

fn is_special(byte: u8) -> bool {
    b"<>,;:@.)".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &str) -> Vec<String> {
        let found = addresses(list.as_bytes()).unwrap_or_else(|error| panic!("{list:?}: {error}"));
        found.into_iter().map(|mention| mention.text).collect()
    }

    #[test]
    fn addresses_are_found_in_every_dress() {
        for (list, expected) in [
            ("bob@example.com", &["bob@example.com"][..]),
            ("Bob <bob@example.com>", &["bob@example.com"]),
            ("\"Last, First\" <a@b>, c@d", &["a@b", "c@d"]),
            ("root (Cron Daemon)", &["root"]),
            ("<root>", &["root"]),
            ("(to) bob @ (comment (nested \\) one)) example . com", &["bob@example.com"]),
            ("Friends: a@b, C <c@d>;, e@f", &["a@b", "c@d", "e@f"]),
            ("undisclosed-recipients:;", &[]),
            ("undisclosed recipients: ;", &[]),
            ("", &[]),
            (" ,, a@b ,", &["a@b"]),
            ("<@relay.example,@other.example:a@b>", &["a@b"]),
            ("\"john smith\"@example.com", &["\"john smith\"@example.com"]),
            ("\"a@b\"", &["\"a@b\""]),
            ("a@[IPv6:2001:db8::1]", &["a@[IPv6:2001:db8::1]"]),
            ("Grüße <用户@例子.广告>", &["用户@例子.广告"]),
            ("a@b,\r\n\tc@d", &["a@b", "c@d"]),
            ("<>", &[]),
            ("J. R. Hacker <j@r>", &["j@r"]),
            ("a@b (it is <not@this>)", &["a@b"]),
        ] {
            assert_eq!(texts(list), expected, "{list:?}");
        }
    }

    #[test]
    fn an_address_is_where_its_span_says() {
        let list = b"Friends: Bob <bob@example.com>, root (Cron Daemon);";
        let found = addresses(list).unwrap();
        let spans: Vec<&[u8]> = found.iter().map(|mention| &list[mention.span.clone()]).collect();
        assert_eq!(spans, [&b"bob@example.com"[..], b"root"]);
    }

    #[test]
    fn a_bare_local_part_is_told_from_an_address() {
        for (text, bare) in [("root", true), ("a@b", false), ("\"a@b\"", true), ("\"a\"@b", false)]
        {
            assert_eq!(addresses(text.as_bytes()).unwrap()[0].is_bare(), bare, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_and_named() {
        for list in [
            "two words",
            "Bob bob@example.com",
            "<a@b",
            "<a@b, c@d>",
            "\"a@b",
            "(a@b",
            "a@[1.2.3.4",
            "<a@b> <c@d>",
            "\"\\",
            "\u{1b}[2J two",
        ] {
            let error = addresses(list.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        assert!(addresses("(".repeat(100_000).as_bytes()).is_err());
        assert!(addresses(b"\xff\xfe@b").is_err());
    }
    proptest::proptest! {
        #[test]
        fn whatever_stands_in_a_list_a_span_holds_its_address(
            list in "[ab.@<>,;:()\\[\\]\"\\\\ \r\n\u{e9}]{0,40}"
        ) {
            for mention in addresses(list.as_bytes()).unwrap_or_default() {
                let found = addresses(&list.as_bytes()[mention.span.clone()]).unwrap();
                proptest::prop_assert_eq!(&found[0].text, &mention.text);
                proptest::prop_assert_eq!(found.len(), 1);
            }
        }

        #[test]
        fn no_bytes_are_too_strange(list: Vec<u8>) {
            if let Err(error) = addresses(&list) {
                proptest::prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
