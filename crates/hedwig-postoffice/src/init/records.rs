//! The DNS records that a domain's mail wants.

use std::{fmt, net::IpAddr};

use hedwig_mx::{
    dkim::{SigningKey, txt_strings},
    reverse_name,
};

use super::addresses::{Addresses, Outward};

/// How long others may keep a record, in seconds.
const TTL_SECONDS: u32 = 3600;
/// How long others may keep a policy, in seconds: a week, as in RFC 8461 §3.2.
const POLICY_SECONDS: u32 = 604_800;

/// A record that DNS is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Whose it is; no dot at its end.
    pub(crate) name: String,
    pub(crate) data: Data,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Address(IpAddr),
    Mx(u16, String),
    Txt(String),
    Ptr(String),
}

impl Record {
    fn txt(name: impl Into<String>, text: impl Into<String>, purpose: &'static str) -> Self {
        Self { name: name.into(), data: Data::Txt(text.into()), purpose }
    }

    /// Whether it belongs into the zone of a domain.
    pub(crate) fn is_below(&self, domain: &str) -> bool {
        let rest = self.name.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Its type.
    pub(crate) fn kind(&self) -> &'static str {
        match self.data {
            Data::Address(IpAddr::V4(_)) => "A",
            Data::Address(IpAddr::V6(_)) => "AAAA",
            Data::Mx(..) => "MX",
            Data::Txt(_) => "TXT",
            Data::Ptr(_) => "PTR",
        }
    }

    /// What a provider's form wants to be told: a text whole and without quotes.
    pub(crate) fn value(&self) -> String {
        match &self.data {
            Data::Address(address) => address.to_string(),
            Data::Mx(preference, host) => format!("{preference} {host}."),
            Data::Txt(text) => text.clone(),
            Data::Ptr(name) => format!("{name}."),
        }
    }
}

/// A line of a zone file (RFC 1035 §5.1).
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match &self.data {
            Data::Txt(text) => txt_strings(text),
            _ => self.value(),
        };
        write!(f, "{}. {TTL_SECONDS} IN {} {value}", self.name, self.kind())
    }
}

/// Who takes the domain's mail.
pub(crate) fn mx(domain: &str, hosts: &[String]) -> Vec<Record> {
    let preferences = (10..).step_by(10);
    let records = hosts.iter().zip(preferences).map(|(host, preference)| Record {
        name: domain.to_owned(),
        data: Data::Mx(preference, host.clone()),
        purpose: "who takes the domain's mail: answers and reports of failure go there",
    });
    records.collect()
}

/// Who may send as the domain (RFC 7208): these addresses, and nobody else.
pub(crate) fn spf(domain: &str, addresses: &Addresses, host: &str) -> Record {
    let mut text = String::from("v=spf1");
    for outward in &addresses.known {
        let mechanism = if outward.address.is_ipv4() { "ip4" } else { "ip6" };
        text += &format!(" {mechanism}:{}", outward.address);
    }
    if addresses.known.is_empty() {
        text += &format!(" a:{host}");
    }
    Record::txt(domain, text + " -all", "SPF: only these addresses send as the domain")
}

/// The same for a name that is said hello with: reports have no sender, and are judged by it (RFC 7208 §2.4).
pub(crate) fn spf_of_host(name: &str) -> Record {
    Record::txt(
        name,
        "v=spf1 a -all",
        "SPF of the host, by which reports without a sender are judged",
    )
}

/// The key that signatures are verified with.
pub(crate) fn dkim(key: &SigningKey) -> Record {
    let (name, text) = key.dns_record();
    Record::txt(name, text, "DKIM: the key that signatures are verified with")
}

/// What is to become of mail that only pretends to be of the domain (RFC 7489): nothing yet.
pub(crate) fn dmarc(domain: &str, reports: &str) -> Record {
    let text = format!("v=DMARC1; p=none; rua=mailto:{reports}");
    let purpose = "DMARC: reports now; p=quarantine or p=reject when they look right";
    Record::txt(format!("_dmarc.{domain}"), text, purpose)
}

/// The consent of another domain to get a domain's DMARC reports (RFC 7489 §7.1).
pub(crate) fn dmarc_consent(domain: &str, other: &str) -> Record {
    let name = format!("{domain}._report._dmarc.{other}");
    Record::txt(name, "v=DMARC1", "DMARC: the other domain takes these reports")
}

/// That there is a policy for TLS (RFC 8461 §3.1), and which.
pub(crate) fn mta_sts(domain: &str, id: &str) -> Record {
    let purpose = "MTA-STS: there is a policy; a new id with each change of it";
    Record::txt(format!("_mta-sts.{domain}"), format!("v=STSv1; id={id}"), purpose)
}

/// The policy for TLS (RFC 8461 §3.2).
pub(crate) fn policy(hosts: &[String]) -> String {
    let hosts: String = hosts.iter().map(|host| format!("mx: {host}\r\n")).collect();
    format!("version: STSv1\r\nmode: testing\r\n{hosts}max_age: {POLICY_SECONDS}\r\n")
}

/// Where the policy for TLS is to be found.
pub(crate) fn policy_url(domain: &str) -> String {
    format!("https://mta-sts.{domain}/.well-known/mta-sts.txt")
}

/// Where others report how TLS went (RFC 8460 §3).
pub(crate) fn tls_reports(domain: &str, reports: &str) -> Record {
    let text = format!("v=TLSRPTv1; rua=mailto:{reports}");
    Record::txt(format!("_smtp._tls.{domain}"), text, "TLSRPT: where others report how TLS went")
}

/// The address of a name that is said hello with.
pub(crate) fn address(outward: &Outward) -> Record {
    Record {
        name: outward.hello.clone(),
        data: Data::Address(outward.address),
        purpose: "the host's own address, which its name leads to",
    }
}

/// The name of an address, which leads back to it; set by whoever gave the address.
pub(crate) fn reverse(outward: &Outward) -> Record {
    Record {
        name: reverse_name(outward.address),
        data: Data::Ptr(outward.hello.clone()),
        purpose: "the address's name; whoever gave you the address sets it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outward(address: &str) -> Outward {
        let hello = "mail.example.org".to_owned();
        Outward { address: address.parse().unwrap(), hello, bound: None }
    }

    #[test]
    fn records_are_lines_of_a_zone_file() {
        let hosts = ["a.example.net".to_owned(), "b.example.net".to_owned()];
        let two = vec![outward("192.0.2.1"), outward("2001:db8::1")];
        let addresses = Addresses { known: two, hidden: vec![] };
        let lines = [
            mx("example.org", &hosts)[1].to_string(),
            spf("example.org", &addresses, "mail.example.org").to_string(),
            spf("example.org", &Addresses::default(), "mail.example.org").to_string(),
            address(&addresses.known[1]).to_string(),
            reverse(&addresses.known[0]).to_string(),
        ];
        let expected = [
            "example.org. 3600 IN MX 20 b.example.net.",
            r#"example.org. 3600 IN TXT "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all""#,
            r#"example.org. 3600 IN TXT "v=spf1 a:mail.example.org -all""#,
            "mail.example.org. 3600 IN AAAA 2001:db8::1",
            "1.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.org.",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_record_belongs_into_the_zone_of_its_domain() {
        let record = |name: &str| Record::txt(name, "", "");
        assert!(record("example.org").is_below("example.org"));
        assert!(record("_dmarc.example.org").is_below("example.org"));
        assert!(!record("notexample.org").is_below("example.org"));
        assert!(!record("1.2.0.192.in-addr.arpa").is_below("example.org"));
    }

    #[test]
    fn a_policy_is_one_that_hedwig_follows() {
        let text = policy(&["mx.example.org".to_owned()]);
        let policy: hedwig_mx::StsPolicy = text.parse().unwrap();
        assert!(policy.names("mx.example.org") && !policy.names("example.org"));
    }
}
