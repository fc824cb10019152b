//! One listener: where clients come in, and by which rules.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
    str::FromStr,
};

use hedwig_daemon::ListenAddress;
use hedwig_envelope::{ChangeLayer, MailService};
use hedwig_smtp::{
    Dialect, LineEndings, Policy, ServerOptions,
    server::{DecoySecret, Serve},
};
use tower::Layer;

use crate::{Clients, FrontDoor, Limits, Senders, counts::Counts, rate_policy, relay_policy};

/// Where clients come in, and by which rules.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name: `smtp` and `smtps` for those of `[smtp] listen` and `[tls] listen`, or the operator's own. A socket of
    /// this name that the service manager hands over is used in the place of the addresses, except for Unix sockets.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<ListenAddress>,
    /// The permissions of those of its addresses that are Unix sockets.
    pub mode: SocketMode,
    /// SMTP or LMTP.
    pub protocol: Dialect,
    /// When TLS begins.
    pub tls: TlsMode,
    /// Whether users may authenticate.
    pub authentication: Authentication,
    /// The addresses of proxies, which begin with a header of the PROXY protocol.
    pub proxies: Vec<IpAddr>,
    /// The addresses of front ends that say with XCLIENT for whom they speak.
    pub xclients: Vec<IpAddr>,
    /// Who may do what there.
    pub rules: Rules,
}

/// Who may do what at a listener.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether users may authenticate without TLS.
    pub authentication_in_clear_text: bool,
    /// Who may relay, besides users.
    pub clients: Clients,
    /// As whom.
    pub senders: Senders,
    /// The largest mail, in bytes.
    pub content_bytes_max: u64,
    /// The most recipients of one mail.
    pub recipients_max: usize,
    /// What happens to bare CRs and LFs.
    pub line_endings: LineEndingChoice,
    /// How many mails, at all addresses of the listener together.
    pub limits: Limits,
}

/// When a listener's connections get their TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// After STARTTLS (RFC 3207).
    StartTls,
    /// From the first byte (RFC 8314 §3.3).
    Implicit,
}

/// Whether a listener's clients authenticate (RFC 4954).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// AUTH is not offered.
    None,
    /// Users may.
    Offered,
    /// Whoever sends must.
    Required,
}

impl Listener {
    /// Whether only programs on this host can connect, and none that lets others in.
    #[must_use]
    pub fn is_for_this_host(&self) -> bool {
        !self.has_forwarders() && self.addresses.iter().all(ListenAddress::is_for_this_host)
    }

    fn has_forwarders(&self) -> bool {
        !(self.proxies.is_empty() && self.xclients.is_empty())
    }

    /// Its addresses but for the Unix sockets.
    pub(crate) fn tcp(&self) -> Vec<SocketAddr> {
        let tcp = |address: &ListenAddress| match address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        };
        self.addresses.iter().filter_map(tcp).collect()
    }

    /// Its Unix sockets.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.addresses.iter().filter_map(|address| match address {
            ListenAddress::Tcp(_) => None,
            ListenAddress::Unix(path) => Some(path.as_path()),
        })
    }

    /// A server for a socket of this listener, which perhaps only this host's programs can reach. `options` are those
    /// that all listeners share, as they share the front door with its decoys.
    pub(crate) fn serve<L: hedwig_smtp::server::Listener, S: MailService>(
        &self,
        (socket, is_for_this_host): (L, bool),
        (door, decoys): (&FrontDoor, &DecoySecret),
        options: ServerOptions,
        counts: &Counts,
        service: S,
    ) -> Serve<impl Policy, impl MailService, L> {
        let rules = &self.rules;
        let policy = relay_policy(rules.clients.clone(), counts.relays_refused(&self.name));
        let policy = rate_policy(
            rules.limits.clone(),
            counts.exceeded(&self.name),
            rules.senders.policy(policy),
        );
        let service = ChangeLayer::new(rules.senders.changing()).layer(service);
        let has_default = rules.senders.default_sender.is_some();
        let options = ServerOptions {
            protocol: self.protocol,
            content_bytes_max: rules.content_bytes_max,
            recipients_max: rules.recipients_max,
            line_endings: rules.line_endings.at(is_for_this_host && !self.has_forwarders()),
            // The default sender takes the place of whoever is at a name that the world does not know.
            sender_home_domain: has_default.then(|| "localhost".to_owned()),
            authentication_in_clear_text: rules.authentication_in_clear_text,
            authentication_required: self.authentication == Authentication::Required,
            ..options
        };
        let server = hedwig_smtp::serve(socket, policy, service).options(options);
        let server = server.failed_authentications(counts.failures()).decoys(decoys.clone());
        let (proxies, xclients) = (self.proxies.clone(), self.xclients.clone());
        let server = server.proxy_protocol(move |address| proxies.contains(&address));
        let server = server.xclient(move |address| xclients.contains(&address));
        let server = match (&door.users, self.authentication) {
            (Some(users), Authentication::Offered | Authentication::Required) => {
                server.authenticator(users.clone())
            }
            _ => server,
        };
        match (&door.tls, self.tls) {
            (Some(tls), TlsMode::StartTls) => server.tls(tls.clone()),
            (Some(tls), TlsMode::Implicit) => server.implicit_tls(tls.clone()),
            _ => server,
        }
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let rules = &self.rules;
        let join = |parts: &mut dyn Iterator<Item = String>| parts.collect::<Vec<_>>().join(", ");
        let addresses = join(&mut self.addresses.iter().map(ToString::to_string));
        let protocol = match self.protocol {
            Dialect::Smtp => "SMTP",
            Dialect::Lmtp => "LMTP",
        };
        let senders = join(&mut rules.senders.allowed.iter().map(ToString::to_string));
        let senders = if senders.is_empty() { "anybody".to_owned() } else { senders };
        let default_sender = rules.senders.default_sender.as_ref();
        let default_sender = default_sender.map(|a| format!("; the default sender is {a}"));
        let mut lines = vec![
            format!(
                "mail is taken at: {addresses} ({protocol}{}), as listener {}",
                self.tls, self.name
            ),
            format!("  it may be sent by: {}{}", rules.clients, self.authentication),
            format!("  as: {senders}{}", default_sender.unwrap_or_default()),
            format!(
                "  up to: {} and {} recipients a mail; {}",
                hedwig_daemon::settings::Size(rules.content_bytes_max),
                rules.recipients_max,
                rules.limits.rates()
            ),
        ];
        if self.paths().next().is_some() {
            lines.push(format!("  its Unix sockets have the mode {}", self.mode));
        }
        for (how, addresses) in [("PROXY", &self.proxies), ("XCLIENT", &self.xclients)] {
            if !addresses.is_empty() {
                let addresses = join(&mut addresses.iter().map(ToString::to_string));
                lines.push(format!("  for others speak, with {how}: {addresses}"));
            }
        }
        lines
    }
}

impl fmt::Display for TlsMode {
    /// What follows the protocol's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::StartTls => " with STARTTLS",
            Self::Implicit => " over TLS",
        })
    }
}

impl FromStr for TlsMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            "starttls" => Ok(Self::StartTls),
            "implicit" => Ok(Self::Implicit),
            _ => Err("TLS is none, starttls or implicit"),
        }
    }
}

impl fmt::Display for Authentication {
    /// What follows the clients.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Offered => ", and whoever authenticates",
            Self::Required => ", all of whom must authenticate, and whoever else does",
        })
    }
}

impl FromStr for Authentication {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            "offered" => Ok(Self::Offered),
            "required" => Ok(Self::Required),
            _ => Err("authentication is none, offered or required"),
        }
    }
}

/// The permissions of a Unix socket, in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for SocketMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_octal = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
        mode.map(Self).ok_or("a mode is three octal digits, perhaps with a 0 before them")
    }
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
    /// What it means for a listener that is, or is not, for this host's programs alone.
    #[must_use]
    pub fn at(self, is_for_this_host: bool) -> LineEndings {
        match self {
            Self::Always(line_endings) => line_endings,
            Self::ByListener if is_for_this_host => LineEndings::Normalise,
            Self::ByListener => LineEndings::Refuse,
        }
    }
}

impl FromStr for LineEndingChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "refuse" => Ok(Self::Always(LineEndings::Refuse)),
            "normalise" => Ok(Self::Always(LineEndings::Normalise)),
            "auto" => Ok(Self::ByListener),
            _ => Err("bare line ends are dealt with by refuse, normalise or auto"),
        }
    }
}
