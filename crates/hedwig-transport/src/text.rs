//! What strangers say, made fit for a log line, a header field or a reply.

/// The text on one line, without control characters, and no longer than so many bytes.
pub(crate) fn printable(text: &str, bytes_max: usize) -> String {
    let text = &text[..text.floor_char_boundary(bytes_max)];
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_go_and_the_length_is_kept_in_bounds() {
        assert_eq!(printable("a\r\nb\u{1b}[2J", 64), "a  b [2J");
        assert_eq!(printable("grüße", 3), "gr");
    }
}
