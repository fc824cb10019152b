//! Outcomes that are our own word, not a server's.

use hedwig_envelope::{Class, Outcome, Relay, Reply, Status};
use hedwig_smtp::client::ConnectionError;

use crate::{ResolveError, ResolveErrorKind};

/// What we say of a recipient, about a server that we tried or about none.
pub(crate) fn say(status: Status, text: String, relay: Option<Relay>) -> Outcome {
    let code = if status.class == Class::Permanent { 550 } else { 451 };
    Outcome::of_reply(Reply::with_status(code, status, text), relay)
}

/// The domain cannot be found, or not now.
pub(crate) fn of_resolve_error(error: &ResolveError, domain: &str) -> Outcome {
    let text = match error.kind {
        ResolveErrorKind::NoSuchDomain => format!("The domain {domain} does not exist"),
        ResolveErrorKind::NoData => {
            format!("The domain {domain} has no mail server and no address")
        }
        ResolveErrorKind::Temporary | ResolveErrorKind::Bogus => of_dns(error),
    };
    say(error.kind.status(), text, None)
}

/// A server that the domain names cannot be found, or not now.
pub(crate) fn of_host_error(error: &ResolveError) -> Outcome {
    let relay = Relay::of(error.name.clone());
    let (status, text) = match error.kind {
        ResolveErrorKind::NoSuchDomain | ResolveErrorKind::NoData => {
            (Status::permanent(4, 4), format!("The server {} has no address", error.name))
        }
        ResolveErrorKind::Temporary | ResolveErrorKind::Bogus => {
            (error.kind.status(), of_dns(error))
        }
    };
    say(status, text, Some(relay))
}

/// A server that a route names cannot be found, now.
pub(crate) fn of_route_error(error: &ResolveError) -> Outcome {
    let relay = Relay::of(error.name.clone());
    let status = match error.kind {
        ResolveErrorKind::Temporary | ResolveErrorKind::Bogus => error.kind.status(),
        ResolveErrorKind::NoSuchDomain | ResolveErrorKind::NoData => Status::transient(4, 4),
    };
    let text = format!("The server {} of the route has no address: {}", error.name, error.reason);
    say(status, text, Some(relay))
}

/// Nobody can tell which certificate the server has, so it must not be used (RFC 7672 §2.1.3).
pub(crate) fn of_tlsa_error(error: &ResolveError, host: &str) -> Outcome {
    let relay = Relay::of(host);
    say(error.kind.status(), of_dns(error), Some(relay))
}

/// The domain's MTA-STS policy does not name the host, so it must not be used (RFC 8461 §5). The policy or the MX
/// record may be mended.
pub(crate) fn not_named_by_policy(host: &str, domain: &str) -> Outcome {
    let relay = Relay::of(host);
    let text = format!("{host} is not a mail server that the MTA-STS policy of {domain} names");
    say(Status::transient(7, 0), text, Some(relay))
}

fn of_dns(error: &ResolveError) -> String {
    format!("DNS look-up of {}: {}", error.name, error.reason)
}

/// The server was reached, and is of no use.
pub(crate) fn of_connection_error(error: &ConnectionError, relay: Relay) -> Outcome {
    match error {
        ConnectionError::Refused { reply, .. } => Outcome::of_reply(reply.clone(), Some(relay)),
        ConnectionError::Tls(_) => say(Status::transient(7, 5), error.to_string(), Some(relay)),
        ConnectionError::Protocol { .. } => {
            say(Status::transient(5, 0), error.to_string(), Some(relay))
        }
        ConnectionError::HelloName(_) => {
            say(Status::transient(3, 5), error.to_string(), Some(relay))
        }
        _ => say(Status::transient(4, 2), error.to_string(), Some(relay)),
    }
}

/// The mail would come back to us (RFC 5321 §5.1).
pub(crate) fn loops_back(host: &str) -> Outcome {
    let text = format!("{host} leads back to this host");
    say(Status::permanent(4, 6), text, None)
}

/// Whether it may go well another time.
pub(crate) fn is_transient(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Deferred(_))
}
