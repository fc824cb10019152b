//! Whether SPF lets mail from our addresses pass (RFC 7208), as other servers would evaluate it.

use std::net::IpAddr;

use hedwig_mx::ResolveErrorKind;
use mail_auth::{MessageAuthenticator, SpfResult, spf::verify::SpfParameters};

use super::{Check, bounded, finding::Finding, patient::Patient};
use crate::init::{addresses::Outward, records};

/// So many addresses are evaluated for one name.
const ADDRESSES_MAX: usize = 10;

/// The policy of a domain that mail is sent from.
pub(super) async fn of_domain(patient: &Patient, domain: &str) -> Vec<Finding> {
    let known = &patient.addresses.known;
    let wanted = records::spf(domain, &patient.addresses, patient.hostname()).to_string();
    let all: Vec<&Outward> = known.iter().collect();
    vec![examine(patient, domain, &all, Identity::MailFrom, wanted).await]
}

/// The policies of the names that are said hello with, by which reports are judged, for they have no sender.
/// Names that are looked at as domains anyway are left out.
pub(super) fn of_hosts<'a>(patient: &'a Patient, domains: &[String]) -> Vec<Check<'a>> {
    let names = patient.addresses.names().into_iter();
    let names =
        names.filter(|name| patient.is_seen() && !domains.iter().any(|domain| domain == name));
    let check = |name: &'a str| {
        let ours = patient.addresses.known.iter().filter(move |outward| outward.hello == name);
        let ours: Vec<&Outward> = ours.collect();
        let wanted = records::spf_of_host(name).to_string();
        bounded(format!("spf {name}"), async move {
            vec![examine(patient, name, &ours, Identity::Hello, wanted).await]
        })
    };
    names.map(check).collect()
}

/// Which of a connection's names is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    MailFrom,
    Hello,
}

async fn examine(
    patient: &Patient,
    name: &str,
    ours: &[&Outward],
    identity: Identity,
    wanted: String,
) -> Finding {
    let check = format!("spf {name}");
    let publish = format!("Publish: {wanted}");
    let texts = match patient.resolver.txt(name).await {
        Ok(found) => found.value,
        Err(error) if error.kind.is_transient() => return Finding::unresolved(check, &error),
        Err(error)
            if error.kind == ResolveErrorKind::NoSuchDomain && identity == Identity::MailFrom =>
        {
            return Finding::fail(check, error.to_string(), publish);
        }
        Err(_) => Vec::new(),
    };
    let policies: Vec<&String> = texts.iter().filter(|text| is_policy(text)).collect();
    let policy = match (policies.as_slice(), identity) {
        ([policy], _) => policy,
        ([], Identity::MailFrom) => return Finding::fail(check, "there is no policy", publish),
        ([], Identity::Hello) => {
            let found = "there is no policy, by which reports without a sender would be judged";
            return Finding::warn(check, found, publish);
        }
        (several, _) => {
            let found =
                format!("there are {} policies, and so none counts (RFC 7208 §3.2)", several.len());
            return Finding::fail(check, found, "Put them into one record.");
        }
    };
    // mail-auth passes over what it does not know.
    if let Some(term) = unknown_mechanism(policy) {
        let found = format!(
            "permerror: {term:?} is no mechanism of SPF, so nothing of it counts: {policy}"
        );
        return Finding::fail(check, found, format!("Mend it or take it out, as in: {wanted}"));
    }
    if !patient.is_seen() {
        let found = format!("there is a policy: {policy}");
        return Finding::warn(
            check,
            found,
            "Look yourself whether it names the addresses of the server in [mx] route.",
        );
    }
    if ours.is_empty() {
        let found =
            format!("there is a policy, and our address as others see it is not known: {policy}");
        return Finding::warn(check, found, "Set [mx] own_addresses.");
    }
    let mut refused = Vec::new();
    for outward in ours.iter().take(ADDRESSES_MAX) {
        let result = evaluate(patient, name, outward, identity).await;
        if result != SpfResult::Pass {
            refused.push(format!("{} for {}", name_of(&result), outward.address));
        }
    }
    if !refused.is_empty() {
        let found = format!("{}: {policy}", refused.join(", "));
        let advice =
            format!("Let it name the addresses, at most ten look-ups deep, as in: {wanted}");
        return Finding::fail(check, found, advice);
    }
    if lets_all_pass(policy) {
        return Finding::warn(check, format!("everybody passes: {policy}"), "End it with -all.");
    }
    let addresses: Vec<IpAddr> = ours.iter().map(|outward| outward.address).collect();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Finding::ok(check, format!("pass for {}", addresses.join(", ")))
}

async fn evaluate(
    patient: &Patient,
    name: &str,
    outward: &Outward,
    identity: Identity,
) -> SpfResult {
    let authenticator = MessageAuthenticator(patient.resolver.client());
    let (ip, host) = (outward.address, patient.hostname());
    let sender = format!("postmaster@{name}");
    let asked = match identity {
        Identity::MailFrom => SpfParameters::verify_mail_from(ip, &outward.hello, host, &sender),
        Identity::Hello => SpfParameters::verify_ehlo(ip, name, host),
    };
    authenticator.verify_spf(asked).await.result()
}

/// RFC 7208 §4.5: the version, and then a space or nothing.
fn is_policy(text: &str) -> bool {
    let version = text.split(' ').next().unwrap_or_default();
    version.eq_ignore_ascii_case("v=spf1")
}

/// The first term that is neither a mechanism nor a modifier, which makes a policy void (RFC 7208 §4.6). What is
/// of a modifier's form is none, whatever its name: an unknown one is passed over (§6).
fn unknown_mechanism(policy: &str) -> Option<&str> {
    const MECHANISMS: [&str; 8] = ["all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"];
    let mut terms = policy.split(' ').skip(1).filter(|term| !term.is_empty());
    terms.find(|term| {
        let end = term.find([':', '/', '=']).unwrap_or(term.len());
        let (name, rest) = term.split_at(end);
        if rest.starts_with('=') {
            return !is_modifier_name(name);
        }
        let name = name.strip_prefix(['+', '-', '~', '?']).unwrap_or(name);
        !MECHANISMS.iter().any(|mechanism| mechanism.eq_ignore_ascii_case(name))
    })
}

/// RFC 7208 §12: a letter, then letters, digits, hyphens, underscores and dots.
fn is_modifier_name(name: &str) -> bool {
    let further = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.as_bytes().iter().all(further)
}

fn lets_all_pass(policy: &str) -> bool {
    policy
        .split_ascii_whitespace()
        .any(|term| term.eq_ignore_ascii_case("all") || term.eq_ignore_ascii_case("+all"))
}

/// RFC 7208 §2.6.
fn name_of(result: &SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_that_is_no_mechanism_makes_a_policy_void() {
        for policy in [
            "v=spf1",
            "v=spf1  a mx/24 ~ALL",
            "v=spf1 +a:x.example/24//64 ?ptr -include:y.example redirect=z.example",
            "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 exists:%{i}.x.example -all exp=e.x.example",
            "v=spf1 future-word=a:b/c ra=postmaster -all",
        ] {
            assert_eq!(unknown_mechanism(policy), None, "{policy}");
        }
        for (policy, term) in [
            ("v=spf1 ipv4:192.0.2.1 -all", "ipv4:192.0.2.1"),
            ("v=spf1 a --all", "--all"),
            ("v=spf1 192.0.2.1 -all", "192.0.2.1"),
            ("v=spf1 mx, -all", "mx,"),
            ("v=spf1 +redirect=x.example", "+redirect=x.example"),
        ] {
            assert_eq!(unknown_mechanism(policy), Some(term), "{policy}");
        }
    }

    #[test]
    fn a_policy_begins_with_its_version_as_a_word() {
        assert!(is_policy("v=spf1") && is_policy("v=spf1 -all") && is_policy("V=SPF1 a"));
        assert!(!is_policy("v=spf10 -all") && !is_policy(" v=spf1") && !is_policy("spf2.0/pra"));
        assert!(lets_all_pass("v=spf1 +all") && lets_all_pass("v=spf1 a all"));
        assert!(!lets_all_pass("v=spf1 ~all") && !lets_all_pass("v=spf1 include:all.example -all"));
    }
}
