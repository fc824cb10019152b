use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use futures_util::future::{join, join_all};
use hedwig_envelope::{Address, Content, Envelope};
use tokio::time::{Instant, timeout_at};

use super::{
    ExplainedAddress, ExplainedRoute, ExplainedServer, ExplainedSource, ExplainedTls, Explanation,
};
use crate::{
    DnssecSupport, Mx, MxHost, TlsPolicy,
    deliver::Deliverer,
    destination::{Destination, Scheme},
    hosts,
    policy::{Chosen, Way, Wishes},
};

/// How long is waited for answers, in all.
const TIME_MAX: Duration = Duration::from_secs(8);

impl Mx {
    /// How a mail to this address would go now, and why. `mail` is the mail that it is about, which may ask
    /// something of TLS.
    ///
    /// It asks DNS and the web server of an MTA-STS policy, as a delivery does, and takes 8 seconds at the
    /// most; what could not be looked up by then is part of the answer. No server of the destination is spoken to.
    pub async fn explain(
        &self,
        recipient: &Address,
        mail: Option<(&Envelope, &Content)>,
    ) -> Explanation {
        let wishes = mail.map(|(envelope, content)| Wishes::of(envelope, content));
        let wishes = wishes.unwrap_or_default();
        let deliverer = &*self.deliverer;
        let options = &deliverer.options;
        let deadline = Instant::now() + TIME_MAX;
        let destination = Destination::of(recipient, &options.routes);
        let domain = domain_of(recipient);
        let (rule, target) = options.routes.rule(&domain);
        let mut explanation = Explanation {
            route: ExplainedRoute {
                rule: rule.map(ToString::to_string),
                target: target.to_string(),
            },
            domain,
            vouched_for: None,
            dnssec: String::new(),
            servers: Vec::new(),
            answer: None,
            hello_name: options.hello_name.clone(),
            connections: self.connections(&destination),
        };
        let dnssec = dnssec(&deliverer.resolver, deadline);
        let servers = deliverer.explain_to(&destination, wishes, deadline, &mut explanation);
        let (dnssec, ()) = join(dnssec, servers).await;
        explanation.dnssec = dnssec;
        explanation
    }
}

impl Deliverer {
    async fn explain_to(
        &self,
        destination: &Destination,
        wishes: Wishes,
        deadline: Instant,
        explanation: &mut Explanation,
    ) {
        match destination {
            Destination::Answer(reply) => explanation.answer = Some(reply.to_string()),
            Destination::Maildir(path) => {
                explanation.answer = Some(format!("put into the Maildir {}", path.display()));
            }
            Destination::Mx(domain) => {
                self.explain_mx(domain, wishes, deadline, explanation).await;
            }
            Destination::Literal(address) => {
                explanation.servers = vec![self.explain_literal(*address, wishes)];
            }
            Destination::LmtpUnix(path) => explanation.servers = vec![of_socket(path)],
            Destination::Host { host, port, scheme } => {
                let server = in_time(server_of(host, *scheme), deadline, async |server| {
                    self.explain_host(host, *port, *scheme, wishes, server).await;
                });
                explanation.servers = vec![server.await];
            }
        }
    }

    async fn explain_mx(
        &self,
        domain: &str,
        wishes: Wishes,
        deadline: Instant,
        explanation: &mut Explanation,
    ) {
        let options = &self.options;
        let found = hosts::of_domain(&self.resolver, domain, &self.own_names, options.hosts_max);
        let exchangers = match timeout_at(deadline, found).await {
            Ok(Ok(exchangers)) => exchangers,
            Ok(Err(outcome)) => {
                explanation.answer = Some(outcome.answer().reply.to_string());
                return;
            }
            Err(_) => {
                let seconds = TIME_MAX.as_secs();
                explanation.answer = Some(format!(
                    "not known: DNS gave no answer for {domain} within {seconds} seconds. A mail would wait for its \
                     servers, whichever they are"
                ));
                return;
            }
        };
        explanation.vouched_for = Some(exchangers.secure);
        let servers = exchangers.hosts.iter().map(async |host| {
            let server = ExplainedServer {
                preference: Some(host.preference),
                ..server_of(&host.name, Scheme::Smtp)
            };
            in_time(server, deadline, async |server| {
                self.explain_exchanger(domain, host, exchangers.secure, wishes, server).await;
            })
            .await
        });
        explanation.servers = join_all(servers).await;
    }

    async fn explain_exchanger(
        &self,
        domain: &str,
        host: &MxHost,
        secure: bool,
        wishes: Wishes,
        server: &mut ExplainedServer,
    ) {
        let addresses = match self.resolver.addresses(&host.name).await {
            Ok(addresses) => addresses,
            Err(error) => {
                server.problem = Some(error.to_string());
                return;
            }
        };
        let port = self.options.mx_port;
        server.addresses = self.addresses(&host.name, &addresses.value, port);
        if let Some(own) = addresses.value.iter().find(|address| self.is_us(**address)) {
            server.problem = Some(format!("{own} is an address of this host"));
            return;
        }
        let host = host.name.as_str();
        let way = Way { domain, host, port, addresses: &addresses, secure, exchanger: true };
        self.explain_tls(server, self.tls_of(way, wishes).await.map_err(|it| *it), |it| it);
        if let (Some(policies), Some(tls)) = (&self.policies, &mut server.tls) {
            tls.mta_sts = policies.explain(domain).await;
        }
    }

    async fn explain_host(
        &self,
        host: &str,
        port: u16,
        scheme: Scheme,
        wishes: Wishes,
        server: &mut ExplainedServer,
    ) {
        let on_route = |chosen| self.on_route(host, scheme, chosen);
        if scheme != Scheme::Lmtp {
            let login = self.options.logins.find(host);
            server.login = login.map(|login| login.user().to_owned());
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            server.addresses = self.addresses(host, &[address], port);
            return self.explain_tls(server, Ok(self.tls_of_address(host, wishes)), on_route);
        }
        match self.resolver.addresses(host).await {
            Ok(found) => {
                server.addresses = self.addresses(host, &found.value, port);
                let way = Way {
                    domain: host,
                    host,
                    port,
                    addresses: &found,
                    secure: true,
                    exchanger: false,
                };
                let chosen = self.tls_of(way, wishes).await.map_err(|it| *it);
                self.explain_tls(server, chosen, on_route);
            }
            Err(error) => server.problem = Some(error.to_string()),
        }
    }

    fn explain_literal(&self, address: IpAddr, wishes: Wishes) -> ExplainedServer {
        let host = format!("[{address}]");
        let mut server = server_of(&host, Scheme::Smtp);
        server.addresses = self.addresses(&host, &[address], self.options.mx_port);
        self.explain_tls(&mut server, Ok(self.tls_of_address(&host, wishes)), |chosen| chosen);
        if self.is_us(address) {
            server.problem = Some(format!("{address} is an address of this host"));
        }
        server
    }

    fn explain_tls(
        &self,
        server: &mut ExplainedServer,
        chosen: Result<Chosen, crate::policy::Forbidden>,
        on_route: impl FnOnce(Chosen) -> Chosen,
    ) {
        server.tls = Some(match chosen.map(on_route) {
            Ok(chosen) => {
                let tlsa = match &chosen.tls {
                    TlsPolicy::Dane(dane) => dane.lines(),
                    _ => Vec::new(),
                };
                let asks = asks(&chosen.tls).to_owned();
                ExplainedTls { policy: chosen.told, asks, tlsa, mta_sts: None }
            }
            Err(forbidden) => {
                server.problem = Some(forbidden.outcome.answer().reply.to_string());
                let asks = "that this server is not used".to_owned();
                ExplainedTls { policy: forbidden.told, asks, tlsa: Vec::new(), mta_sts: None }
            }
        });
    }

    fn addresses(&self, host: &str, addresses: &[IpAddr], port: u16) -> Vec<ExplainedAddress> {
        let addresses = addresses.iter().map(|address| {
            let address = SocketAddr::from((*address, port));
            ExplainedAddress {
                address,
                open_connections: self.pool.waiting(host, address),
                last: self.contacts.find(host, address),
                sources: self.sources(address),
            }
        });
        addresses.collect()
    }

    fn sources(&self, to: SocketAddr) -> Vec<ExplainedSource> {
        let options = &self.options;
        let fits = options.sources.iter().filter(|it| it.address.is_ipv4() == to.is_ipv4());
        let all: u64 = fits.clone().map(|source| u64::from(source.weight)).sum();
        let sources = fits.map(|source| ExplainedSource {
            address: source.address,
            percent: u64::from(source.weight) * 100 / all.max(1),
            at_once_max: source.at_once_max,
            under_way: self.source_places.under_way(source),
            hello_name: source.hello_name.as_ref().unwrap_or(&options.hello_name).clone(),
        });
        sources.collect()
    }
}

/// A server with what could be found out of it in time; and that the rest could not.
async fn in_time(
    mut server: ExplainedServer,
    deadline: Instant,
    find_out: impl AsyncFnOnce(&mut ExplainedServer),
) -> ExplainedServer {
    if timeout_at(deadline, find_out(&mut server)).await.is_err() {
        let unknown = match (&server.addresses[..], &server.tls) {
            ([], _) => "its addresses are not known: DNS gave no answer",
            (_, None) => {
                "what is asked of TLS is not known: DNS, or the web server of an MTA-STS policy, gave no answer"
            }
            (_, Some(_)) => {
                "its domain's MTA-STS policy is not known: its web server gave no answer"
            }
        };
        server.problem = Some(format!("{unknown} within {} seconds", TIME_MAX.as_secs()));
    }
    server
}

async fn dnssec(resolver: &crate::Resolver, deadline: Instant) -> String {
    match timeout_at(deadline, resolver.dnssec()).await {
        Ok(DnssecSupport::Off) => "off".to_owned(),
        Ok(DnssecSupport::Validating) => "validating".to_owned(),
        Ok(DnssecSupport::NotPassed(why)) => format!("not passed on by the name servers: {why}"),
        Ok(DnssecSupport::Unknown(why)) => format!("unknown: {why}"),
        Err(_) => "unknown: no name server answers in time".to_owned(),
    }
}

fn server_of(host: &str, scheme: Scheme) -> ExplainedServer {
    ExplainedServer {
        preference: None,
        scheme: scheme.to_string(),
        host: host.to_owned(),
        addresses: Vec::new(),
        problem: None,
        tls: None,
        login: None,
    }
}

fn of_socket(path: &Path) -> ExplainedServer {
    server_of(&path.display().to_string(), Scheme::Lmtp)
}

/// The domain as routes know it.
fn domain_of(recipient: &Address) -> String {
    let text = recipient.domain_text().unwrap_or_default();
    let literal = text.starts_with('[');
    let name = if literal { None } else { crate::name::to_ascii(text) };
    name.map_or_else(|| text.to_owned(), |name| name.into_owned())
}

fn asks(policy: &TlsPolicy) -> &'static str {
    match policy {
        TlsPolicy::Never => "clear text",
        TlsPolicy::Opportunistic => "TLS where it is offered, with any certificate",
        TlsPolicy::Encrypted => "TLS, with any certificate",
        TlsPolicy::Heard { encrypted: false, .. } => {
            "TLS where it is offered, with any certificate; a wrong one is reported"
        }
        TlsPolicy::Heard { encrypted: true, .. } => {
            "TLS, with any certificate; a wrong one is reported"
        }
        TlsPolicy::Verified(_) => "TLS, with a certificate for the server's name",
        TlsPolicy::Dane(_) => "TLS, with a certificate that the TLSA records stand for",
    }
}
