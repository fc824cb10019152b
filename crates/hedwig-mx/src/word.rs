//! Outcomes that are our own word, not a server's.

use hedwig_envelope::{Class, Outcome, Relay, Reply, Status};
use hedwig_smtp::client::{ConnectionError, Phase};

use crate::{ResolveError, ResolveErrorKind, policy::Way};

/// RFC 8689 §4.2.1, RFC 7504 §5: encryption needed.
const ENCRYPTION_NEEDED: Status = Status::permanent(7, 10);

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

/// Nobody can tell which certificate the server has, so it must not be used (RFC 7672 §2.1.2).
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

/// The operator asks for TLSA records, and there are none.
pub(crate) fn dane_required(host: &str) -> Outcome {
    let text =
        format!("DNSSEC vouches for no TLSA record of {host}, and mail must not go there without");
    say(Status::transient(7, 4), text, Some(Relay::of(host)))
}

/// The mail has REQUIRETLS, and anybody may have chosen this server (RFC 8689 §4.2.1 step 2).
pub(crate) fn not_vouched_for(Way { domain, host, .. }: Way<'_>) -> Outcome {
    let text = format!(
        "Neither DNSSEC nor MTA-STS vouches for {host} as a mail server of {domain}, and this mail has REQUIRETLS"
    );
    say(ENCRYPTION_NEEDED, text, Some(Relay::of(host)))
}

/// The same, where MTA-STS may vouch for the server later.
pub(crate) fn may_be_vouched_for(Way { domain, host, .. }: Way<'_>) -> Outcome {
    let text = format!(
        "The MTA-STS policy of {domain} cannot be had, which this mail with REQUIRETLS needs for {host}"
    );
    say(Status::transient(7, 0), text, Some(Relay::of(host)))
}

/// The mail has REQUIRETLS, and the server has no TLS that is good enough (RFC 8689 §4.2.1).
pub(crate) fn encryption_needed(outcome: &Outcome) -> Outcome {
    let answer = outcome.answer();
    let text = format!("{}; this mail has REQUIRETLS", answer.reply.text());
    say(ENCRYPTION_NEEDED, text, answer.relay.clone())
}

/// The mail has REQUIRETLS, and the server does not know that (RFC 8689 §4.2.1 step 5).
pub(crate) fn requiretls_needed(relay: Relay) -> Outcome {
    let text = format!("{} does not offer REQUIRETLS, which this mail needs", relay.host);
    say(Status::permanent(7, 30), text, Some(relay))
}

fn of_dns(error: &ResolveError) -> String {
    format!("DNS look-up of {}: {}", error.name, error.reason)
}

/// The server was reached, and is of no use.
pub(crate) fn of_connection_error(error: &ConnectionError, relay: Relay) -> Outcome {
    match error {
        // Yes to what was not asked: whatever it means, no mail was taken.
        ConnectionError::Refused { reply, .. } if reply.code() < 400 => {
            say(Status::transient(5, 0), error.to_string(), Some(relay))
        }
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

/// TLS does not come about at a server that offers it. A refusal is no last word on the mail: who offered it may mean
/// it again another time.
pub(crate) fn of_starttls_error(error: &ConnectionError, relay: Relay) -> Outcome {
    match error {
        ConnectionError::Refused { phase: Phase::StartTls, reply } if reply.code() >= 400 => {
            let text = format!(
                "{} refuses STARTTLS, and this mail must not go without: {reply}",
                relay.host
            );
            say(Status::transient(7, 4), text, Some(relay))
        }
        other => of_connection_error(other, relay),
    }
}

/// The server does not let us log in. What is wrong with that is ours to mend, so no mail is given up for it.
pub(crate) fn of_login_error(error: &ConnectionError, relay: Relay) -> Outcome {
    let status = match error {
        ConnectionError::Refused { phase: Phase::Authentication, reply }
            if reply.is_permanent() =>
        {
            Status::transient(7, 8)
        }
        ConnectionError::NoMechanism { .. } => Status::transient(7, 4),
        ConnectionError::Untrusted(_) => Status::transient(7, 5),
        ConnectionError::NoRandomness => Status::transient(3, 0),
        other => return of_connection_error(other, relay),
    };
    say(status, format!("Not logged in at {}: {error}", relay.host), Some(relay))
}

/// The mail would come back to us (RFC 5321 §5.1).
pub(crate) fn loops_back(host: &str) -> Outcome {
    let text = format!("{host} leads back to this host");
    say(Status::permanent(4, 6), text, None)
}

/// The same, with what was asked of TLS and by whom.
pub(crate) fn with_policy(mut outcome: Outcome, told: &str) -> Outcome {
    let (Outcome::Done(answer) | Outcome::Deferred(answer) | Outcome::Failed(answer)) =
        &mut outcome;
    if let Some(relay) = &mut answer.relay {
        relay.tls_policy = Some(told.to_owned());
    }
    outcome
}

/// Whether it may go well another time.
pub(crate) fn is_transient(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Deferred(_))
}
