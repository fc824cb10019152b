//! Whether a domain takes mail: answers and reports of failure go there, and many take no mail from one that does not.

use std::net::IpAddr;

use hedwig_mx::{MxHost, ResolveErrorKind};

use super::{finding::Finding, patient::Patient};
use crate::init::records;

/// So many exchangers are looked at.
const HOSTS_MAX: usize = 10;

/// The MX records of a domain (RFC 5321 §5.1, RFC 7505).
pub(super) async fn mx(patient: &Patient, domain: &str) -> Vec<Finding> {
    let check = format!("mx {domain}");
    let wanted = || {
        let hosts = [patient.hostname().to_owned()];
        let record = &records::mx(domain, &hosts)[0];
        format!(
            "Publish who takes its mail: {record} (or another host), and let that host take it."
        )
    };
    let hosts = match patient.resolver.mx(domain).await {
        Ok(found) => found.value,
        Err(error) if error.kind == ResolveErrorKind::NoData => {
            return vec![implicit(patient, domain, check, wanted()).await];
        }
        Err(error) if error.kind.is_transient() => return vec![Finding::unresolved(check, &error)],
        Err(_) => {
            let advice = "Register the domain, or mend its delegation: mail from it is refused.";
            return vec![Finding::fail(check, "there is no such domain in DNS", advice)];
        }
    };
    let named: Vec<&MxHost> = hosts.iter().filter(|host| !host.name.is_empty()).collect();
    if named.is_empty() {
        let found = "a null MX says that it takes no mail, and many refuse mail from such a domain";
        return vec![Finding::fail(check, found, wanted())];
    }
    let list: Vec<String> = named.iter().map(|host| host.name.clone()).collect();
    let list = list.join(", ");
    for host in named.iter().take(HOSTS_MAX) {
        let name = &host.name;
        if name.parse::<IpAddr>().is_ok() {
            let advice = "Give the address a name, and name that.";
            return vec![Finding::fail(check, format!("{name} is an address and no host"), advice)];
        }
        match patient.resolver.addresses(name).await {
            Err(error) if error.kind.is_transient() => {
                return vec![Finding::unresolved(check, &error)];
            }
            Err(error) => {
                let advice = format!("Give {name} an A or AAAA record, or name another host.");
                return vec![Finding::fail(check, error.to_string(), advice)];
            }
            Ok(found) if found.name != *name => {
                let found = format!("{name} is an alias of {}", found.name);
                let advice =
                    "Name the host itself: some servers take no alias here (RFC 2181 §10.3).";
                return vec![Finding::warn(check, found, advice)];
            }
            Ok(_) => {}
        }
    }
    vec![Finding::ok(check, list)]
}

/// Without MX records, the domain's own address counts.
async fn implicit(patient: &Patient, domain: &str, check: String, wanted: String) -> Finding {
    match patient.resolver.addresses(domain).await {
        Ok(_) => {
            let found = "there is no MX record, and the domain's own address counts as one";
            Finding::warn(check, found, wanted)
        }
        Err(error) if error.kind.is_transient() => Finding::unresolved(check, &error),
        Err(_) => Finding::fail(check, "it has neither an MX record nor an address", wanted),
    }
}
