//! DANE: the zone of a mail exchanger says, under DNSSEC, which certificate its server has (RFC 7672).

mod tlsa;
mod verify;

use std::sync::Arc;

use hickory_resolver::proto::rr::{RData, RecordType};
use rustls::ClientConfig;

use crate::{Found, ResolveError, ResolveErrorKind, Resolver};
use tlsa::Tlsa;

/// What the TLSA records of a host ask of its certificate.
///
/// Two are equal when they ask the same, so that a connection made under one serves the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dane {
    /// The TLSA base domain first, then the other names that a certificate below a trust anchor may be for
    /// (RFC 7672 §3.2.2).
    names: Vec<String>,
    records: Vec<Tlsa>,
}

/// What DNS says of a host's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing, or nothing that DNSSEC vouches for.
    Nothing,
    /// There are records, and none that could be followed: TLS is promised, and nothing else (RFC 7672 §2.2).
    Encryption,
    /// The certificate is one of these.
    Certificate(Arc<Dane>),
}

impl Dane {
    /// The name to ask the server for: the TLSA base domain (RFC 7672 §3.2.2).
    pub(crate) fn server_name(&self) -> &str {
        &self.names[0]
    }

    /// The records, as zone files have them.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.records.iter().map(ToString::to_string).collect()
    }

    /// A configuration that takes the certificates that the records stand for.
    pub(crate) fn client_config(self: &Arc<Self>) -> Arc<ClientConfig> {
        verify::client_config(Arc::clone(self))
    }
}

/// Asks for the TLSA records of the host with these addresses, as an exchanger of `domain`.
///
/// # Errors
/// When DNS does not tell, or tells what nobody signed. Then the host must not be used (RFC 7672 §2.1.2).
pub(crate) async fn of_host<T>(
    resolver: &Resolver,
    domain: &str,
    host: &str,
    port: u16,
    addresses: &Found<T>,
) -> Result<Said, ResolveError> {
    for base in base_domains(host, addresses) {
        let question = format!("_{port}._tcp.{base}");
        let found = match resolver.look_up(&question, RecordType::TLSA).await {
            Ok(found) if found.secure => found.value,
            Ok(_) => continue,
            Err(error) if is_denial(&error) => continue,
            Err(error) => return Err(error),
        };
        let records = found.iter().filter_map(|data| match data {
            RData::TLSA(record) => Some(record),
            _ => None,
        });
        let records = tlsa::usable(records);
        if records.is_empty() {
            return Ok(Said::Encryption);
        }
        let mut names = vec![base.to_owned()];
        for name in [host, domain] {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        return Ok(Said::Certificate(Arc::new(Dane { names, records })));
    }
    Ok(Said::Nothing)
}

/// Where TLSA records may be (RFC 7672 §2.2.2, §2.2.3): at the name that an alias leads to, then at the alias.
fn base_domains<'a, T>(host: &'a str, addresses: &'a Found<T>) -> Vec<&'a str> {
    let is_alias = addresses.name != host;
    match (addresses.secure, is_alias) {
        (true, false) => vec![host],
        (true, true) => vec![&addresses.name, host],
        (false, true) if addresses.alias_secure => vec![host],
        (false, _) => Vec::new(),
    }
}

fn is_denial(error: &ResolveError) -> bool {
    matches!(error.kind, ResolveErrorKind::NoData | ResolveErrorKind::NoSuchDomain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_sought_where_dnssec_vouches_for_the_way() {
        let bases = |name: &str, secure, alias_secure| {
            let found = Found { value: (), secure, name: name.into(), alias_secure };
            base_domains("mx.example", &found).join(" ")
        };
        assert_eq!(bases("mx.example", true, true), "mx.example");
        assert_eq!(bases("host.example", true, true), "host.example mx.example");
        assert_eq!(bases("host.example", false, true), "mx.example");
        assert_eq!(bases("host.example", false, false), "");
        assert_eq!(bases("mx.example", false, false), "");
    }

    #[test]
    fn policies_are_equal_when_they_ask_the_same() {
        let policy = |name: &str| {
            let dane = Dane { names: vec![name.into()], records: Vec::new() };
            crate::TlsPolicy::Dane(Arc::new(dane))
        };
        assert_eq!(policy("mx.example"), policy("mx.example"));
        assert_ne!(policy("mx.example"), policy("mx.elsewhere.example"));
    }
}
