use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use hedwig_daemon::{
    GRACE, HOSTNAME, Hostname, delivery, log,
    settings::{Reading, Scope, Setting, Size, Span},
    spool,
};
use hedwig_smtp::LineEndings;
use hedwig_spool::Grouping;
use hedwig_transport::{Client, ClientOptions, Token, tls};

use crate::{
    FrontDoor, Network, SenderRule,
    front_door::{TLS_CERTIFICATE, TLS_KEY, TLS_LISTEN, USERS_FILE, USERS_IN_CLEAR_TEXT},
};

pub(crate) static LISTEN: Setting = Setting::list("smtp", "listen", "ADDR")
    .flag("listen")
    .help("Take mail over SMTP at these addresses")
    .default("127.0.0.1:25");
pub(crate) static SIZE_MAX: Setting =
    Setting::text("smtp", "size_max", "SIZE").help("The largest mail taken").default("50M");
static MAILS_MAX: Setting = Setting::text("smtp", "mails_max", "N")
    .help("So many mails are in hand at once; more are told 451")
    .default("1000");
static RELAY_FROM: Setting = Setting::list("smtp", "relay_from", "NETWORK")
    .help("Clients in these networks may send anywhere, besides those on this host")
    .example("10.0.0.0/8");
static LINE_ENDINGS: Setting = Setting::text("smtp", "line_endings", "refuse|normalise|auto")
    .help(
        "What happens to a bare CR or LF; auto normalises at loopback listeners, refuses elsewhere",
    )
    .default("auto");
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
static SENDERS: Setting = Setting::list("mail", "senders", "SENDER")
    .help("The addresses and domains that clients may send as over SMTP; without any, as anybody")
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
        &LISTEN,
        &SIZE_MAX,
        &MAILS_MAX,
        &RELAY_FROM,
        &LINE_ENDINGS,
        &TLS_LISTEN,
        &TLS_CERTIFICATE,
        &TLS_KEY,
        &USERS_FILE,
        &USERS_IN_CLEAR_TEXT,
        &URL,
        &TOKEN,
        &WITHIN,
        &TIMEOUT,
        &AUTHORITIES,
        &CERTIFICATE,
        &KEY,
        &DIRECTORY,
        &DOMAIN,
        &SENDERS,
        &spool::RETENTION,
        &delivery::EXPIRY,
        &RETRY,
        &RETRY_MAX,
        &delivery::DELAY_WARNING,
        &delivery::CONCURRENCY,
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
    /// Where mail comes in.
    pub listen: Vec<SocketAddr>,
    /// The largest mail, in bytes.
    pub content_bytes_max: u64,
    /// How many mails are in hand at once.
    pub mails_max: usize,
    /// Who may relay besides this host.
    pub relay_from: Vec<Network>,
    /// What happens to bare CRs and LFs.
    pub line_endings: LineEndingChoice,
    /// TLS and users.
    pub front_door: FrontDoor,
    /// The road to the postoffice.
    pub client: Client,
    /// The postoffices' URLs, to be told.
    pub urls: Vec<String>,
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
    /// Which senders are allowed; without any, all are.
    pub senders: Vec<SenderRule>,
    /// How long a graceful stop may take.
    pub grace: Duration,
}

impl Configuration {
    /// Reads all settings; what is wrong stays with the reading.
    pub fn read(read: &mut Reading<'_>) -> Option<Self> {
        let listen = read.many(&LISTEN);
        let size = read.one::<Size>(&SIZE_MAX);
        let mails_max = read.one::<NonZeroUsize>(&MAILS_MAX);
        let relay_from = read_networks(read);
        let line_endings = read.one(&LINE_ENDINGS);
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
        let senders = read.many(&SENDERS);
        let grace = read.one::<Span>(&GRACE);
        Some(Self {
            listen: listen?,
            content_bytes_max: size?.0,
            mails_max: mails_max?.get(),
            relay_from: relay_from?,
            line_endings: line_endings?,
            front_door: front_door?,
            client: client?,
            urls: urls?,
            within: within?.0,
            spool: spool?,
            delivery: delivery?,
            admin: admin?,
            admin_tokens: admin_tokens?,
            hostname: hostname?,
            mail_domain: mail_domain?,
            senders: senders?,
            grace: grace?.0,
        })
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let join = |parts: Vec<String>| parts.join(", ");
        let listen = join(self.listen.iter().map(ToString::to_string).collect());
        let relay = self.relay_from.iter().map(|network| format!(", {network}"));
        let mut lines = vec![
            format!("hostname: {}", self.hostname),
            format!("mail is taken at: {listen} (SMTP)"),
            format!("and may be sent by: this host{}", relay.collect::<String>()),
            match &self.senders[..] {
                [] => "as: anybody".to_owned(),
                some => format!("as: {}", join(some.iter().map(ToString::to_string).collect())),
            },
        ];
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

/// The networks that may relay. A slip here is how open relays are made.
fn read_networks(read: &mut Reading<'_>) -> Option<Vec<Network>> {
    let networks: Vec<Network> = read.many(&RELAY_FROM)?;
    for (network, danger) in networks.iter().filter_map(|n| Some((n, n.danger()?))) {
        read.warn(&RELAY_FROM, format_args!("{network} {danger}"));
    }
    Some(networks)
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

/// What happens to bare CRs and LFs at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEndingChoice {
    /// The same everywhere.
    Always(LineEndings),
    /// Normalised where only this host's programs come in, refused where a network does.
    ByListener,
}

impl LineEndingChoice {
    /// What it means for a listener at this address.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> LineEndings {
        match self {
            Self::Always(line_endings) => line_endings,
            Self::ByListener if address.ip().is_loopback() => LineEndings::Normalise,
            Self::ByListener => LineEndings::Refuse,
        }
    }
}

impl FromStr for LineEndingChoice {
    type Err = LineEndingError;

    fn from_str(text: &str) -> Result<Self, LineEndingError> {
        match text {
            "refuse" => Ok(Self::Always(LineEndings::Refuse)),
            "normalise" => Ok(Self::Always(LineEndings::Normalise)),
            "auto" => Ok(Self::ByListener),
            _ => Err(LineEndingError),
        }
    }
}

/// A text that is no [`LineEndingChoice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineEndingError;

impl fmt::Display for LineEndingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bare line ends are dealt with by refuse, normalise or auto")
    }
}
