use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use hedwig_daemon::{
    GRACE, HOSTNAME, Hostname, delivery, log,
    settings::{Reading, Scope, Setting, Size, Span},
    spool,
};
use hedwig_spool::Grouping;
use hedwig_transport::{Client, ClientOptions, Token, tls};

use crate::{
    FrontDoor, Listener,
    front_door::{TLS_CERTIFICATE, TLS_KEY, USERS_FILE, USERS_IN_CLEAR_TEXT},
    listener_settings as settings, listeners,
};

static CONNECTIONS_MAX: Setting = Setting::text("smtp", "connections_max", "N")
    .help("So many connections at once at each address; one more is told 421")
    .default("2000");
static CONNECTIONS_PER_CLIENT: Setting = Setting::text("smtp", "connections_per_client", "N")
    .help("So many of them from one client's address")
    .default("100");
static CONTENT_MEMORY: Setting = Setting::text("smtp", "content_memory", "SIZE")
    .help("So much memory at each address for contents on their way in; who would need more waits for others to end")
    .default("48M");
static MAILS_MAX: Setting = Setting::text("smtp", "mails_max", "N")
    .help("So many mails are in hand at once; more are told 451")
    .default("1000");
static HOLD_MAX: Setting = Setting::text("smtp", "hold_max", "SPAN")
    .help("So long a client may ask a mail to be held back (FUTURERELEASE); 0s, and it may not ask")
    .default("7d");
static URL: Setting = Setting::list("postoffice", "url", "URL")
    .flag("postoffice")
    .help("Hand mail to the postoffice there; of several, to the first that answers")
    .default("http://127.0.0.1:8025")
    .example("https://postoffice.example.org:8025");
static TOKEN: Setting = Setting::secret("postoffice", "token")
    .flag("token")
    .help("The file with the token to show the postoffice");
static WITHIN: Setting = Setting::text("postoffice", "within", "SPAN")
    .help("Try the postoffice for so long while the client waits; then queue the mail here")
    .default("2s");
static TIMEOUT: Setting = Setting::text("postoffice", "timeout", "SPAN")
    .help("How long the postoffice may take to answer")
    .default("60s");
static AUTHORITIES: Setting = Setting::text("postoffice", "authorities", "FILE")
    .help("Certification authorities to trust besides the web's, in PEM");
static CERTIFICATE: Setting = Setting::text("postoffice", "certificate", "FILE")
    .help("The certificate to show the postoffice (mutual TLS), in PEM; needs the key too");
static KEY: Setting =
    Setting::text("postoffice", "key", "FILE").help("The private key of that certificate, in PEM");
pub(crate) static DIRECTORY: Setting = spool::directory("/var/spool/hedwig-mailman");
static DOMAIN: Setting = Setting::text("mail", "domain", "DOMAIN")
    .help("What goes behind a bare name such as root, in the place of a host without a dot such as a container's, and into a Message-ID; the host's name if not set")
    .example("example.org");
static ADMIN: Setting = Setting::text("admin", "listen", "ADDR")
    .flag("admin")
    .help("Answer health, metrics and queue requests over HTTP here")
    .example("127.0.0.1:8026");
static ADMIN_TOKEN: Setting = Setting::secret("admin", "token").help(
    "The tokens that let an operator see and change the queue over HTTP; without one, nobody may",
);

// The postoffice is ours, and either up or down: asking it often costs nothing, and a mail leaves soon
// after it is back.
static RETRY: Setting = delivery::retry("15s");
static RETRY_MAX: Setting = delivery::retry_max("5m");

/// The settings of mailman.
pub static SCOPE: Scope = Scope {
    program: "hedwig-mailman",
    variable_prefix: "HEDWIG_MAILMAN",
    file_default: "/etc/hedwig/mailman.toml",
    table: &[
        &settings::LISTEN,
        &settings::SIZE_MAX,
        &settings::RECIPIENTS_MAX,
        &MAILS_MAX,
        &CONNECTIONS_MAX,
        &CONNECTIONS_PER_CLIENT,
        &CONTENT_MEMORY,
        &HOLD_MAX,
        &settings::RELAY_FROM,
        &settings::LINE_ENDINGS,
        &settings::TLS_LISTEN,
        &TLS_CERTIFICATE,
        &TLS_KEY,
        &USERS_FILE,
        &USERS_IN_CLEAR_TEXT,
        &settings::PER_CLIENT,
        &settings::PER_SENDER,
        &settings::PER_USER,
        &settings::NAMED_LISTEN,
        &settings::MODE,
        &settings::PROTOCOL,
        &settings::TLS,
        &settings::AUTH,
        &settings::PROXIES,
        &settings::XCLIENTS,
        &settings::NAMED_IN_CLEAR_TEXT,
        &settings::NAMED_CLIENTS,
        &settings::NAMED_SENDERS,
        &settings::NAMED_OTHER_SENDERS,
        &settings::NAMED_DEFAULT_SENDER,
        &settings::NAMED_SIZE_MAX,
        &settings::NAMED_RECIPIENTS_MAX,
        &settings::NAMED_LINE_ENDINGS,
        &settings::NAMED_PER_CLIENT,
        &settings::NAMED_PER_SENDER,
        &settings::NAMED_PER_USER,
        &URL,
        &TOKEN,
        &WITHIN,
        &TIMEOUT,
        &AUTHORITIES,
        &CERTIFICATE,
        &KEY,
        &DIRECTORY,
        &DOMAIN,
        &settings::SENDERS,
        &settings::OTHER_SENDERS,
        &settings::DEFAULT_SENDER,
        &spool::RETENTION,
        &delivery::EXPIRY,
        &RETRY,
        &RETRY_MAX,
        &delivery::DELAY_WARNING,
        &delivery::CONCURRENCY,
        &delivery::CONTENT_MEMORY,
        &ADMIN,
        &ADMIN_TOKEN,
        &HOSTNAME,
        &GRACE,
        &log::FORMAT,
        &log::LEVEL,
    ],
};

/// All that mailman needs to know.
pub struct Configuration {
    /// Where mail comes in, and by which rules.
    pub listeners: Vec<Listener>,
    /// The largest mail that is picked up, in bytes.
    pub content_bytes_max: u64,
    /// So long a client may have a mail held back; zero, and it may not.
    pub hold_max: Duration,
    /// How many mails are in hand at once.
    pub mails_max: usize,
    /// How many connections there may be at once at each address.
    pub connections_max: usize,
    /// How many of them from one client's address.
    pub connections_per_client: usize,
    /// How much memory contents on their way in may have at each address, in bytes.
    pub content_memory_bytes: u64,
    /// TLS and users.
    pub front_door: FrontDoor,
    /// The road to the postoffice.
    pub client: Client,
    /// The postoffices' URLs, to be told.
    pub urls: Vec<String>,
    /// Whether nobody can listen in on that road: each URL speaks TLS, or leads to this host.
    pub hop_is_secure: bool,
    /// How long a client waits for the postoffice.
    pub within: Duration,
    /// The queue.
    pub spool: spool::Options,
    /// How the queue is worked off.
    pub delivery: delivery::Options,
    /// Where health, metrics and the queue are shown.
    pub admin: Option<SocketAddr>,
    /// Who may change the queue there.
    pub admin_tokens: Vec<Token>,
    /// The name of this host.
    pub hostname: Hostname,
    /// What goes behind a bare local part, and into a Message-ID.
    pub mail_domain: String,
    /// How long a graceful stop may take.
    pub grace: Duration,
}

impl Configuration {
    /// Reads all settings; what is wrong stays with the reading.
    pub fn read(read: &mut Reading<'_>) -> Option<Self> {
        let size = read.one::<Size>(&settings::SIZE_MAX);
        let hold_max = read.one::<Span>(&HOLD_MAX);
        let mails_max = read.one::<NonZeroUsize>(&MAILS_MAX);
        let connections_max = read.one::<NonZeroUsize>(&CONNECTIONS_MAX);
        let connections_per_client = read.one::<NonZeroUsize>(&CONNECTIONS_PER_CLIENT);
        let content_memory = read.one::<Size>(&CONTENT_MEMORY);
        let front_door = FrontDoor::read(read);
        let urls = read.many::<String>(&URL);
        let client = read_client(read, urls.clone());
        let within = read.one::<Span>(&WITHIN);
        let spool = spool::Options::read(read, Grouping::Whole);
        let delivery = delivery::Options::read(read, &RETRY, &RETRY_MAX);
        let admin = read.optional(&ADMIN);
        let admin_tokens = read.many(&ADMIN_TOKEN);
        let hostname = Hostname::read(read);
        let mail_domain = mail_domain(read, hostname.as_ref());
        let listeners = match (&front_door, &mail_domain) {
            (Some(door), Some(domain)) => listeners::read(read, door, domain),
            _ => None,
        };
        let grace = read.one::<Span>(&GRACE);
        Some(Self {
            listeners: listeners?,
            content_bytes_max: size?.0,
            hold_max: hold_max?.0,
            mails_max: mails_max?.get(),
            connections_max: connections_max?.get(),
            connections_per_client: connections_per_client?.get(),
            content_memory_bytes: content_memory?.0,
            front_door: front_door?,
            client: client?,
            hop_is_secure: urls
                .as_deref()
                .is_some_and(|urls| urls.iter().all(|url| is_secure(url))),
            urls: urls?,
            within: within?.0,
            spool: spool?,
            delivery: delivery?,
            admin: admin?,
            admin_tokens: admin_tokens?,
            hostname: hostname?,
            mail_domain: mail_domain?,
            grace: grace?.0,
        })
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let join = |parts: Vec<String>| parts.join(", ");
        let mut lines = vec![format!("hostname: {}", self.hostname)];
        let open = self.listeners.iter().filter(|listener| !listener.addresses.is_empty());
        lines.extend(open.flat_map(Listener::describe));
        lines.extend(self.front_door.describe());
        lines.extend([
            format!("it is handed to: {}", join(self.urls.clone())),
            format!("or else queued in: {}", self.spool.directory.display()),
            match self.admin {
                Some(address) => format!("health and metrics at: {address} (HTTP)"),
                None => "health and metrics: not shown".to_owned(),
            },
        ]);
        lines
    }
}

/// The domain of local mail: its own setting, or else the host's name.
pub(crate) fn mail_domain(read: &mut Reading<'_>, hostname: Option<&Hostname>) -> Option<String> {
    let domain = read.optional::<Hostname>(&DOMAIN)?;
    let domain = domain.or_else(|| hostname.cloned()).unwrap_or_else(Hostname::of_system);
    Some(domain.to_string())
}

fn read_client(read: &mut Reading<'_>, urls: Option<Vec<String>>) -> Option<Client> {
    let tokens = read.many::<Token>(&TOKEN);
    let timeout = read.one::<Span>(&TIMEOUT);
    let authorities = read.optional::<PathBuf>(&AUTHORITIES);
    let certificate = read.optional::<PathBuf>(&CERTIFICATE);
    let key = read.optional::<PathBuf>(&KEY);
    let identity = match (certificate?, key?) {
        (Some(certificates), Some(key)) => Some(tls::Identity { certificates, key }),
        (None, None) => None,
        (Some(_), None) => {
            read.wrong(&CERTIFICATE, "a certificate needs its private key: set key too");
            None
        }
        (None, Some(_)) => {
            read.wrong(&KEY, "a private key needs its certificate: set certificate too");
            None
        }
    };
    let authorities = authorities?;
    let tls = tls::client_config(authorities.as_deref(), identity.as_ref());
    let tls = tls.map_err(|error| {
        let setting = if authorities.is_some() { &AUTHORITIES } else { &CERTIFICATE };
        read.wrong(setting, error);
    });
    let options = ClientOptions {
        urls: urls?,
        // Of several tokens the first is shown; a postoffice takes both while they are exchanged.
        token: tokens?.into_iter().next(),
        tls: Some(tls.ok()?),
        timeout: timeout?.0,
        ..ClientOptions::default()
    };
    Client::new(options).map_err(|error| read.wrong(&URL, error)).ok()
}

/// Whether nobody can listen in on the road to a postoffice at this URL.
fn is_secure(url: &str) -> bool {
    let is_loopback = |rest: &str| {
        let host = rest.split('/').next().unwrap_or(rest);
        let address =
            host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse());
        address.is_ok_and(|address: IpAddr| address.is_loopback())
    };
    url.starts_with("https://")
        || url.starts_with("unix:")
        || url.strip_prefix("http://").is_some_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_host_are_secure() {
        for (url, expected) in [
            ("https://postoffice.example.org", true),
            ("unix:/run/postoffice.sock", true),
            ("http://127.0.0.1:8025/path", true),
            ("http://[::1]:8025", true),
            ("http://127.0.0.1", true),
            ("http://192.0.2.1:8025", false),
            ("http://127.0.0.1.example.org:8025", false),
        ] {
            assert_eq!(is_secure(url), expected, "{url}");
        }
    }
}
