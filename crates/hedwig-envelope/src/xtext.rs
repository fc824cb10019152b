//! xtext, RFC 3461 §4: how ESMTP parameters carry arbitrary text.

/// The text with `+`, `=` and all that is not printable ASCII as `+HH`.
#[must_use]
pub fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b'!'..=b'~') && !matches!(byte, b'+' | b'=') {
            encoded.push(byte as char);
        } else {
            encoded.push('+');
            encoded.push(HEX[usize::from(byte >> 4)] as char);
            encoded.push(HEX[usize::from(byte & 15)] as char);
        }
    }
    encoded
}

/// The text behind an xtext; `None` when it is malformed, not UTF-8, or hides a control character.
#[must_use]
pub fn decode(xtext: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(xtext.len());
    let mut bytes = xtext.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'=' => return None,
            b'!'..=b'~' | 0x80.. => byte,
            _ => return None,
        });
    }
    String::from_utf8(decoded).ok().filter(|text| !text.contains(char::is_control))
}

fn hex(digit: u8) -> Option<u8> {
    // RFC 3461 asks for upper case; lower case is met in the field and means the same.
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        for text in ["", "QQ314159", "a+b=c d", "grüße"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(encode("a+b=c d"), "a+2Bb+3Dc+20d");
    }

    #[test]
    fn control_characters_and_halves_are_refused() {
        for xtext in ["a+0D+0AQUIT", "a+", "a+2", "a+2G", "a=b", "a b", "+FF"] {
            assert_eq!(decode(xtext), None, "{xtext}");
        }
    }
}
