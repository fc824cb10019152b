//! A name server on loopback, with a zone that a test writes in a few words.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
};
use hickory_server::{
    Server,
    net::runtime::Time,
    proto::{
        op::{Header, HeaderCounts, MessageType, Metadata, ResponseCode},
        rr::{
            LowerName, Name, RData, Record, RecordType,
            rdata::{A, AAAA, CNAME, MX, SOA, TLSA, TXT},
        },
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};

use crate::{
    Result,
    zone::{Zone, Zones},
};

/// How long a resolver may keep what it was told, in seconds: not long, so that a test can change it.
pub(crate) const TTL_SECONDS: u32 = 1;
/// A TXT record's strings hold at most 255 octets each (RFC 1035 §3.3).
const TXT_STRING_BYTES_MAX: usize = 255;

/// What goes wrong when a name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server answers SERVFAIL.
    ServerFailure,
    /// The server never answers.
    Silence,
}

/// How a domain below a signed root is cut off from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delegation {
    /// The root says that the domain is not signed.
    Unsigned,
    /// The domain is signed, with another key than the root says.
    Bogus,
}

/// A name server that knows every name the test told it, and no other: the rest is NXDOMAIN.
///
/// It has one zone, the root, and a zone for each domain that is [delegated](Self::delegate).
///
/// It answers over UDP and TCP on one port of 127.0.0.1 until it is dropped. Records may be added
/// and removed while it runs.
pub struct Dns {
    address: SocketAddr,
    zones: Arc<Zones>,
    notes: Arc<Notes>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Notes {
    faults: Mutex<HashMap<LowerName, Fault>>,
    questions: Mutex<Vec<(String, RecordType)>>,
}

impl Dns {
    /// Starts a name server with an empty zone.
    ///
    /// # Errors
    /// When no port is free for UDP and TCP both.
    pub async fn start() -> Result<Self> {
        Self::serve(Zone::new(Name::root(), false).await?).await
    }

    /// Starts a name server with an empty zone that is signed (RFC 4035 §2).
    ///
    /// # Errors
    /// When no port is free for UDP and TCP both.
    pub async fn start_signed() -> Result<Self> {
        Self::serve(Zone::new(Name::root(), true).await?).await
    }

    async fn serve(root: Zone) -> Result<Self> {
        let (udp, tcp) = bind().await?;
        let address = udp.local_addr()?;
        let zones = Arc::new(Zones::new(root));
        let notes = Arc::new(Notes::default());
        let handler = Handler { zones: Arc::clone(&zones), notes: Arc::clone(&notes) };
        let mut server = Server::new(handler);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(10), 4096);
        let server = tokio::spawn(async move {
            if let Err(error) = server.block_until_done().await {
                eprintln!("the lab's name server stopped: {error}");
            }
        });
        Ok(Self { address, zones, notes, server })
    }

    /// Where it answers, over UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A resolver that asks this server and nobody else.
    ///
    /// # Errors
    /// When the resolver cannot be built.
    pub fn resolver(&self) -> Result<TokioResolver> {
        let mut server = NameServerConfig::udp_and_tcp(self.address.ip());
        for connection in &mut server.connections {
            connection.port = self.address.port();
        }
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let provider = hickory_resolver::net::runtime::TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = Duration::from_millis(500);
        options.attempts = 0;
        Ok(builder.build()?)
    }

    /// The key of the root, as a DNSKEY record in a zone file's notation; `None` without signatures.
    #[must_use]
    pub fn trust_anchor(&self) -> Option<String> {
        self.zones.trust_anchor()
    }

    /// Makes `domain` a zone of its own, which the signed root does not vouch for. It has no records yet.
    ///
    /// # Panics
    /// When the zone cannot be made.
    pub async fn delegate(&self, domain: &str, delegation: Delegation) -> &Self {
        let made = self.zones.delegate(name(domain), delegation == Delegation::Bogus).await;
        made.expect("the zones can be signed");
        self
    }

    /// `domain` has a mail server of this name, with this preference.
    pub async fn mx(&self, domain: &str, preference: u16, exchange: &str) -> &Self {
        self.add(domain, RData::MX(MX::new(preference, name(exchange)))).await
    }

    /// `domain` takes no mail (RFC 7505).
    pub async fn null_mx(&self, domain: &str) -> &Self {
        self.add(domain, RData::MX(MX::new(0, Name::root()))).await
    }

    /// `host` has this address.
    pub async fn address_of(&self, host: &str, address: impl Into<IpAddr>) -> &Self {
        let data = match address.into() {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        self.add(host, data).await
    }

    /// `alias` is another name of `canonical`.
    pub async fn cname(&self, alias: &str, canonical: &str) -> &Self {
        self.add(alias, RData::CNAME(CNAME(name(canonical)))).await
    }

    /// `host` has this text, cut into strings where it is long.
    pub async fn txt(&self, host: &str, text: &str) -> &Self {
        let strings = text
            .as_bytes()
            .chunks(TXT_STRING_BYTES_MAX)
            .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
            .collect();
        self.add(host, RData::TXT(TXT::new(strings))).await
    }

    /// `domain` has one mail server, `mx.domain`, at this address.
    pub async fn mail_domain(&self, domain: &str, address: impl Into<IpAddr>) -> &Self {
        let exchange = format!("mx.{domain}");
        self.mx(domain, 10, &exchange).await.address_of(&exchange, address).await
    }

    /// The server at this port of `host` has a certificate of this description (RFC 6698 §2.1): usage,
    /// selector, matching type, and what is to match.
    pub async fn tlsa(&self, host: &str, port: u16, kind: (u8, u8, u8), data: &[u8]) -> &Self {
        let (usage, selector, matching) = kind;
        let tlsa = TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec());
        self.add(&format!("_{port}._tcp.{host}"), RData::TLSA(tlsa)).await
    }

    /// Any record.
    ///
    /// # Panics
    /// When the zone cannot be signed.
    pub async fn add(&self, owner: &str, data: RData) -> &Self {
        let done = self.zones.add(name(owner), data).await;
        done.expect("the zone can be signed");
        self
    }

    /// Forgets the records of one type that a name has.
    ///
    /// # Panics
    /// When the zone cannot be signed.
    pub async fn remove(&self, owner: &str, record_type: RecordType) -> &Self {
        let done = self.zones.remove(name(owner), record_type).await;
        done.expect("the zone can be signed");
        self
    }

    /// Whoever asks for this name, whatever the type, meets this fault.
    pub fn break_name(&self, owner: &str, fault: Fault) -> &Self {
        lock(&self.notes.faults).insert(name(owner).into(), fault);
        self
    }

    /// The name is answered for again.
    pub fn mend_name(&self, owner: &str) -> &Self {
        lock(&self.notes.faults).remove(&LowerName::from(name(owner)));
        self
    }

    /// The questions asked so far: names without the dot at the end, in lower case.
    #[must_use]
    pub fn questions(&self) -> Vec<(String, RecordType)> {
        lock(&self.notes.questions).clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// UDP and TCP on one port. The second may be taken by a stranger: then another pair is tried.
async fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = 0;
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if attempts == 16 => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

/// # Panics
/// On a text that is no name: tests write names by hand.
pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_utf8(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    name.set_fqdn(true);
    name
}

pub(crate) fn start_of_authority(origin: Name) -> Record {
    let seconds = i32::try_from(TTL_SECONDS).unwrap_or(1);
    let host = name("ns.lab");
    let soa = SOA::new(host.clone(), host, 1, seconds, seconds, seconds, TTL_SECONDS);
    Record::from_rdata(origin, TTL_SECONDS, RData::SOA(soa))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Handler {
    zones: Arc<Zones>,
    notes: Arc<Notes>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response_handle: R,
    ) -> ResponseInfo {
        let fault = request.request_info().ok().and_then(|info| {
            let asked = info.query.name();
            let text = Name::from(asked).to_utf8();
            let question = (text.trim_end_matches('.').to_owned(), info.query.query_type());
            lock(&self.notes.questions).push(question);
            lock(&self.notes.faults).get(asked).copied()
        });
        match fault {
            None => {
                let record_type = request.request_info().ok().map(|info| info.query.query_type());
                let catalog = self.zones.catalog(record_type).await;
                catalog.handle_request::<R, T>(request, response_handle).await
            }
            Some(Fault::ServerFailure) => refuse(request, response_handle).await,
            Some(Fault::Silence) => response_info(request),
        }
    }
}

async fn refuse(request: &Request, mut response_handle: impl ResponseHandler) -> ResponseInfo {
    let response = MessageResponseBuilder::from_message_request(request)
        .error_msg(&request.metadata, ResponseCode::ServFail);
    match response_handle.send_response(response).await {
        Ok(info) => info,
        Err(_) => response_info(request),
    }
}

fn response_info(request: &Request) -> ResponseInfo {
    let mut metadata =
        Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    metadata.response_code = ResponseCode::ServFail;
    Header { metadata, counts: HeaderCounts::default() }.into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[tokio::test]
    async fn a_resolver_finds_what_the_test_wrote() {
        let dns = Dns::start().await.unwrap();
        dns.mx("example.com", 10, "a.example.com").await;
        dns.mx("example.com", 20, "b.example.com").await;
        dns.address_of("a.example.com", [127, 0, 0, 2]).await;
        dns.address_of("a.example.com", Ipv6Addr::LOCALHOST).await;
        dns.txt("k._domainkey.example.com", &"x".repeat(300)).await;
        let resolver = dns.resolver().unwrap();
        let mx = resolver.mx_lookup("example.com.").await.unwrap();
        assert_eq!(mx.answers().len(), 2);
        let addresses: Vec<IpAddr> =
            resolver.lookup_ip("a.example.com.").await.unwrap().iter().collect();
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 2])));
        let txt = resolver.txt_lookup("k._domainkey.example.com.").await.unwrap();
        let RData::TXT(txt) = &txt.answers()[0].data else { panic!("no TXT") };
        assert_eq!(txt.txt_data.concat().len(), 300);
        assert!(dns.questions().contains(&("example.com".to_owned(), RecordType::MX)));
    }

    #[tokio::test]
    async fn what_was_not_written_does_not_exist() {
        let dns = Dns::start().await.unwrap();
        let error = dns.resolver().unwrap().mx_lookup("example.com.").await.unwrap_err();
        assert!(error.is_nx_domain(), "{error}");
    }

    #[tokio::test]
    async fn a_broken_name_fails_until_it_is_mended() {
        let dns = Dns::start().await.unwrap();
        dns.mail_domain("example.com", [127, 0, 0, 2]).await;
        for fault in [Fault::ServerFailure, Fault::Silence] {
            dns.break_name("example.com", fault);
            let error = dns.resolver().unwrap().mx_lookup("example.com.").await.unwrap_err();
            assert!(!error.is_no_records_found(), "{error}");
        }
        dns.mend_name("example.com");
        dns.resolver().unwrap().mx_lookup("example.com.").await.unwrap();
        dns.remove("example.com", RecordType::MX).await;
        assert!(dns.resolver().unwrap().mx_lookup("example.com.").await.is_err());
    }
}
