//! What a domain asks of TLS from those who send to it: MTA-STS (RFC 8461) and TLSRPT (RFC 8460). Neither is a must.

use hedwig_mx::{ResolveErrorKind, StsPolicy, policy_id, tlsrpt::ReportUri};

use super::{
    finding::Finding,
    patient::Patient,
    tags::{Tags, of_version},
};
use crate::init::records;

/// The policy: announced in DNS, to be had over HTTPS, and naming every exchanger.
pub(super) async fn policy(patient: &Patient, domain: &str) -> Vec<Finding> {
    let check = format!("mta-sts {domain}");
    vec![look_at_policy(patient, domain, &check).await.unwrap_or_else(|finding| *finding)]
}

async fn look_at_policy(
    patient: &Patient,
    domain: &str,
    check: &str,
) -> Result<Finding, Box<Finding>> {
    let wrong = |found: String, advice: &str| Box::new(Finding::fail(check, found, advice));
    let url = records::policy_url(domain);
    let texts = match patient.resolver.txt(&format!("_mta-sts.{domain}")).await {
        Ok(found) => found.value,
        Err(error) if error.kind.is_transient() => {
            return Err(Box::new(Finding::unresolved(check, &error)));
        }
        Err(_) => Vec::new(),
    };
    if of_version(&texts, "STSv1").is_empty() {
        let advice = format!(
            "It is no must. With it, those who know it send to you over TLS alone: hedwig-postoffice init {domain} prints it."
        );
        return Ok(Finding::warn(check, "there is no policy", advice));
    }
    let id = policy_id(&patient.resolver, domain).await;
    let id = id.map_err(|error| Box::new(Finding::unresolved(check, &error)))?;
    let Some(id) = id else {
        let found = format!(
            "the record has no id of letters and digits, or there are several: {}",
            texts.join(" | ")
        );
        return Err(wrong(found, "Leave one, like v=STSv1; id=20261126T120000Z"));
    };
    let text = patient.policies.fetch(domain).await.map_err(|error| {
        let advice = format!(
            "Let a web server with a certificate for mta-sts.{domain} answer {url}, or remove the record."
        );
        wrong(format!("{url} cannot be had: {error}"), &advice)
    })?;
    let policy: StsPolicy = text.parse().map_err(|error| {
        wrong(
            format!("{url} is no policy: {error}"),
            "Write it as RFC 8461 §3.2 shows, and give the record a new id.",
        )
    })?;
    let hosts = match patient.resolver.mx(domain).await {
        Ok(found) => found.value.into_iter().map(|host| host.name).collect(),
        Err(error) if error.kind == ResolveErrorKind::NoData => vec![domain.to_owned()],
        Err(error) if error.kind.is_transient() => {
            return Err(Box::new(Finding::unresolved(check, &error)));
        }
        Err(_) => Vec::new(),
    };
    let unnamed: Vec<String> =
        hosts.into_iter().filter(|host| !host.is_empty() && !policy.names(host)).collect();
    let mode = mode(&text);
    if mode == "none" {
        let advice = "Say mode: testing or mode: enforce, or remove record and policy.";
        return Ok(Finding::warn(check, "mode: none says that there is no policy", advice));
    }
    if !unnamed.is_empty() {
        let found = format!("the policy does not name the exchanger {}", unnamed.join(", "));
        let advice =
            format!("Add a line mx: {} to {url}, and give the record a new id.", unnamed[0]);
        return Err(wrong(found, &advice));
    }
    Ok(Finding::ok(check, format!("policy {id}, mode {mode}, names every exchanger")))
}

/// What a policy that was read says of its mode.
fn mode(text: &str) -> String {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("mode"));
    let value = line.and_then(|rest| rest.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

/// Where others report how TLS went.
pub(super) async fn reports(patient: &Patient, domain: &str) -> Vec<Finding> {
    let check = format!("tlsrpt {domain}");
    let publish = records::tls_reports(domain, &format!("postmaster@{domain}"));
    let texts = match patient.resolver.txt(&format!("_smtp._tls.{domain}")).await {
        Ok(found) => found.value,
        Err(error) if error.kind.is_transient() => return vec![Finding::unresolved(check, &error)],
        Err(_) => Vec::new(),
    };
    vec![match of_version(&texts, "TLSRPTv1").as_slice() {
        [] => {
            let advice = format!(
                "It is no must. To hear of servers that cannot reach you over TLS, publish: {publish}"
            );
            Finding::warn(check, "nobody gets reports of TLS", advice)
        }
        [record] => match Tags::of(record).get("rua") {
            Some(uris) if are_uris(uris) => Finding::ok(check, format!("reports go to {uris}")),
            _ => {
                let found = format!("it names neither mailto: nor https: in rua=: {record}");
                Finding::fail(check, found, format!("Publish: {publish}"))
            }
        },
        several => {
            let found =
                format!("there are {} records, and so none counts (RFC 8460 §3)", several.len());
            Finding::fail(check, found, "Leave one.")
        }
    }]
}

/// Whether each can be reported to, as those who report read it.
fn are_uris(list: &str) -> bool {
    list.split(',').all(|uri| uri.trim().parse::<ReportUri>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_go_by_mail_or_https() {
        assert!(are_uris("mailto:a@example.org, https://example.org/x"));
        assert!(!are_uris("") && !are_uris("a@example.org") && !are_uris("mailto:a@b.c,http://x"));
        assert_eq!(mode("version: STSv1\r\nmode : testing \r\n"), "testing");
    }
}
