//! Where the mail of a domain goes: `DOMAIN=TARGET`.

use std::{collections::HashMap, fmt, net::Ipv6Addr, path::PathBuf, str::FromStr};

use hedwig_envelope::{Reply, Status};

use crate::name;

/// The port of SMTP between servers (RFC 5321 §4.5.4.2).
const SMTP_PORT: u16 = 25;
/// The port of SMTP over implicit TLS, where mail is handed in (RFC 8314 §7.3).
const SMTPS_PORT: u16 = 465;
/// The port that LMTP servers use by custom; RFC 2033 §5 forbids them 25.
const LMTP_PORT: u16 = 24;

/// A rule of the form `DOMAIN=TARGET`.
///
/// `DOMAIN` is a name, `*.example.com` for all names below it (not itself), or `*` for every other.
/// `TARGET` is `mx`, `smtp://host:port`, `smtps://host:port`, `lmtp://host:port`, `lmtp+unix:///path`,
/// `maildir:///path`, `fail:TEXT` or `discard`.
///
/// ```
/// # use hedwig_mx::{Route, Target};
/// let route: Route = "*.example.com=lmtp+unix:///run/lmtp".parse()?;
/// assert_eq!(route.target, Target::LmtpUnix { path: "/run/lmtp".into() });
/// assert!("example.com=smpt://relay".parse::<Route>().is_err());
/// # Ok::<(), hedwig_mx::RouteError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pattern: Pattern,
    /// Where it goes.
    pub target: Target,
}

/// Which names a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pattern {
    Exact(String),
    /// The name below which all names are meant.
    Below(String),
    Any,
}

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To the domain's mail exchangers.
    Mx,
    /// To this server over SMTP, whatever DNS says of the domain.
    Smtp {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The same with TLS from the first byte (RFC 8314).
    Smtps {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// To this server over LMTP (RFC 2033).
    Lmtp {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// To the LMTP server behind this Unix socket.
    LmtpUnix {
        /// The socket.
        path: PathBuf,
    },
    /// Into this Maildir; every mail once, however many of its recipients are routed here.
    Maildir {
        /// The directory that holds `tmp`, `new` and `cur`.
        path: PathBuf,
    },
    /// Nowhere, and the sender is told so. A status at the beginning of the text, as in
    /// `fail:4.3.2 closed until Monday`, is taken as such; 5.0.0 otherwise.
    Fail(Reply),
    /// Nowhere, and nobody is told.
    Discard,
}

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let (domain, target) = text
            .split_once('=')
            .ok_or_else(|| RouteError::new(text, "it should be DOMAIN=TARGET"))?;
        let pattern = Pattern::parse(domain.trim())
            .ok_or_else(|| RouteError::new(text, "the domain is no name, *.name or *"))?;
        let target = target.trim().parse().map_err(|error: RouteError| error.within(text))?;
        Ok(Self { pattern, target })
    }
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let below = text.strip_prefix("*.");
        let name = below.unwrap_or(text);
        if name.contains(['*', '/', ':', '@']) && !name.starts_with('[') {
            return None;
        }
        let name = if name.starts_with('[') {
            name.to_ascii_lowercase()
        } else {
            name::to_ascii(name)?.into_owned()
        };
        Some(if below.is_some() { Self::Below(name) } else { Self::Exact(name) })
    }
}

impl FromStr for Target {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let path = |rest: &str| match rest.starts_with('/') {
            true => Ok(PathBuf::from(rest)),
            false => Err(RouteError::new(text, "the path should be absolute, with three slashes")),
        };
        if text == "mx" {
            Ok(Self::Mx)
        } else if text == "discard" {
            Ok(Self::Discard)
        } else if let Some(words) = text.strip_prefix("fail:") {
            Ok(Self::Fail(failure(words.trim())))
        } else if let Some(rest) = text.strip_prefix("lmtp+unix://") {
            Ok(Self::LmtpUnix { path: path(rest)? })
        } else if let Some(rest) = text.strip_prefix("maildir://") {
            Ok(Self::Maildir { path: path(rest)? })
        } else if let Some(rest) = text.strip_prefix("smtp://") {
            let (host, port) = host_and_port(rest, SMTP_PORT).map_err(|e| e.within(text))?;
            Ok(Self::Smtp { host, port })
        } else if let Some(rest) = text.strip_prefix("smtps://") {
            let (host, port) = host_and_port(rest, SMTPS_PORT).map_err(|e| e.within(text))?;
            Ok(Self::Smtps { host, port })
        } else if let Some(rest) = text.strip_prefix("lmtp://") {
            let (host, port) = host_and_port(rest, LMTP_PORT).map_err(|e| e.within(text))?;
            Ok(Self::Lmtp { host, port })
        } else {
            Err(RouteError::new(
                text,
                "the target should be mx, smtp://host:port, smtps://host:port, lmtp://host:port, \
                 lmtp+unix:///path, maildir:///path, fail:TEXT or discard",
            ))
        }
    }
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), RouteError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) =
                rest.split_once(']').ok_or_else(|| RouteError::new(text, "a ] is missing"))?;
            let address: Ipv6Addr = host
                .parse()
                .map_err(|_| RouteError::new(text, "there is no IPv6 address in the brackets"))?;
            (address.to_string(), (!rest.is_empty()).then_some(rest))
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let host = name::to_ascii(&text[..end])
                .filter(|host| !host.contains(['/', '@', '?', '#']))
                .ok_or_else(|| RouteError::new(text, "the host is no name and no address"))?;
            (host.into_owned(), (end < text.len()).then_some(&text[end..]))
        }
    };
    let wrong_port = || RouteError::new(text, "the port is no number from 1 to 65535");
    let port = port.map_or(Ok(default_port), |port| {
        let port: u16 =
            port.strip_prefix(':').and_then(|p| p.parse().ok()).ok_or_else(wrong_port)?;
        if port == 0 { Err(wrong_port()) } else { Ok(port) }
    })?;
    Ok((host, port))
}

fn failure(text: &str) -> Reply {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let said = first.parse::<Status>().ok().filter(|status| status.class.digit() != 2);
    let words = if said.is_some() { rest } else { text };
    let words = if words.is_empty() { "No mail is taken for this domain" } else { words };
    let status = said.unwrap_or(Status::permanent(0, 0));
    Reply::with_status(status.class.digit() * 100 + 50, status, words.to_owned())
}

/// All routes. The most exact wins: the name itself, then the longest `*.name`, then `*`; without any, `mx`.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    targets: HashMap<Pattern, Target>,
}

impl Routes {
    /// Where the mail of this domain goes. The domain has A-labels in lower case, or is an address
    /// literal with its brackets.
    #[must_use]
    pub fn target(&self, domain: &str) -> &Target {
        self.rule(domain).1
    }

    /// The same, with the pattern of the rule that says so, if one does.
    pub(crate) fn rule(&self, domain: &str) -> (Option<&Pattern>, &Target) {
        const MX: &Target = &Target::Mx;
        match most_exact(&self.targets, domain) {
            Some((pattern, target)) => (Some(pattern), target),
            None => (None, MX),
        }
    }
}

/// What the most exact of some patterns says of a name.
pub(crate) fn most_exact<'a, T>(
    rules: &'a HashMap<Pattern, T>,
    name: &str,
) -> Option<(&'a Pattern, &'a T)> {
    if rules.is_empty() {
        return None;
    }
    let find = |pattern| rules.get_key_value(&pattern);
    let mut ends = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    find(Pattern::Exact(name.to_owned()))
        .or_else(|| ends.find_map(|end| find(Pattern::Below(end.to_owned()))))
        .or_else(|| find(Pattern::Any))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// The later of two routes for one domain holds.
impl FromIterator<Route> for Routes {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        Self { targets: routes.into_iter().map(|route| (route.pattern, route.target)).collect() }
    }
}

/// Why a text is no [`Route`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no route: {reason}")]
pub struct RouteError {
    text: String,
    reason: &'static str,
}

impl RouteError {
    fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.chars().take(200).collect(), reason }
    }

    /// The same reason, with all of the text that was at hand.
    fn within(self, text: &str) -> Self {
        Self::new(text, self.reason)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |host: &str| match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        match self {
            Self::Mx => f.write_str("mx"),
            Self::Smtp { host: name, port } => write!(f, "smtp://{}:{port}", host(name)),
            Self::Smtps { host: name, port } => write!(f, "smtps://{}:{port}", host(name)),
            Self::Lmtp { host: name, port } => write!(f, "lmtp://{}:{port}", host(name)),
            Self::LmtpUnix { path } => write!(f, "lmtp+unix://{}", path.display()),
            Self::Maildir { path } => write!(f, "maildir://{}", path.display()),
            Self::Fail(reply) => {
                let status = reply.status().unwrap_or(Status::permanent(0, 0));
                write!(f, "fail:{status} {}", reply.text())
            }
            Self::Discard => f.write_str("discard"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_target_is_understood_and_shown_again() {
        for text in [
            "mx",
            "discard",
            "smtp://relay.example:2525",
            "smtp://[2001:db8::1]:25",
            "smtps://relay.example:4650",
            "lmtp://127.0.0.1:24",
            "lmtp+unix:///run/dovecot/lmtp",
            "maildir:///var/mail/alice",
            "fail:5.7.1 Not here",
        ] {
            assert_eq!(target(text).to_string(), text);
        }
    }

    #[test]
    fn ports_have_defaults() {
        assert_eq!(target("smtp://relay"), Target::Smtp { host: "relay".into(), port: 25 });
        assert_eq!(target("smtps://relay"), Target::Smtps { host: "relay".into(), port: 465 });
        assert_eq!(target("lmtp://[::1]"), Target::Lmtp { host: "::1".into(), port: 24 });
    }

    #[test]
    fn the_text_of_fail_may_begin_with_a_status() {
        let reply = |text: &str| match target(text) {
            Target::Fail(reply) => reply.to_string(),
            other => panic!("{other}"),
        };
        assert_eq!(reply("fail:No thanks"), "550 5.0.0 No thanks");
        assert_eq!(reply("fail:4.3.2 Closed"), "450 4.3.2 Closed");
        assert_eq!(reply("fail:"), "550 5.0.0 No mail is taken for this domain");
        assert_eq!(reply("fail:2.0.0 ok"), "550 5.0.0 2.0.0 ok");
    }

    #[test]
    fn the_most_exact_route_wins() {
        let routes: Routes = ["*=discard", "*.example.com=smtp://a", "*.b.example.com=smtp://b"]
            .into_iter()
            .chain(["example.com=mx", "bücher.example=smtp://c", "[192.0.2.1]=smtp://d"])
            .map(|text| text.parse::<Route>().unwrap())
            .collect();
        let host = |domain: &str| match routes.target(domain) {
            Target::Smtp { host, .. } => host.clone(),
            other => other.to_string(),
        };
        assert_eq!(host("example.com"), "mx");
        assert_eq!(host("x.example.com"), "a");
        assert_eq!(host("x.y.example.com"), "a");
        assert_eq!(host("x.b.example.com"), "b");
        assert_eq!(host("b.example.com"), "a");
        assert_eq!(host("xn--bcher-kva.example"), "c");
        assert_eq!(host("[192.0.2.1]"), "d");
        assert_eq!(host("notexample.com"), "discard");
        assert_eq!(*Routes::default().target("example.com"), Target::Mx);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_whole_rule() {
        for (text, reason) in [
            ("example.com", "DOMAIN=TARGET"),
            ("a b=mx", "the domain is no name"),
            ("=mx", "the domain is no name"),
            ("*.*.x=mx", "the domain is no name"),
            ("x=smpt://relay", "the target should be mx, smtp://"),
            ("x=smtp://", "the host is no name"),
            ("x=smtp://relay:0", "the port is no number"),
            ("x=smtp://relay:70000", "the port is no number"),
            ("x=smtp://[::1", "a ] is missing"),
            ("x=smtp://[::g]", "no IPv6 address"),
            ("x=smtp://user@relay", "the host is no name"),
            ("x=lmtp+unix://run/lmtp", "the path should be absolute"),
        ] {
            let error = text.parse::<Route>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }
}
