//! One mail to one destination: host after host, until every recipient has its outcome.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
};

use futures_util::future::join_all;
use hedwig_envelope::{Envelope, Outcome};

use crate::{
    MxHost, MxOptions, Resolver, Source, TlsPolicy,
    attempt::{Failure, IsUs, all_not_available, is_unheard, take_down},
    connect::{ConnectError, Connected, Connector, Endpoint, Place, Socket},
    contacts::Contacts,
    destination::Scheme,
    hosts,
    policy::{Chosen, Forbidden, Way},
    pool::{Pool, Pooled},
    race::race,
    source,
    sts::Policies,
    transaction::Transaction,
    word,
};

/// What deliveries share.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) resolver: Resolver,
    pub(crate) options: Arc<MxOptions>,
    pub(crate) connector: Connector,
    pub(crate) pool: Arc<Pool>,
    /// How servers fared when they were last tried.
    pub(crate) contacts: Contacts,
    /// The places at sources that have a most.
    pub(crate) source_places: source::Places,
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
                    let (host, port) = (host.name.as_str(), self.options.mx_port);
                    let addresses = &addresses;
                    let way = Way { domain, host, port, addresses, secure, exchanger: true };
                    match self.tls_of(way, mail.wishes).await {
                        Ok(chosen) => {
                            self.to_addresses(host, &addresses.value, &chosen, mail).await?;
                        }
                        Err(forbidden) => self.forbid(host, *forbidden, mail),
                    }
                }
                // The implicit MX has no other name than the domain's.
                Err(error) if host.name == domain => {
                    mail.note_no_address(word::of_resolve_error(&error, domain).unreached());
                }
                Err(error) => mail.note_no_address(word::of_host_error(&error).unreached()),
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
            let chosen = self.tls_of_address(&host, mail.wishes);
            let _ = self.to_addresses(&host, &[address], &chosen, &mut mail).await;
        }
        mail.finish(|| word::loops_back(&host))
    }

    /// To a server that a route names.
    pub(crate) async fn to_host(
        &self,
        host: &str,
        port: u16,
        scheme: Scheme,
        mut mail: Transaction,
    ) -> Vec<Outcome> {
        let (chosen, addresses) = match host.parse::<IpAddr>() {
            Ok(address) => (self.tls_of_address(host, mail.wishes), vec![address]),
            Err(_) => match self.resolver.addresses(host).await {
                Ok(found) => {
                    let way = Way {
                        domain: host,
                        host,
                        port,
                        addresses: &found,
                        // A route is an operator's word: nobody else chose the host.
                        secure: true,
                        exchanger: false,
                    };
                    match self.tls_of(way, mail.wishes).await {
                        Ok(chosen) => (chosen, found.value),
                        Err(forbidden) => {
                            self.forbid(host, *forbidden, &mut mail);
                            return mail.finish(|| word::loops_back(host));
                        }
                    }
                }
                // Its mistakes are mended: nothing is final here.
                Err(error) => {
                    mail.note(word::of_route_error(&error).unreached());
                    return mail.finish(|| word::loops_back(host));
                }
            },
        };
        let chosen = self.on_route(host, scheme, chosen);
        let source_for = self.choose_sources();
        let endpoint = |address: IpAddr| Endpoint {
            host: host.to_owned(),
            place: Place::Tcp((address, port).into()),
            source: source_for(address),
            scheme,
            tls: chosen.tls.clone(),
            found_in_dns: false,
        };
        let endpoints = addresses.into_iter().map(endpoint).collect();
        let _ = self.to_endpoints(endpoints, &chosen, &mut mail).await;
        mail.finish(|| word::loops_back(host))
    }

    /// Takes down why a server must not be used.
    fn forbid(&self, host: &str, forbidden: Forbidden, mail: &mut Transaction) {
        if let Some(report) = forbidden.report {
            self.observe(host, None, None, &report, None);
        }
        let outcome = word::with_policy(forbidden.outcome, &forbidden.told);
        mail.note(if mail.wishes.required { outcome } else { outcome.unreached() });
    }

    /// To the LMTP server behind a Unix socket.
    pub(crate) async fn to_unix(&self, path: &Path, mut mail: Transaction) -> Vec<Outcome> {
        // Nobody listens on the way within a host: the socket is as good as TLS.
        let chosen = Chosen { tls: TlsPolicy::Never, told: "on this host".into(), report: None };
        let endpoint = Endpoint {
            host: "localhost".into(),
            place: Place::Unix(path.to_owned()),
            source: None,
            scheme: Scheme::Lmtp,
            tls: TlsPolicy::Never,
            found_in_dns: false,
        };
        let _ = self.to_endpoint(&endpoint, None, &chosen, &mut mail).await;
        mail.finish(|| word::loops_back("localhost"))
    }

    async fn to_addresses(
        &self,
        host: &str,
        addresses: &[IpAddr],
        chosen: &Chosen,
        mail: &mut Transaction,
    ) -> Result<(), IsUs> {
        let source_for = self.choose_sources();
        let endpoint = |address: &IpAddr| Endpoint {
            host: host.to_owned(),
            place: Place::Tcp((*address, self.options.mx_port).into()),
            source: source_for(*address),
            scheme: Scheme::Smtp,
            tls: chosen.tls.clone(),
            found_in_dns: true,
        };
        self.to_endpoints(addresses.iter().map(endpoint).collect(), chosen, mail).await
    }

    /// Offers the mail to the addresses of one host, until one takes it: where a connection waits, then where
    /// one comes about first.
    async fn to_endpoints(
        &self,
        mut left: Vec<Endpoint>,
        chosen: &Chosen,
        mail: &mut Transaction,
    ) -> Result<(), IsUs> {
        let sources = left.iter().filter_map(|endpoint| endpoint.source.as_ref());
        let _places = self.source_places.take(sources).await;
        loop {
            left.truncate(mail.addresses_left);
            if left.is_empty() || !mail.is_open() {
                return Ok(());
            }
            if let Some(place) = left.iter().position(|endpoint| self.pool.has(endpoint)) {
                self.to_endpoint(&left.remove(place), None, chosen, mail).await?;
                continue;
            }
            let raced = race(0..left.len(), |place| self.connector.open(&left[place])).await;
            let mut done: Vec<usize> = Vec::with_capacity(left.len());
            for (place, error) in raced.fallen {
                mail.addresses_left -= 1;
                let sent = Err(error.into());
                self.contacts.note(&left[place], &sent);
                take_down(sent, Vec::new(), &left[place], chosen, mail)?;
                done.push(place);
            }
            if let Some((place, socket)) = raced.winner {
                self.to_endpoint(&left[place], Some(socket), chosen, mail).await?;
                done.push(place);
            }
            let mut place = 0..;
            left.retain(|_| place.next().is_none_or(|place| !done.contains(&place)));
        }
    }

    /// Offers the mail to one server, and takes down what became of it.
    async fn to_endpoint(
        &self,
        endpoint: &Endpoint,
        socket: Option<Socket>,
        chosen: &Chosen,
        mail: &mut Transaction,
    ) -> Result<(), IsUs> {
        mail.addresses_left = mail.addresses_left.saturating_sub(1);
        mail.transcript.note(format_args!("{endpoint}; TLS: {}", chosen.told));
        let (envelope, places) = mail.open_envelope();
        let sent = self.send(endpoint, socket, chosen, &envelope, mail).await;
        drop(envelope);
        self.contacts.note(endpoint, &sent);
        take_down(sent, places, endpoint, chosen, mail)
    }

    /// Sends over a waiting connection or a new one. A waiting one that has died is replaced: the server had
    /// closed it before it saw anything of this mail. Over `socket`, if it was opened already.
    async fn send(
        &self,
        endpoint: &Endpoint,
        socket: Option<Socket>,
        chosen: &Chosen,
        envelope: &Envelope,
        mail: &Transaction,
    ) -> Result<Vec<Outcome>, Failure> {
        let (content, transcript) = (&mail.content, &mail.transcript);
        let requires_tls = envelope.parameters.require_tls;
        while socket.is_none()
            && let Some(Pooled { mut connection, mails }) = self.pool.take(endpoint)
        {
            if !connection.is_alive().await {
                continue;
            }
            if requires_tls && !connection.capabilities().require_tls {
                self.pool.put(endpoint, Pooled { connection, mails });
                return Err(Failure::requiretls_needed(endpoint));
            }
            transcript.note(format_args!("over a connection that carried {mails} before"));
            connection.record(Some(transcript.clone()));
            match connection.send(envelope, content).await {
                Ok(outcomes) if connection.is_open() || !all_not_available(&outcomes) => {
                    self.pool.put(endpoint, Pooled { connection, mails: mails + 1 });
                    return Ok(outcomes);
                }
                Err(error) if !is_unheard(&error) => return Err(Failure::broken(error)),
                _ => self.pool.forget(endpoint),
            }
        }
        let connected = self.connect(endpoint, socket, chosen, mail).await?;
        let mut connection = connected.connection;
        if requires_tls && !connection.capabilities().require_tls {
            self.pool.put(endpoint, Pooled { connection, mails: 0 });
            return Err(Failure::requiretls_needed(endpoint));
        }
        let sent = connection.send(envelope, content).await;
        self.pool.put(endpoint, Pooled { connection, mails: 1 });
        sent.map_err(Failure::broken)
    }

    /// A new connection, whose TLS is reported.
    async fn connect(
        &self,
        endpoint: &Endpoint,
        socket: Option<Socket>,
        chosen: &Chosen,
        mail: &Transaction,
    ) -> Result<Connected, Failure> {
        let connected = self.connector.connect(endpoint, socket, &mail.transcript).await;
        let (source, failure) = match &connected {
            Ok(connected) => (connected.source, connected.failure.as_ref()),
            Err(ConnectError::Insecure(_, failure, source)) => (*source, Some(failure)),
            Err(_) => return Ok(connected?),
        };
        if let Some(report) = &chosen.report {
            self.observe(&endpoint.host, endpoint.address(), source, report, failure);
        }
        connected.map_err(|error| match error {
            ConnectError::Insecure(outcome, failure, _)
                if mail.wishes.required && failure.is_unfit() =>
            {
                Failure::NoConnection(Box::new(word::encryption_needed(&outcome)))
            }
            other => other.into(),
        })
    }

    /// The source for the addresses of each family, one for all of a host's: a mail then counts at one.
    fn choose_sources(&self) -> impl Fn(IpAddr) -> Option<Source> + use<> {
        let choose =
            |to: IpAddr| source::choose(&self.options.sources, &self.source_places, to).cloned();
        let four = choose(Ipv4Addr::UNSPECIFIED.into());
        let six = choose(Ipv6Addr::UNSPECIFIED.into());
        move |to| if to.is_ipv4() { four.clone() } else { six.clone() }
    }

    /// Whether mail to this address would come back to us.
    pub(crate) fn is_us(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let of_this_host = address.is_loopback() || address.is_unspecified();
        self.options.own_addresses.iter().any(|own| own.to_canonical() == address)
            || self.options.sources.iter().any(|own| own.address == address)
            || (of_this_host && !self.options.allow_loopback)
    }
}
