use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hedwig_smtp::{BoxStream, client::TimeLimits};
use tower::util::BoxCloneSyncService;

use crate::{Authorities, Logins, MtaSts, Routes, Source, TlsLevel, TlsObserver, TlsRules};

/// Makes a connection to an address.
pub type Dialer = BoxCloneSyncService<SocketAddr, BoxStream, io::Error>;

/// How mails are delivered.
#[derive(Clone, Debug)]
pub struct MxOptions {
    /// What we call ourselves with EHLO; best the name that our address has in DNS.
    pub hello_name: String,
    /// Our other names. An MX list that holds one of them, or `hello_name`, ends before it (RFC 5321 §5.1).
    pub own_names: Vec<String>,
    /// Our addresses as others see them, for the same purpose. Those of this host's interfaces are found
    /// out by themselves.
    pub own_addresses: Vec<IpAddr>,
    /// Which domains do not go where their MX records say.
    pub routes: Routes,
    /// As whom we log in at the servers that routes name.
    pub logins: Logins,
    /// The port of mail exchangers: 25, but in a laboratory.
    pub mx_port: u16,
    /// Whether an MX record may lead to this host. Without it such a destination fails with 5.4.6: whoever
    /// writes a zone must not make us talk with ourselves.
    pub allow_loopback: bool,
    /// What is asked of TLS, of all domains and of some.
    pub tls: TlsRules,
    /// Who vouches for the names of servers, where a certificate has to be for one.
    pub authorities: Authorities,
    /// The same for the servers that [routes](crate::Route) name, which an operator may know better than the web does.
    pub route_authorities: Authorities,
    /// Whether a host's TLSA records decide on its certificate (RFC 7672). It takes a resolver that [validates](crate::Resolver::validating).
    pub dane: bool,
    /// How to follow the MTA-STS policies of domains (RFC 8461), where no TLSA records decide; `None` not to.
    pub mta_sts: Option<MtaSts>,
    /// Who is told how TLS went on each connection, for reports (RFC 8460).
    pub tls_observer: Option<Arc<dyn TlsObserver>>,
    /// The addresses that connections come from: for each host that a mail is offered to, one is chosen at random
    /// by its weight, and a connection that waits is used again for a mail that the same source was chosen for.
    /// Where none has the family of the server's address, the system chooses.
    pub sources: Vec<Source>,
    /// What makes connections to addresses in the place of TCP: through a tunnel, say, or within a test's
    /// memory. `None`, and TCP does.
    pub dialer: Option<Dialer>,
    /// How many hosts of one destination are tried for one mail.
    pub hosts_max: usize,
    /// How many addresses of one destination are tried for one mail, over all hosts.
    pub addresses_max: usize,
    /// How many destinations of one mail are worked at the same time.
    pub concurrent_destinations_max: usize,
    /// How many connections to one destination are used at the same time. Domains with the same mail
    /// exchangers are one destination.
    pub connections_per_destination_max: usize,
    /// Whether a mail that finds all of them in use is refused as one too many, untried, rather than made to wait:
    /// for a queue, which has others to send meanwhile.
    pub refuse_crowds: bool,
    /// How many mails go over one connection.
    pub mails_per_connection_max: usize,
    /// How many connections may wait for their next mail, over all destinations.
    pub idle_connections_max: usize,
    /// How long a connection waits for its next mail.
    pub idle_time_max: Duration,
    /// How long a connection may take to come about.
    pub connect_time_max: Duration,
    /// How long to wait for what on a connection (RFC 5321 §4.5.3.2).
    pub time_limits: TimeLimits,
}

impl Default for MxOptions {
    fn default() -> Self {
        let web = Authorities::web();
        Self {
            hello_name: "localhost".into(),
            own_names: Vec::new(),
            own_addresses: Vec::new(),
            routes: Routes::default(),
            logins: Logins::default(),
            mx_port: 25,
            allow_loopback: false,
            tls: TlsLevel::Opportunistic.into(),
            authorities: web.clone(),
            route_authorities: web,
            dane: true,
            mta_sts: None,
            tls_observer: None,
            sources: Vec::new(),
            dialer: None,
            hosts_max: 10,
            addresses_max: 10,
            concurrent_destinations_max: 20,
            connections_per_destination_max: 20,
            refuse_crowds: false,
            mails_per_connection_max: 100,
            idle_connections_max: 200,
            idle_time_max: Duration::from_secs(30),
            connect_time_max: Duration::from_secs(30),
            time_limits: TimeLimits::default(),
        }
    }
}
