use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
};

use hedwig_daemon::{
    Hostname,
    settings::{Reading, Setting},
};
use hedwig_mx::{
    Authorities, HttpsFetcher, HttpsOptions, Keys, Logins, MtaSts, Mx, MxOptions, Resolver,
    ResolverConfigError, Route, Source, TlsLevel, TlsObserver, TlsRule, TlsRules, TrustAnchors,
};

pub(crate) static ROUTE: Setting = Setting::list("mx", "route", "DOMAIN=TARGET")
    .flag("route")
    .help("Send the mail of DOMAIN (*.name: below it; *: every other) not to its MX but to TARGET: \
           smtp://host:port, smtps://host:port, lmtp://host:port, lmtp+unix:///path, maildir:///path, fail:TEXT, discard")
    .example("example.org=lmtp://127.0.0.1:24");
pub(crate) static CREDENTIALS: Setting = Setting::text("mx", "credentials", "FILE")
    .help("Log in at the servers that routes name by smtp and smtps: FILE has lines HOST USER PASSWORD, and nobody \
           but its owner and its group may read it. The server must show a certificate for HOST")
    .example("/etc/hedwig/smart-hosts");
pub(crate) static DNS: Setting = Setting::text("dns", "server", "ADDR")
    .flag("dns")
    .help("Ask this name server and not the system's")
    .example("127.0.0.1:53");
pub(crate) static PORT: Setting = Setting::text("mx", "port", "PORT")
    .flag("mx-port")
    .help("The port of mail exchangers; another one is for laboratories")
    .default("25");
pub(crate) static ALLOW_LOOPBACK: Setting = Setting::switch("mx", "allow_loopback")
    .flag("allow-loopback")
    .help("Let an MX record lead to this host; for laboratories");
pub(crate) static TLS: Setting = Setting::text("mx", "tls", "LEVEL")
    .help("TLS on the way to other servers: opportunistic (where it is offered), encrypted (always), verified \
           (with a certificate for the server's name), dane (with TLSA records), or never")
    .default("opportunistic");
pub(crate) static TLS_DOMAIN: Setting = Setting::list("mx", "tls_domain", "DOMAIN=LEVEL")
    .help("The same for the mail of DOMAIN (*.name: below it), or for the server of that name in a route")
    .example("example.org=verified");
pub(crate) static DANE: Setting = Setting::switch("mx", "dane")
    .help("Validate DNSSEC where the name servers pass it on, and hold servers to the certificates that their \
           TLSA records name (RFC 7672)")
    .default("true");
pub(crate) static MTA_STS: Setting = Setting::switch("mx", "mta_sts")
    .help("Fetch the MTA-STS policies of domains over HTTPS, and follow them (RFC 8461)")
    .default("true");
pub(crate) static AUTHORITIES: Setting = Setting::text("mx", "authorities", "FILE")
    .help("Trust the certificate authorities in FILE (PEM), and not those that web browsers know, wherever a server's \
           certificate has to be for its name; for laboratories and networks of their own")
    .example("/etc/hedwig/authorities.pem");
pub(crate) static ROUTE_AUTHORITIES: Setting = Setting::text("mx", "route_authorities", "FILE")
    .help("Trust those in FILE (PEM) as well, for the servers that routes name and for no other: an authority of one's \
           own, or the self-signed certificate of such a server")
    .example("/etc/hedwig/smart-hosts.pem");
pub(crate) static TRUST_ANCHORS: Setting = Setting::text("dns", "trust_anchors", "FILE")
    .help("Validate DNSSEC below the root keys in FILE, as DNSKEY records, and not below IANA's");
pub(crate) static OWN_ADDRESSES: Setting = Setting::list("mx", "own_addresses", "IP")
    .help("This host's addresses as others see them, so that it never sends mail to itself")
    .example("192.0.2.1");
pub(crate) static SOURCE_IPV4: Setting = Setting::text("mx", "source_ipv4", "IP")
    .help("The address that IPv4 connections come from")
    .example("192.0.2.1");
pub(crate) static SOURCE_IPV6: Setting = Setting::text("mx", "source_ipv6", "IP")
    .help("The address that IPv6 connections come from")
    .example("2001:db8::1");
pub(crate) static SOURCE: Setting = Setting::list("mx", "source", "IP [weight=N] [max=N] [hello=NAME]")
    .help("The addresses that connections come from, before source_ipv4 and source_ipv6: one of the server's \
            family is chosen for each mail, N times as often as one of weight 1, and says hello as NAME \
           (else the hostname). No more than max mails are under way from it at once")
    .example("192.0.2.1 weight=3 hello=a.example.org");
pub(crate) static DKIM_KEYS: Setting = Setting::text("dkim", "keys", "DIR")
    .flag("dkim-keys")
    .help("Sign with the keys in DIR/<domain>/<selector>.pem");

/// How mail is delivered.
#[derive(Clone, Debug)]
pub struct RoadOptions {
    /// The way to other servers.
    pub mx: MxOptions,
    /// The name server to ask; `None` is the system's.
    pub name_server: Option<SocketAddr>,
    /// The keys that DNSSEC begins with; `None` when nothing is validated.
    pub trust_anchors: Option<TrustAnchors>,
    /// Whether the MTA-STS policies of domains are followed.
    pub mta_sts: bool,
    /// The keys to sign with, as they were read.
    pub keys: Keys,
    /// Where they lie, to be read again when they change.
    pub key_directory: Option<PathBuf>,
    /// The routes, the logins and the rules on TLS, to be told.
    told: Vec<String>,
}

impl RoadOptions {
    /// Reads the settings of sections `[mx]`, `[dns]` and `[dkim]`.
    pub fn read(read: &mut Reading<'_>, hostname: Option<&Hostname>) -> Option<Self> {
        let routes = read.many::<RouteText>(&ROUTE);
        let logins = read_logins(read);
        let name_server = read.optional::<NameServer>(&DNS);
        let mx_port = read.one(&PORT);
        let allow_loopback = read.one(&ALLOW_LOOPBACK);
        let tls = read.one::<TlsLevel>(&TLS);
        let tls_domains = read.many::<TlsRule>(&TLS_DOMAIN);
        let own_addresses = read.many::<IpAddr>(&OWN_ADDRESSES);
        let sources = read_sources(read);
        let mta_sts = read.one(&MTA_STS);
        let authorities = read_authorities(read);
        let trust_anchors = read_trust_anchors(read);
        let key_directory = read.optional::<PathBuf>(&DKIM_KEYS);
        let keys = key_directory.clone().and_then(|directory| read_keys(read, directory));
        let routes = routes?;
        let ReadAuthorities { of_all, of_routes, told: authorities } = authorities?;
        let mx = MxOptions {
            hello_name: hostname?.to_string(),
            own_addresses: own_addresses?,
            routes: routes.iter().map(|route| route.route.clone()).collect(),
            logins: logins?,
            mx_port: mx_port?,
            allow_loopback: allow_loopback?,
            tls: TlsRules::new(tls?, tls_domains.clone()?),
            authorities: of_all,
            route_authorities: of_routes,
            sources: sources?,
            refuse_crowds: true,
            ..MxOptions::default()
        };
        warn_of_dane(read, tls?, &tls_domains.clone()?, trust_anchors.as_ref()?.is_some());
        let mut told: Vec<String> =
            routes.into_iter().map(|route| format!("route: {}", route.text)).collect();
        for (host, user) in mx.logins.users() {
            told.push(format!("login: {user} at {host}"));
        }
        told.extend(mx.sources.iter().map(|source| format!("source: {source}")));
        told.push(format!("TLS: {}", tls?));
        told.extend(tls_domains?.iter().map(|rule| format!("TLS: {rule}")));
        told.extend(authorities);
        Some(Self {
            mx,
            name_server: name_server?.map(|s| s.0),
            trust_anchors: trust_anchors?,
            mta_sts: mta_sts?,
            keys: keys?,
            key_directory: key_directory?,
            told,
        })
    }

    /// Whom to ask for names.
    ///
    /// # Errors
    /// When the system's name servers are of no use.
    pub fn resolver(&self) -> Result<Resolver, ResolverConfigError> {
        let resolver = match self.name_server {
            Some(address) => Resolver::with_server(address),
            None => Resolver::from_system(),
        }?;
        match &self.trust_anchors {
            Some(anchors) => resolver.validating(anchors),
            None => Ok(resolver),
        }
    }

    /// What delivers, with this resolver; `observer` is told how TLS goes.
    #[must_use]
    pub fn mx(&self, resolver: Resolver, observer: Option<Arc<dyn TlsObserver>>) -> Mx {
        let mut options = self.mx.clone();
        options.tls_observer = observer;
        if self.mta_sts {
            let allow_loopback = options.allow_loopback;
            let https = HttpsOptions { allow_loopback, ..HttpsOptions::default() };
            let certificates = options.authorities.client_config();
            let fetcher = HttpsFetcher::new(resolver.clone(), certificates, https);
            options.mta_sts = Some(MtaSts::new(fetcher));
        }
        Mx::new(resolver, options)
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut lines = self.told.clone();
        lines.push(match self.name_server {
            Some(address) => format!("name server: {address}"),
            None => "name server: the system's".to_owned(),
        });
        lines.push(match self.trust_anchors {
            Some(_) => "DANE: on, if the name servers pass DNSSEC on; the log says so".to_owned(),
            None => "DANE: off".to_owned(),
        });
        lines.push(format!("MTA-STS: {}", if self.mta_sts { "on" } else { "off" }));
        if self.mx.allow_loopback || self.mx.mx_port != 25 {
            let port = self.mx.mx_port;
            lines.push(format!("laboratory: MX port {port}, MX records may lead to this host"));
        }
        for key in self.keys.iter() {
            let (name, text) = key.dns_record();
            lines.push(format!(
                "DKIM key ({}), whose DNS record is: {name} TXT \"{text}\"",
                key.algorithm()
            ));
        }
        if self.keys.is_empty() {
            lines.push("DKIM: no keys, mail is not signed".to_owned());
        }
        lines
    }
}

/// Who asks for DANE and turns it off gets no mail delivered.
fn warn_of_dane(read: &mut Reading<'_>, tls: TlsLevel, rules: &[TlsRule], validates: bool) {
    let asks = |level| level == TlsLevel::Dane;
    let setting = if asks(tls) { &TLS } else { &TLS_DOMAIN };
    if !validates && (asks(tls) || rules.iter().any(|rule| asks(rule.level))) {
        read.warn(setting, "mail that must go by DANE waits for ever: [mx] dane is false");
    }
}

/// Those of the file, else IANA's; none when DANE is off.
fn read_trust_anchors(read: &mut Reading<'_>) -> Option<Option<TrustAnchors>> {
    let (dane, file) = (read.one::<bool>(&DANE)?, read.optional::<PathBuf>(&TRUST_ANCHORS)?);
    let Some(file) = file else { return Some(dane.then(TrustAnchors::default)) };
    let anchors = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()));
    let anchors = anchors.and_then(|text| {
        text.parse().map_err(|error: hedwig_mx::TrustAnchorsError| error.to_string())
    });
    let anchors = anchors.map_err(|problem| read.wrong(&TRUST_ANCHORS, problem)).ok()?;
    Some(dane.then_some(anchors))
}

/// Those of the list, and of a family that it lacks the one that is set for it.
pub(crate) fn read_sources(read: &mut Reading<'_>) -> Option<Vec<Source>> {
    let sources = read.many::<Source>(&SOURCE);
    let ipv4 = read.optional::<Ipv4Addr>(&SOURCE_IPV4);
    let ipv6 = read.optional::<Ipv6Addr>(&SOURCE_IPV6);
    let (sources, ipv4, ipv6) = (sources?, ipv4?, ipv6?);
    let single = ipv4.map(IpAddr::from).into_iter().chain(ipv6.map(IpAddr::from));
    let is_missing = |address: &IpAddr| {
        !sources.iter().any(|source| source.address.is_ipv4() == address.is_ipv4())
    };
    let single: Vec<Source> = single.filter(is_missing).map(Source::of).collect();
    let sources: Vec<Source> = sources.into_iter().chain(single).collect();
    Some(sources)
}

/// Who vouches for servers' names, and the files that say so.
struct ReadAuthorities {
    /// For servers that DNS names.
    of_all: Authorities,
    /// For those that routes name.
    of_routes: Authorities,
    told: Vec<String>,
}

fn read_authorities(read: &mut Reading<'_>) -> Option<ReadAuthorities> {
    let mut told = Vec::new();
    let mut load = |setting: &'static Setting, whose: &str| {
        let Some(file) = read.optional::<PathBuf>(setting)? else { return Some(None) };
        told.push(format!("{whose}: those in {}", file.display()));
        let loaded = Authorities::load(&file);
        Some(Some(loaded.map_err(|error| read.wrong(setting, error)).ok()?))
    };
    let of_all = load(&AUTHORITIES, "authorities, in the place of the web's");
    let of_routes = load(&ROUTE_AUTHORITIES, "authorities for the servers of routes, besides");
    let of_all = of_all?.unwrap_or_else(Authorities::web);
    let of_routes = of_routes?.map_or_else(|| of_all.clone(), |more| of_all.and(&more));
    Some(ReadAuthorities { of_all, of_routes, told })
}

fn read_logins(read: &mut Reading<'_>) -> Option<Logins> {
    match read.optional::<PathBuf>(&CREDENTIALS)? {
        None => Some(Logins::default()),
        Some(file) => Logins::load(&file).map_err(|error| read.wrong(&CREDENTIALS, error)).ok(),
    }
}

fn read_keys(read: &mut Reading<'_>, directory: Option<PathBuf>) -> Option<Keys> {
    match directory {
        None => Some(Keys::default()),
        Some(directory) => {
            let keys = Keys::load(directory);
            keys.map_err(|error| read.wrong(&DKIM_KEYS, error)).ok()
        }
    }
}

/// A route, and how it was written.
struct RouteText {
    route: Route,
    text: String,
}

impl FromStr for RouteText {
    type Err = hedwig_mx::RouteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { route: text.parse()?, text: text.to_owned() })
    }
}

/// A name server, at port 53 if nothing else is said.
struct NameServer(SocketAddr);

impl FromStr for NameServer {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        address.or_else(|_| text.parse()).map(Self)
    }
}
