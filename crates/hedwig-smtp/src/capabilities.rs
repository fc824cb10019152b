use hedwig_envelope::Reply;

/// What a server offered in its reply to EHLO or LHLO (RFC 5321 §4.1.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): `Some(0)` is no fixed limit, otherwise the limit in bytes.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// MT-PRIORITY (RFC 6710).
    pub mt_priority: bool,
    /// DELIVERBY (RFC 2852).
    pub deliver_by: bool,
    /// FUTURERELEASE (RFC 4865).
    pub future_release: bool,
    /// The mechanisms of AUTH (RFC 4954), in upper case.
    pub auth: Vec<String>,
}

impl Capabilities {
    /// Reads the reply to EHLO. Unknown keywords are passed over.
    #[must_use]
    pub fn of_reply(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        for line in reply.text().lines().skip(1) {
            capabilities.read_line(line);
        }
        capabilities
    }

    fn read_line(&mut self, line: &str) {
        // Some servers write "AUTH=PLAIN", a form older than RFC 4954.
        let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            // A limit that cannot be read is no limit: the server will say so itself.
            "SIZE" => self.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "REQUIRETLS" => self.require_tls = true,
            "MT-PRIORITY" => self.mt_priority = true,
            "DELIVERBY" => self.deliver_by = true,
            "FUTURERELEASE" => self.future_release = true,
            "AUTH" => self.auth.extend(words.map(str::to_ascii_uppercase)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_in_any_case_and_the_greeting_line_is_not_one() {
        let reply =
            Reply::new(250, None, "DSN hello\nsize 1000\nPipelining\nAUTH=plain LOGIN\nX-Y");
        let capabilities = Capabilities::of_reply(&reply);
        let expected = Capabilities {
            size: Some(1000),
            pipelining: true,
            auth: vec!["PLAIN".into(), "LOGIN".into()],
            ..Capabilities::default()
        };
        assert_eq!(capabilities, expected);
    }
}
