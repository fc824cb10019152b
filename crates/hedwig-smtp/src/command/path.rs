//! Paths: `<mailbox>` after `FROM:` and `TO:` (RFC 5321 §4.1.2).

use hedwig_envelope::Domain;

/// Splits `<path> rest` into what stands between the brackets, its source route taken off, and the rest.
pub(crate) fn split(text: &str) -> Result<(&str, &str), &'static str> {
    let inside = text.strip_prefix('<').ok_or("The address must stand in angle brackets")?;
    let end = closing_bracket(inside).ok_or("The address has no closing angle bracket")?;
    let mailbox = without_source_route(&inside[..end])?;
    Ok((mailbox, &inside[end + 1..]))
}

/// Where the `>` is that no quotes hide.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'>' if !is_quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// RFC 5321 §4.1.1.3 and appendix C: a source route is understood and ignored.
fn without_source_route(path: &str) -> Result<&str, &'static str> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let wrong = "The source route is malformed";
    let (route, mailbox) = path.split_once(':').ok_or(wrong)?;
    let is_host = |hop: &str| hop.strip_prefix('@').is_some_and(|host| Domain::parse(host).is_ok());
    if mailbox.is_empty() || !route.split(',').all(is_host) {
        return Err(wrong);
    }
    Ok(mailbox)
}
