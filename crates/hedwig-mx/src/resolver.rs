use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hedwig_envelope::Status;
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
};

/// How long one name server may think.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Addresses of one host that are looked at; a hostile zone may list thousands.
const ADDRESSES_PER_HOST_MAX: usize = 16;

/// Asks DNS for mail exchangers and addresses. A cheap handle; clones share one cache.
#[derive(Clone)]
pub struct Resolver(Arc<TokioResolver>);

impl Resolver {
    /// A resolver that asks the name servers of this host's configuration.
    ///
    /// # Errors
    /// When that configuration cannot be read.
    pub fn from_system() -> Result<Self, ResolverConfigError> {
        let builder = TokioResolver::builder_tokio().map_err(ResolverConfigError)?;
        Self::build(builder)
    }

    /// A resolver that asks this name server, over UDP and TCP, and nobody else; no hosts file either.
    ///
    /// # Errors
    /// When the resolver cannot be built.
    pub fn with_server(address: SocketAddr) -> Result<Self, ResolverConfigError> {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        for connection in &mut server.connections {
            connection.port = address.port();
        }
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        Self::build(builder)
    }

    fn build(
        mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>,
    ) -> Result<Self, ResolverConfigError> {
        let options = builder.options_mut();
        options.timeout = QUESTION_TIME_MAX;
        options.attempts = 1;
        options.cache_size = 10_000;
        builder.build().map(|resolver| Self(Arc::new(resolver))).map_err(ResolverConfigError)
    }

    /// The MX records of a domain, by preference; as DNS gave them within one preference.
    ///
    /// # Errors
    /// With [`ResolveErrorKind::NoData`] when the domain is there and has none.
    pub async fn mx(&self, domain: &str) -> Result<Vec<MxHost>, ResolveError> {
        let answers = self.look_up(domain, RecordType::MX).await?;
        let mut hosts: Vec<MxHost> = answers
            .into_iter()
            .filter_map(|data| match data {
                RData::MX(mx) => {
                    Some(MxHost { preference: mx.preference, name: text(&mx.exchange) })
                }
                _ => None,
            })
            .collect();
        hosts.sort_by_key(|host| host.preference);
        Ok(hosts)
    }

    /// The addresses of a host, IPv6 and IPv4 in turn.
    ///
    /// # Errors
    /// When it has neither. One kind is enough, whatever becomes of the question for the other.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let (v6, v4) =
            tokio::join!(self.look_up(host, RecordType::AAAA), self.look_up(host, RecordType::A));
        let (v6, v4) = match (v6, v4) {
            (Err(v6), Err(v4)) => {
                return Err(if v6.kind == ResolveErrorKind::Temporary { v6 } else { v4 });
            }
            (v6, v4) => (v6.unwrap_or_else(|_| Vec::new()), v4.unwrap_or_else(|_| Vec::new())),
        };
        let (mut v6, mut v4) = (v6.iter().filter_map(address), v4.iter().filter_map(address));
        let mut addresses = Vec::new();
        while addresses.len() < ADDRESSES_PER_HOST_MAX {
            let pair = [v6.next(), v4.next()];
            if pair == [None, None] {
                break;
            }
            addresses.extend(pair.into_iter().flatten());
        }
        Ok(addresses)
    }

    async fn look_up(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, ResolveError> {
        let error = |kind, reason: &dyn fmt::Display| ResolveError {
            kind,
            name: name.to_owned(),
            reason: reason.to_string(),
        };
        let mut question = Name::from_ascii(name)
            .map_err(|reason| error(ResolveErrorKind::NoSuchDomain, &reason))?;
        question.set_fqdn(true);
        match self.0.lookup(question, kind).await {
            // CNAME records may stand in front of what was asked for.
            Ok(lookup) => {
                let wanted = lookup.answers().iter().filter(|r| r.record_type() == kind);
                let data: Vec<RData> = wanted.map(|record| record.data.clone()).collect();
                if data.is_empty() {
                    let reason = format!("it has no {kind} record");
                    return Err(error(ResolveErrorKind::NoData, &reason));
                }
                Ok(data)
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. }))) => {
                Err(match response_code {
                    ResponseCode::NXDomain => {
                        error(ResolveErrorKind::NoSuchDomain, &"there is no such name in DNS")
                    }
                    ResponseCode::NoError => {
                        error(ResolveErrorKind::NoData, &format!("it has no {kind} record"))
                    }
                    other => error(ResolveErrorKind::Temporary, &other),
                })
            }
            Err(other) => Err(error(ResolveErrorKind::Temporary, &other)),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// The name as ASCII in lower case, without the dot at its end: empty for the root.
fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// An MX record (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxHost {
    /// Lower comes first.
    pub preference: u16,
    /// The host; empty in a null MX (RFC 7505).
    pub name: String,
}

/// The resolver's own configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[error("no resolver can be made from the configured name servers: {0}")]
pub struct ResolverConfigError(#[source] NetError);

/// DNS did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("look-up of {name} failed: {reason}")]
pub struct ResolveError {
    /// What that means.
    pub kind: ResolveErrorKind,
    /// What was asked for.
    pub name: String,
    /// What happened.
    pub reason: String,
}

/// What a failed look-up means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveErrorKind {
    /// DNS knows for sure that the name does not exist.
    NoSuchDomain,
    /// The name exists, without a record of this type.
    NoData,
    /// Nobody knows: a server failed, or did not answer.
    Temporary,
}

impl ResolveErrorKind {
    /// What to tell of a mail that cannot go on because of it: 5.1.2, 5.4.4 or 4.4.3 (RFC 3463 §3.2, §3.5).
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::NoSuchDomain => Status::permanent(1, 2),
            Self::NoData => Status::permanent(4, 4),
            Self::Temporary => Status::transient(4, 3),
        }
    }
}
