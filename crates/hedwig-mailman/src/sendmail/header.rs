//! What a submission changes in the header that a program wrote.

use hedwig_envelope::{
    Address,
    header::{Field, fields},
};

use super::address_list::{AddressListError, addresses};

/// The fields that hold addresses (RFC 5322 §3.6.2, §3.6.3, §3.6.6).
const ADDRESS_FIELDS: [&str; 12] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
];
const RECIPIENT_FIELDS: [&str; 3] = ["To", "Cc", "Bcc"];
const RESENT_RECIPIENT_FIELDS: [&str; 3] = ["Resent-To", "Resent-Cc", "Resent-Bcc"];

/// Whom the header names as recipients: To, Cc and Bcc, or their Resent counterparts if there are any
/// (RFC 5322 §3.6.6). Addresses may be bare local parts.
///
/// # Errors
/// When one of these fields is no list of addresses.
pub(crate) fn recipients(header: &[u8]) -> Result<Vec<String>, AddressListError> {
    let is_resent = fields(header).any(|field| is_one_of(field, &RESENT_RECIPIENT_FIELDS));
    let names = if is_resent { RESENT_RECIPIENT_FIELDS } else { RECIPIENT_FIELDS };
    let mut found = Vec::new();
    for field in fields(header).filter(|field| is_one_of(*field, &names)) {
        found.extend(addresses(field.value)?.into_iter().map(|mention| mention.text));
    }
    Ok(found)
}

/// The header without its Bcc and Resent-Bcc fields.
pub(crate) fn without_bcc(header: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(header.len());
    for field in fields(header).filter(|field| !is_one_of(*field, &["Bcc", "Resent-Bcc"])) {
        write(&mut kept, field.name, field.value);
    }
    kept
}

/// The header with `@domain` behind every bare local part in it: `To: root` would mean somebody else
/// wherever the mail arrives. A field that is no list of addresses stays as it is.
pub(crate) fn qualified(header: &[u8], domain: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len() + 128);
    for field in fields(header) {
        if is_one_of(field, &ADDRESS_FIELDS) {
            write(&mut out, field.name, &qualified_list(field.value, domain));
        } else {
            write(&mut out, field.name, field.value);
        }
    }
    out
}

fn qualified_list(list: &[u8], domain: &str) -> Vec<u8> {
    let Ok(mentions) = addresses(list) else { return list.to_vec() };
    let mut out = Vec::with_capacity(list.len() + domain.len() + 1);
    let mut copied = 0;
    for mention in mentions.iter().filter(|mention| mention.is_bare()) {
        out.extend_from_slice(&list[copied..mention.span.end]);
        out.push(b'@');
        out.extend_from_slice(domain.as_bytes());
        copied = mention.span.end;
    }
    out.extend_from_slice(&list[copied..]);
    out
}

/// A `From` field (RFC 5322 §3.6.2), with its CRLF.
pub(crate) fn from(address: &Address, full_name: Option<&str>) -> String {
    match full_name.map(phrase).filter(|name| !name.is_empty()) {
        Some(name) => format!("From: {name} <{address}>\r\n"),
        None => format!("From: {address}\r\n"),
    }
}

/// A name as a phrase: words, a quoted string, or encoded words for what is not ASCII (RFC 2047 §5).
fn phrase(name: &str) -> String {
    let words = name.split(|c: char| c.is_whitespace() || c.is_control());
    let name = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let name: String = name.chars().take(256).collect();
    if !name.is_ascii() {
        return encoded_words(&name);
    }
    let is_atom = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    if name.chars().all(is_atom) {
        return name;
    }
    format!("\"{}\"", name.replace('\\', r"\\").replace('"', "\\\""))
}

fn encoded_words(name: &str) -> String {
    // An encoded word has at most 75 characters: 12 around the text, and 3 for each byte in it.
    const BYTES_MAX: usize = (75 - 12) / 3;
    let mut words = String::new();
    let mut bytes = BYTES_MAX + 1;
    for character in name.chars() {
        bytes += character.len_utf8();
        if bytes > BYTES_MAX {
            words += if words.is_empty() { "=?UTF-8?Q?" } else { "?=\r\n =?UTF-8?Q?" };
            bytes = character.len_utf8();
        }
        if character.is_ascii_alphanumeric() {
            words.push(character);
        } else {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                words += &format!("={byte:02X}");
            }
        }
    }
    words + "?="
}

fn is_one_of(field: Field<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| field.is_named(name))
}

fn write(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.push(b':');
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"From: root (Cron Daemon)\r\nTo: Bob <bob@example.com>,\r\n\teve\r\n\
        Subject: hi root\r\ncc : \"dave\"\r\nBcc: secret@example.net,\r\n more@example.net\r\n";

    #[test]
    fn recipients_come_from_to_cc_and_bcc() {
        let expected =
            ["bob@example.com", "eve", "\"dave\"", "secret@example.net", "more@example.net"];
        assert_eq!(recipients(HEADER).unwrap(), expected);
        assert!(recipients(b"To: two words\r\n").is_err());
        assert!(recipients(b"Subject: to: a@b\r\n").unwrap().is_empty());
    }

    #[test]
    fn a_resent_mail_goes_to_whom_it_is_resent() {
        let header = b"To: old@example.com\r\nResent-To: new@example.com\r\nResent-Bcc: x@y\r\n";
        assert_eq!(recipients(header).unwrap(), ["new@example.com", "x@y"]);
    }

    #[test]
    fn bcc_goes_with_all_its_lines() {
        let kept = String::from_utf8(without_bcc(HEADER)).unwrap();
        assert!(!kept.contains("example.net") && !kept.to_lowercase().contains("bcc"), "{kept}");
        assert!(kept.ends_with("Subject: hi root\r\ncc: \"dave\"\r\n"));
    }

    #[test]
    fn bare_local_parts_get_a_domain_where_they_stand() {
        let qualified = String::from_utf8(qualified(HEADER, "example.org")).unwrap();
        assert!(qualified.starts_with(
            "From: root@example.org (Cron Daemon)\r\nTo: Bob <bob@example.com>,\r\n\
             \teve@example.org\r\nSubject: hi root\r\ncc: \"dave\"@example.org\r\n"
        ));
    }

    #[test]
    fn what_is_no_list_of_addresses_stays_as_it_is() {
        let header = b"To: some body\r\nFrom: <\r\n";
        assert_eq!(qualified(header, "example.org"), header);
    }

    #[test]
    fn a_full_name_is_written_so_that_it_stays_a_name() {
        let address: Address = "a@example.org".parse().unwrap();
        for (name, expected) in [
            (None, "From: a@example.org\r\n"),
            (Some(" \t"), "From: a@example.org\r\n"),
            (Some("Cron Daemon"), "From: Cron Daemon <a@example.org>\r\n"),
            (Some("Dr. \"X\", <x@y>"), "From: \"Dr. \\\"X\\\", <x@y>\" <a@example.org>\r\n"),
            (Some("Jürg"), "From: =?UTF-8?Q?J=C3=BCrg?= <a@example.org>\r\n"),
            (Some("x\r\nBcc: all@y"), "From: \"x Bcc: all@y\" <a@example.org>\r\n"),
        ] {
            assert_eq!(from(&address, name), expected);
        }
        let long = from(&address, Some(&"名".repeat(60)));
        assert!(long.lines().all(|line| line.len() <= 100), "{long}");
        assert_eq!(long.matches("=E5=90=8D").count(), 60);
    }
}
