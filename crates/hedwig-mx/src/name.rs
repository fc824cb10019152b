//! Domain names as DNS wants them.

use std::{borrow::Cow, net::IpAddr};

use hickory_resolver::proto::rr::Name;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The name with A-labels (RFC 5890 §2.3.2.1), in lower case, without a dot at its end.
///
/// `None` when it has no such form: then it cannot be in DNS either.
#[must_use]
pub fn to_ascii(domain: &str) -> Option<Cow<'_, str>> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    // Underscores and odd hyphens are against the rules for hosts, and yet in DNS and in use.
    Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Verify)
        .ok()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// The name whose PTR records say which names an address has (RFC 1035 §3.5, RFC 3596 §2.5); no dot at its end.
#[must_use]
pub fn reverse_name(address: IpAddr) -> String {
    Name::from(address).to_ascii().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u_labels_become_a_labels() {
        assert_eq!(to_ascii("例子.广告").as_deref(), Some("xn--fsqu00a.xn--4rr70v"));
        assert_eq!(to_ascii("Bücher.Example").as_deref(), Some("xn--bcher-kva.example"));
    }

    #[test]
    fn ascii_names_are_folded_and_nothing_else() {
        assert_eq!(to_ascii("Mail_1.Example.COM.").as_deref(), Some("mail_1.example.com"));
        assert_eq!(to_ascii("a--b.example").as_deref(), Some("a--b.example"));
    }

    #[test]
    fn an_address_has_a_name_that_is_read_backwards() {
        assert_eq!(reverse_name([192, 0, 2, 1].into()), "1.2.0.192.in-addr.arpa");
        let name = reverse_name("2001:db8::1".parse().unwrap());
        assert!(
            name.starts_with("1.0.0.0.") && name.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"),
            "{name}"
        );
    }

    #[test]
    fn what_dns_cannot_hold_has_no_form() {
        for name in ["", "a..b", "a b.example", &"a".repeat(64), &"a.".repeat(200)] {
            assert_eq!(to_ascii(name), None, "{name:?}");
        }
    }
}
