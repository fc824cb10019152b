//! The names that we say hello with, and those of our addresses.

use hedwig_mx::ResolveErrorKind;

use super::{Check, bounded, finding::Finding, patient::Patient};
use crate::{
    init::{
        addresses::Outward,
        records::{address, reverse},
    },
    road::OWN_ADDRESSES,
};

/// So many of an address's names are followed.
const NAMES_MAX: usize = 5;

/// A check of each name, and one of each address.
pub(super) fn checks(patient: &Patient) -> Vec<Check<'_>> {
    let hostname = patient.hostname();
    let mut names = vec![hostname];
    names.extend(patient.addresses.names().into_iter().filter(|name| *name != hostname));
    let mut checks: Vec<Check<'_>> = names
        .into_iter()
        .map(|name| {
            bounded(format!("name {name}"), async move { vec![of_name(patient, name).await] })
        })
        .collect();
    if let Some(target) = &patient.detour {
        let found = format!(
            "mail goes to {target}, whose addresses others see: they are not looked at here"
        );
        checks.push(done(Finding::warn(
            "addresses",
            found,
            "SPF must name them; ask whoever runs that server.",
        )));
        return checks;
    }
    for address in &patient.addresses.hidden {
        let found = format!("others do not see {address}, but an address that nothing here tells");
        let advice = format!(
            "Set {} to it, or take the route away if nothing comes of it.",
            OWN_ADDRESSES.name()
        );
        checks.push(done(Finding::warn("addresses", found, advice)));
    }
    if patient.addresses.known.is_empty() && patient.addresses.hidden.is_empty() {
        let advice = "Give this host a way to the Internet.";
        checks.push(done(Finding::fail("addresses", "mail has no way out", advice)));
    }
    checks.extend(patient.addresses.known.iter().map(|outward| {
        let name = format!("reverse {}", outward.address);
        bounded(name.clone(), async move { vec![of_address(patient, outward, name).await] })
    }));
    checks
}

fn done<'a>(finding: Finding) -> Check<'a> {
    Box::pin(std::future::ready(vec![finding]))
}

/// A name that is said hello with is a host's, and leads to where mail comes from (RFC 5321 §2.3.5).
async fn of_name(patient: &Patient, name: &str) -> Finding {
    let check = format!("name {name}");
    let ours: Vec<&Outward> =
        patient.addresses.known.iter().filter(|outward| outward.hello == name).collect();
    let wanted = || {
        let records: Vec<String> =
            ours.iter().map(|outward| address(outward).to_string()).collect();
        if records.is_empty() {
            format!(
                "Give {name} an A or AAAA record, or set [server] hostname to a name that has one."
            )
        } else {
            format!("Publish: {}", records.join("  and  "))
        }
    };
    if name.starts_with('[') {
        let advice = "Set [server] hostname to a name; large receivers refuse literals.";
        return Finding::warn(check, "it is an address literal and no name", advice);
    }
    if !name.contains('.') {
        let advice = "Set [server] hostname to a name such as mail.example.org.";
        return Finding::fail(
            check,
            "it is not fully qualified, and other servers may refuse it",
            advice,
        );
    }
    match patient.resolver.addresses(name).await {
        Err(error) if error.kind.is_transient() => Finding::unresolved(check, &error),
        Err(error) => Finding::fail(check, error.to_string(), wanted()),
        Ok(found) => {
            let missing = ours.iter().find(|outward| !found.value.contains(&outward.address));
            let list: Vec<String> = found.value.iter().map(ToString::to_string).collect();
            let list = list.join(", ");
            match missing.filter(|_| patient.is_seen()) {
                None => Finding::ok(check, format!("it leads to {list}")),
                Some(outward) => {
                    let found = format!(
                        "it leads to {list}, and not to {}, where mail comes from",
                        outward.address
                    );
                    Finding::warn(check, found, wanted())
                }
            }
        }
    }
}

/// An address has a name that leads back to it: what large receivers ask for first.
async fn of_address(patient: &Patient, outward: &Outward, check: String) -> Finding {
    let ask = format!("Ask whoever gave you the address for: {}", reverse(outward));
    let names = match patient.resolver.names_of(outward.address).await {
        Ok(found) => found.value,
        Err(error) if error.kind.is_transient() => return Finding::unresolved(check, &error),
        Err(_) => return Finding::fail(check, "it has no name (no PTR record)", ask),
    };
    let mut confirmed = Vec::new();
    for name in names.iter().take(NAMES_MAX) {
        match patient.resolver.addresses(name).await {
            Ok(found) if found.value.contains(&outward.address) => confirmed.push(name.as_str()),
            Err(error) if error.kind == ResolveErrorKind::Temporary => {
                return Finding::unresolved(check, &error);
            }
            _ => {}
        }
    }
    if confirmed.is_empty() {
        let found = format!("its name {} does not lead back to it", names.join(", "));
        return Finding::fail(check, found, ask);
    }
    let list = confirmed.join(", ");
    if confirmed.contains(&outward.hello.as_str()) {
        return Finding::ok(check, format!("its name {list} leads back to it"));
    }
    let found = format!("its name {list} leads back to it, and we say hello as {}", outward.hello);
    let advice =
        format!("Say hello as {list} ([server] hostname, or hello= in [mx] source), or: {ask}");
    Finding::warn(check, found, advice)
}
