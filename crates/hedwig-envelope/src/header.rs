//! A scan of a header: what a queue needs to know of it, without taking it apart.

use memchr::memchr;

/// What a relay asks of a header (RFC 5322 §3.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderScan {
    /// How many `Received` fields there are: too many are a loop (RFC 5321 §6.3).
    pub received_count: usize,
    /// Whether there is a `Date`.
    pub has_date: bool,
    /// Whether there is a `From`.
    pub has_from: bool,
    /// The `Message-ID`, with its angle brackets.
    pub message_id: Option<String>,
}

impl HeaderScan {
    /// Reads the header of a message.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        let mut scan = Self::default();
        for field in fields(message) {
            if field.is_named("Received") {
                scan.received_count += 1;
            } else if field.is_named("Date") {
                scan.has_date = true;
            } else if field.is_named("From") {
                scan.has_from = true;
            } else if field.is_named("Message-ID") && scan.message_id.is_none() {
                let value = String::from_utf8_lossy(field.value.trim_ascii());
                scan.message_id = Some(value.into_owned());
            }
        }
        scan
    }
}

/// A field of a header: its name, and its value with folding and line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What stands before the colon, without the white space that may precede it.
    pub name: &'a [u8],
    /// What stands after the colon, the CRLF at its end included.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Whether this is the field's name, in whatever case.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a message's header, in order. It ends at the first line that is no field: the empty
/// line of RFC 5322 §2.1, or a body that follows without one.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let length = field_length(rest);
        let (field, after) = rest.split_at(length);
        let colon = memchr(b':', field)?;
        let name = field[..colon].trim_ascii_end();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        rest = after;
        Some(Field { name, value: &field[colon + 1..] })
    })
}

/// Where a message's header ends: just before the empty line, or before what is no field.
#[must_use]
pub fn header_length(message: &[u8]) -> usize {
    // Each field's value ends where the next field begins, so the last one tells.
    fields(message)
        .last()
        .map_or(0, |field| field.value.as_ptr_range().end as usize - message.as_ptr() as usize)
}

/// The length of the field that starts here: its line and those that continue it (RFC 5322 §2.2.3).
fn field_length(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(line_end) = memchr(b'\n', &bytes[end..]) {
        end += line_end + 1;
        if !matches!(bytes.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Received: a\r\n\tb;\r\n\tdate\r\nreceived : c\r\nDate: today\r\n\
        Message-Id:\r\n <x@y>\r\nSubject: Received: not this\r\n\r\nFrom: the body\r\n";

    #[test]
    fn fields_are_unfolded_counted_and_told_apart_from_the_body() {
        let scan = HeaderScan::of(MESSAGE);
        assert_eq!(scan.received_count, 2);
        assert!(scan.has_date && !scan.has_from);
        assert_eq!(scan.message_id.as_deref(), Some("<x@y>"));
    }

    #[test]
    fn the_header_ends_before_the_empty_line() {
        assert!(MESSAGE[header_length(MESSAGE)..].starts_with(b"\r\nFrom: the body"));
        assert_eq!(header_length(b"no header\r\n"), 0);
        assert_eq!(header_length(b""), 0);
        assert_eq!(header_length(b"A: b"), 4);
    }
}
