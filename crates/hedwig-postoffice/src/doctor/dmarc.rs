//! What a domain asks others to do with mail that only pretends to be of it, and whether our mail passes (RFC 7489).

use super::{
    finding::Finding,
    patient::Patient,
    tags::{Tags, of_version},
};
use crate::init::records;

/// So many domains above are asked, as RFC 9989 does.
const ABOVE_MAX: usize = 8;
/// So many addresses for reports are looked at.
const REPORTS_MAX: usize = 5;

/// The DMARC record that counts for a domain.
pub(super) async fn check(patient: &Patient, domain: &str) -> Vec<Finding> {
    let check = format!("dmarc {domain}");
    let reports = format!("postmaster@{domain}");
    let publish = format!("Publish: {}", records::dmarc(domain, &reports));
    for owner in domain_and_above(domain) {
        let texts = match patient.resolver.txt(&format!("_dmarc.{owner}")).await {
            Ok(found) => found.value,
            Err(error) if error.kind.is_transient() => {
                return vec![Finding::unresolved(check, &error)];
            }
            Err(_) => continue,
        };
        match of_version(&texts, "DMARC1").as_slice() {
            [] => {}
            [record] => return vec![judge(patient, check, domain, owner, record).await],
            several => {
                let found = format!("{owner} has {} records, and so none counts", several.len());
                return vec![Finding::fail(check, found, "Leave one.")];
            }
        }
    }
    vec![Finding::fail(check, "there is no policy, which large receivers ask for", publish)]
}

/// The domain, and those above it that have a name of their own.
fn domain_and_above(domain: &str) -> impl Iterator<Item = &str> {
    let above = domain.match_indices('.').map(|(dot, _)| &domain[dot + 1..]);
    std::iter::once(domain).chain(above.filter(|name| name.contains('.')).take(ABOVE_MAX))
}

async fn judge(
    patient: &Patient,
    check: String,
    domain: &str,
    owner: &str,
    record: &str,
) -> Finding {
    let tags = Tags::of(record);
    let policy = tags.get("sp").filter(|_| owner != domain).or_else(|| tags.get("p"));
    let Some(policy @ ("none" | "quarantine" | "reject")) = policy else {
        let found = format!("it says neither p=none, p=quarantine nor p=reject: {record}");
        return Finding::fail(check, found, "Begin it like v=DMARC1; p=none");
    };
    let keys = patient.configuration.road.keys.for_domain(domain);
    let is_strict = tags.get("adkim") == Some("s");
    if let Some(key) = keys.first().filter(|key| is_strict && key.domain() != domain) {
        let found = format!("adkim=s asks for signatures of {domain}, and {} signs", key.domain());
        let advice =
            format!("Make keys for it: hedwig-postoffice init {domain}; or leave adkim=s away.");
        return Finding::fail(check, found, advice);
    }
    let from = if owner == domain { String::new() } else { format!(" (by {owner})") };
    let Some(reports) = tags.get("rua").filter(|list| !list.is_empty()) else {
        let advice = format!("Add rua=mailto:postmaster@{domain}, to hear who sends as you.");
        return Finding::warn(
            check,
            format!("policy {policy}{from}, and nobody gets reports"),
            advice,
        );
    };
    for other in strangers(reports, owner).into_iter().take(REPORTS_MAX) {
        let name = format!("{owner}._report._dmarc.{other}");
        let texts = match patient.resolver.txt(&name).await {
            Ok(found) => found.value,
            Err(error) if error.kind.is_transient() => return Finding::unresolved(check, &error),
            Err(_) => Vec::new(),
        };
        if of_version(&texts, "DMARC1").is_empty() {
            let found = format!(
                "policy {policy}{from}; reports are to go to {other}, which has not consented"
            );
            let advice = format!("Publish: {}", records::dmarc_consent(owner, &other));
            return Finding::warn(check, found, advice);
        }
    }
    let aligned = if keys.is_empty() { "" } else { ", our signatures are aligned" };
    Finding::ok(check, format!("policy {policy}{from}{aligned}, reports go to {reports}"))
}

/// The domains, others than the record's own and those below it, that reports go to by mail.
fn strangers(reports: &str, owner: &str) -> Vec<String> {
    let addresses = reports.split(',').filter_map(|uri| {
        let address = uri.trim().strip_prefix("mailto:")?;
        let address = address.split(['!', '?']).next()?;
        Some(address.rsplit_once('@')?.1.to_ascii_lowercase())
    });
    let mut others: Vec<String> = addresses
        .filter(|other| other != owner && !other.ends_with(&format!(".{owner}")))
        .collect();
    others.dedup();
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_domain_decides_and_no_top_level_domain_is_asked() {
        let asked: Vec<&str> = domain_and_above("a.b.example.org").collect();
        assert_eq!(asked, ["a.b.example.org", "b.example.org", "example.org"]);
        let deep = "x.".repeat(30) + "example.org";
        assert_eq!(domain_and_above(&deep).count(), 1 + ABOVE_MAX);
    }

    #[test]
    fn whoever_else_gets_reports_is_found() {
        let reports = "mailto:a@example.org, mailto:b@sub.example.org,mailto:c@Example.net!10m,https://x.example";
        assert_eq!(strangers(reports, "example.org"), ["example.net"]);
    }
}
