//! One mail to one destination: host after host, until every recipient has its outcome.

use std::{net::IpAddr, path::Path, sync::Arc};

use futures_util::future::join_all;
use hedwig_envelope::{Content, Envelope, Outcome};
use hedwig_smtp::client::{Connection, ConnectionError, Phase, SendError};

use crate::{
    MxHost, MxOptions, Resolver, TlsPolicy,
    connect::{ConnectError, Connector, Endpoint, Place},
    hosts,
    policy::MxWay,
    pool::{Pool, Pooled},
    sts::Policies,
    transaction::{Transaction, Weight},
    word,
};

/// What deliveries share.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) resolver: Resolver,
    pub(crate) options: Arc<MxOptions>,
    pub(crate) connector: Connector,
    pub(crate) pool: Arc<Pool>,
    /// The MTA-STS policies of domains, if they are followed.
    pub(crate) policies: Option<Policies>,
    /// All our names, as DNS spells them.
    pub(crate) own_names: Vec<String>,
}

impl Deliverer {
    /// To the mail exchangers of a domain.
    pub(crate) async fn to_mx(&self, domain: &str, mut mail: Transaction) -> Vec<Outcome> {
        let found =
            hosts::of_domain(&self.resolver, domain, &self.own_names, self.options.hosts_max).await;
        let exchangers = match found {
            Ok(exchangers) => exchangers,
            Err(outcome) => return mail.finish(|| outcome.unreached()),
        };
        for equals in exchangers.hosts.chunk_by(|a, b| a.preference == b.preference) {
            let secure = exchangers.secure;
            if self.to_equals(domain, equals, secure, &mut mail).await.is_err() || !mail.is_open() {
                break;
            }
        }
        mail.finish(|| word::loops_back(domain))
    }

    /// To hosts of one preference. `Err` when one of them is ourselves: then nobody else may be tried.
    async fn to_equals(
        &self,
        domain: &str,
        equals: &[MxHost],
        secure: bool,
        mail: &mut Transaction,
    ) -> Result<(), IsUs> {
        let addresses = equals.iter().map(|host| self.resolver.addresses(&host.name));
        let addresses = join_all(addresses).await;
        let mut found = addresses.iter().flatten().flat_map(|found| &found.value);
        if found.any(|address| self.is_us(*address)) {
            return Err(IsUs);
        }
        for (host, addresses) in equals.iter().zip(addresses) {
            match addresses {
                Ok(addresses) => {
                    let way = MxWay { domain, host: &host.name, addresses: &addresses, secure };
                    match self.tls_of(way, &mail.tls).await {
                        Ok(tls) => {
                            self.to_addresses(&host.name, &addresses.value, tls, mail).await?;
                        }
                        Err(outcome) => mail.note(outcome.unreached()),
                    }
                }
                // The implicit MX has no other name than the domain's.
                Err(error) if host.name == domain => {
                    mail.note(word::of_resolve_error(&error, domain).unreached());
                }
                Err(error) => mail.note(word::of_host_error(&error).unreached()),
            }
            if !mail.is_open() {
                break;
            }
        }
        Ok(())
    }

    /// To the host of an address literal.
    pub(crate) async fn to_literal(&self, address: IpAddr, mut mail: Transaction) -> Vec<Outcome> {
        let host = format!("[{address}]");
        if !self.is_us(address) {
            // That it is us, if it is, is what `finish` says without another reason.
            let tls = mail.tls.clone();
            let _ = self.to_addresses(&host, &[address], tls, &mut mail).await;
        }
        mail.finish(|| word::loops_back(&host))
    }

    /// To a server that a route names.
    pub(crate) async fn to_host(
        &self,
        host: &str,
        port: u16,
        lmtp: bool,
        mut mail: Transaction,
    ) -> Vec<Outcome> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.resolver.addresses(host).await.map(|found| found.value),
        };
        match addresses {
            // A route is an operator's word, and its mistakes are mended: nothing is final here.
            Err(error) => mail.note(word::of_route_error(&error).unreached()),
            Ok(addresses) => {
                for address in addresses {
                    let endpoint = Endpoint {
                        host: host.to_owned(),
                        place: Place::Tcp((address, port).into()),
                        lmtp,
                        tls: mail.tls.clone(),
                        found_in_dns: false,
                    };
                    if self.to_endpoint(&endpoint, &mut mail).await.is_err() || !mail.is_open() {
                        break;
                    }
                }
            }
        }
        mail.finish(|| word::loops_back(host))
    }

    /// To the LMTP server behind a Unix socket.
    pub(crate) async fn to_unix(&self, path: &Path, mut mail: Transaction) -> Vec<Outcome> {
        // Nobody listens on the way within a host: the socket is as good as TLS.
        let endpoint = Endpoint {
            host: "localhost".into(),
            place: Place::Unix(path.to_owned()),
            lmtp: true,
            tls: TlsPolicy::Never,
            found_in_dns: false,
        };
        let _ = self.to_endpoint(&endpoint, &mut mail).await;
        mail.finish(|| word::loops_back("localhost"))
    }

    async fn to_addresses(
        &self,
        host: &str,
        addresses: &[IpAddr],
        tls: TlsPolicy,
        mail: &mut Transaction,
    ) -> Result<(), IsUs> {
        for address in addresses {
            let endpoint = Endpoint {
                host: host.to_owned(),
                place: Place::Tcp((*address, self.options.mx_port).into()),
                lmtp: false,
                tls: tls.clone(),
                found_in_dns: true,
            };
            self.to_endpoint(&endpoint, mail).await?;
            if !mail.is_open() {
                break;
            }
        }
        Ok(())
    }

    /// Offers the mail to one server, and takes down what became of it.
    async fn to_endpoint(&self, endpoint: &Endpoint, mail: &mut Transaction) -> Result<(), IsUs> {
        if mail.addresses_left == 0 {
            return Ok(());
        }
        mail.addresses_left -= 1;
        let (envelope, places) = mail.open_envelope();
        let sent = self.send(endpoint, &envelope, &mail.content).await;
        let requires_tls = envelope.parameters.require_tls;
        drop(envelope);
        match sent {
            Ok(outcomes) => {
                for (place, outcome) in places.into_iter().zip(outcomes) {
                    if outcome.answer().reply.code() == SERVICE_NOT_AVAILABLE {
                        mail.note(outcome);
                    } else {
                        mail.outcomes[place] = Some(outcome);
                    }
                }
            }
            Err(Failure::IsUs) => return Err(IsUs),
            Err(Failure::NoWay(outcome)) => mail.weigh(Weight::NoWay, outcome.unreached()),
            Err(Failure::NoConnection(outcome)) => {
                tracing::debug!(host = endpoint.host, reply = %outcome.answer().reply, "next host");
                // Any other mail would have met the same, unless it asked for less.
                mail.note(if requires_tls { *outcome } else { outcome.unreached() });
            }
            Err(Failure::Broken(broken)) => {
                for (place, outcome) in places.into_iter().zip(broken.outcomes) {
                    // After the final dot another server might make a second copy (RFC 1047).
                    if broken.ambiguous || !word::is_transient(&outcome) {
                        mail.outcomes[place] = Some(outcome);
                    } else {
                        mail.note(outcome);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends over a waiting connection or a new one. A waiting one that has died is replaced: the server had
    /// closed it before it saw anything of this mail.
    async fn send(
        &self,
        endpoint: &Endpoint,
        envelope: &Envelope,
        content: &Content,
    ) -> Result<Vec<Outcome>, Failure> {
        while let Some(Pooled { mut connection, mails }) = self.pool.take(endpoint) {
            if !connection.is_alive().await {
                continue;
            }
            match connection.send(envelope, content).await {
                Ok(outcomes) if connection.is_open() || !all_not_available(&outcomes) => {
                    self.pool.put(endpoint, Pooled { connection, mails: mails + 1 });
                    return Ok(outcomes);
                }
                Err(error) if !is_unheard(&error) => return Err(Failure::broken(error)),
                _ => self.pool.forget(endpoint),
            }
        }
        let mut connection: Connection = self.connector.connect(endpoint).await?;
        let sent = connection.send(envelope, content).await;
        self.pool.put(endpoint, Pooled { connection, mails: 1 });
        sent.map_err(Failure::broken)
    }

    /// Whether mail to this address would come back to us.
    fn is_us(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let of_this_host = address.is_loopback() || address.is_unspecified();
        self.options.own_addresses.iter().any(|own| own.to_canonical() == address)
            || (of_this_host && !self.options.allow_loopback)
    }
}

/// The code of a server that closes the connection (RFC 5321 §3.8).
const SERVICE_NOT_AVAILABLE: u16 = 421;

struct IsUs;

enum Failure {
    IsUs,
    NoWay(Box<Outcome>),
    NoConnection(Box<Outcome>),
    Broken(Box<SendError>),
}

impl Failure {
    fn broken(error: SendError) -> Self {
        Self::Broken(Box::new(error))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::IsUs => Self::IsUs,
            ConnectError::NoWay(outcome) => Self::NoWay(outcome),
            ConnectError::Failed(outcome) => Self::NoConnection(outcome),
        }
    }
}

/// Whether the server was gone, or was just going, before it looked at the mail.
fn is_unheard(error: &SendError) -> bool {
    let phase = match &error.error {
        ConnectionError::Closed { phase } | ConnectionError::Io { phase, .. } => phase,
        ConnectionError::Refused { phase, reply } if reply.code() == SERVICE_NOT_AVAILABLE => phase,
        _ => return false,
    };
    matches!(phase, Phase::Mail | Phase::Reset | Phase::Idle) && !error.ambiguous
}

fn all_not_available(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.answer().reply.code() == SERVICE_NOT_AVAILABLE)
}
