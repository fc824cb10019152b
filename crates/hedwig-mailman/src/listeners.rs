//! All listeners: those of `[smtp] listen` and `[tls] listen`, and those with a table of their own.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use hedwig_daemon::{
    ListenAddress,
    settings::{Reading, Size},
};
use hedwig_envelope::Address;
use hedwig_smtp::Dialect;
use hedwig_transport::RECIPIENTS_MAX;

use crate::{
    Authentication, Clients, FrontDoor, Limits, Listener, Network, OtherSenders, Rates, Rules,
    SenderRule, Senders, SocketMode, TlsMode,
    front_door::USERS_FILE,
    listener_settings::{
        AUTH, Keys, LISTEN, MODE, NAMED_LISTEN, OF_ALL, OF_ONE, PROTOCOL, PROXIES, TLS, TLS_LISTEN,
        XCLIENTS,
    },
};

/// The names of the listeners that have no table.
const RESERVED: [&str; 3] = ["smtp", "smtps", "admin"];

/// Reads the listeners; what is wrong stays with the reading. `domain` is what senders without one get.
pub(crate) fn read(
    read: &mut Reading<'_>,
    door: &FrontDoor,
    domain: &str,
) -> Option<Vec<Listener>> {
    let addresses = read.many(&LISTEN);
    let tls_addresses = read.many(&TLS_LISTEN);
    let rules = read_rules(read, &OF_ALL, domain);
    let (addresses, tls_addresses, rules) = (addresses?, tls_addresses?, rules?);
    let authentication =
        door.users.as_ref().map_or(Authentication::None, |_| Authentication::Offered);
    let listener = |name: &str, addresses: Vec<SocketAddr>, tls| Listener {
        name: name.to_owned(),
        addresses: addresses.into_iter().map(ListenAddress::Tcp).collect(),
        mode: SocketMode(0o660),
        protocol: Dialect::Smtp,
        tls,
        authentication,
        proxies: Vec::new(),
        xclients: Vec::new(),
        // With one set of limits: a client may send as much as [rates] says, whether it speaks TLS at once or not.
        rules: rules.clone(),
    };
    let starttls = if door.tls.is_some() { TlsMode::StartTls } else { TlsMode::None };
    let mut listeners = vec![listener("smtp", addresses, starttls)];
    if door.tls.is_none() && !tls_addresses.is_empty() {
        read.wrong(&TLS_LISTEN, "TLS needs a certificate: set [tls] certificate and key");
    }
    listeners.push(listener("smtps", tls_addresses, TlsMode::Implicit));
    for listener in &listeners {
        warn_of(read, &OF_ALL, listener);
    }
    listeners.extend(read.each("listener", |read, name| read_named(read, name, door, domain))?);
    Some(listeners)
}

fn read_named(
    read: &mut Reading<'_>,
    name: &str,
    door: &FrontDoor,
    domain: &str,
) -> Option<Listener> {
    let addresses = read.many::<ListenAddress>(&NAMED_LISTEN);
    let mode = read.one::<SocketMode>(&MODE);
    let protocol = read.one::<Protocol>(&PROTOCOL);
    let tls = read.optional::<TlsMode>(&TLS);
    let authentication = read.optional::<Authentication>(&AUTH);
    let proxies = read.many::<IpAddr>(&PROXIES);
    let xclients = read.many::<IpAddr>(&XCLIENTS);
    let rules = read_rules(read, &OF_ONE, domain);
    let tls = match (tls?, &door.tls) {
        (Some(TlsMode::StartTls | TlsMode::Implicit), None) => {
            read.wrong(&TLS, "TLS needs a certificate: set [tls] certificate and key");
            return None;
        }
        (Some(tls), _) => tls,
        (None, Some(_)) => TlsMode::StartTls,
        (None, None) => TlsMode::None,
    };
    let authentication = match (authentication?, &door.users) {
        (Some(Authentication::Offered | Authentication::Required), None) => {
            read.wrong(&AUTH, "nobody is there who could: set [users] file");
            return None;
        }
        (Some(authentication), _) => authentication,
        (None, Some(_)) => Authentication::Offered,
        (None, None) => Authentication::None,
    };
    let listener = Listener {
        name: name.to_owned(),
        addresses: addresses?,
        mode: mode?,
        protocol: protocol?.0,
        tls,
        authentication,
        proxies: proxies?,
        xclients: xclients?,
        rules: rules?,
    };
    if RESERVED.contains(&name) {
        read.wrong(&NAMED_LISTEN, format_args!("the name {name} is taken; choose another"));
    } else if listener.addresses.is_empty() {
        read.wrong(&NAMED_LISTEN, "a listener needs an address");
    }
    if authentication == Authentication::Required
        && tls == TlsMode::None
        && !listener.rules.authentication_in_clear_text
    {
        let reason = "nobody could authenticate there: without TLS it needs in_clear_text = true";
        read.wrong(&AUTH, reason);
    }
    warn_of(read, &OF_ONE, &listener);
    Some(listener)
}

fn read_rules(read: &mut Reading<'_>, keys: &Keys, domain: &str) -> Option<Rules> {
    let in_clear_text = read.one::<bool>(keys.in_clear_text);
    let clients = read.many::<Network>(keys.clients);
    let senders = read_senders(read, keys, domain);
    let size = read.one::<Size>(keys.size_max);
    let recipients_max = read.one::<RecipientsMax>(keys.recipients_max);
    let line_endings = read.one(keys.line_endings);
    let per_client = read.optional(keys.per_client);
    let per_sender = read.optional(keys.per_sender);
    let per_user = read.optional(keys.per_user);
    Some(Rules {
        authentication_in_clear_text: in_clear_text?,
        clients: Clients::of_this_host(clients?),
        senders: senders?,
        content_bytes_max: size?.0,
        recipients_max: recipients_max?.0,
        line_endings: line_endings?,
        limits: Limits::new(Rates {
            per_client: per_client?,
            per_sender: per_sender?,
            per_user: per_user?,
        }),
    })
}

fn read_senders(read: &mut Reading<'_>, keys: &Keys, domain: &str) -> Option<Senders> {
    let allowed = read.many::<SenderRule>(keys.senders);
    let others = read.one::<OtherSenders>(keys.other_senders);
    let default_sender = read.optional::<Address>(keys.default_sender);
    let (others, default_sender) = (others?, default_sender?);
    if others == OtherSenders::Rewrite && default_sender.is_none() {
        read.wrong(keys.other_senders, "who shall take their place? Set default_sender too");
    }
    if default_sender.as_ref().is_some_and(|sender| sender.domain_text().is_none()) {
        read.wrong(keys.default_sender, "it needs a domain, as app@example.org");
        return None;
    }
    Some(Senders { allowed: allowed?.into(), others, default_sender, domain: Arc::from(domain) })
}

/// Warns of what would make an open relay, or give a password away. A slip here is how open relays are made.
fn warn_of(read: &mut Reading<'_>, keys: &Keys, listener: &Listener) {
    let rules = &listener.rules;
    if listener.addresses.is_empty() {
        return;
    }
    // What a named listener takes from all was warned of there.
    if read.is_set(keys.clients) {
        for (network, danger) in
            rules.clients.networks().iter().filter_map(|network| Some((network, network.danger()?)))
        {
            read.warn(keys.clients, format_args!("{network} {danger}"));
        }
    }
    if !listener.is_for_this_host() {
        for gateway in rules.clients.trusted_gateways() {
            let reason = format_args!(
                "{gateway} is a gateway: behind a container's published port all the world comes from there; publish \
                 it at an address that strangers cannot reach"
            );
            read.warn(keys.clients, reason);
        }
        if listener.authentication != Authentication::None && rules.authentication_in_clear_text {
            read.warn(keys.in_clear_text, "passwords may cross the network in clear text");
        }
    }
    let has_no_way = listener.tls == TlsMode::None && !rules.authentication_in_clear_text;
    if listener.authentication == Authentication::Offered && has_no_way {
        let reason = format_args!(
            "nobody can authenticate without TLS at the listener {}: set [tls] certificate and key",
            listener.name
        );
        read.warn(&USERS_FILE, reason);
    }
}

/// So many recipients a mail; a postoffice would bounce one with more.
struct RecipientsMax(usize);

impl FromStr for RecipientsMax {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (1..=RECIPIENTS_MAX).contains(number));
        number.map(Self).ok_or_else(|| {
            format!("a mail has 1 to {RECIPIENTS_MAX} recipients, for the postoffice takes no more")
        })
    }
}

/// SMTP or LMTP, as it is written.
struct Protocol(Dialect);

impl FromStr for Protocol {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "smtp" => Ok(Self(Dialect::Smtp)),
            "lmtp" => Ok(Self(Dialect::Lmtp)),
            _ => Err("a listener speaks smtp or lmtp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use hedwig_daemon::{
        configure,
        settings::{Settings, Sources},
    };
    use hedwig_envelope::{Envelope, ReversePath};
    use hedwig_smtp::{Peer, Question, policy::allow_all};
    use tower::ServiceExt;

    use crate::{Configuration, Mailman, SCOPE, rate_policy};

    fn configured(variables: &[(&str, &str)]) -> Configuration {
        let environment = variables.iter().map(|(name, value)| {
            (format!("HEDWIG_MAILMAN_{name}").into(), (*value).to_owned().into())
        });
        let sources = Sources { environment: environment.collect(), ..Sources::default() };
        configure::<Mailman>(&Settings::gather(&SCOPE, sources)).unwrap().configuration
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_user_sends_counts_at_smtp_and_smtps_together_and_elsewhere_apart() {
        let configuration = configured(&[
            ("CONFIG", "/dev/null"),
            ("SERVER_HOSTNAME", "host.example.org"),
            ("RATES_PER_USER", "1/h"),
            ("LISTENER_OTHER_LISTEN", "127.0.0.1:26"),
        ]);
        let mut said = Vec::new();
        for listener in &configuration.listeners {
            let policy = rate_policy(listener.rules.limits.clone(), |_| {}, allow_all());
            let recipient: hedwig_envelope::Address = "b@example.net".parse().unwrap();
            let peer = Peer { authenticated: Some("alice".into()), ..Peer::new(None) };
            let envelope = Envelope::new(ReversePath::Null, [recipient]);
            let question = Question::Data { peer: peer.into(), envelope: envelope.into() };
            said.push((&*listener.name, policy.oneshot(question).await.unwrap().code()));
        }
        assert_eq!(said, [("smtp", 250), ("smtps", 450), ("other", 250)]);
    }
}
