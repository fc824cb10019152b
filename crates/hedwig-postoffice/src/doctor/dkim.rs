//! Whether the keys that are published are those that sign (RFC 6376 §3.6.1).

use base64::{Engine, prelude::BASE64_STANDARD};
use hedwig_mx::dkim::SigningKey;

use super::{Check, bounded, finding::Finding, patient::Patient, tags::Tags};
use crate::init::records;

/// So many keys are looked at for one domain.
const KEYS_MAX: usize = 20;
/// What comes before an RSA key of 2048 bits in the form that has its algorithm in front.
const RSA_2048_PREFIX_BYTES: usize = 24;

/// A check of each key that signs for a domain.
pub(super) fn checks<'a>(patient: &'a Patient, domain: &str) -> Vec<Check<'a>> {
    let road = &patient.configuration.road;
    let keys = road.keys.for_domain(domain);
    if keys.is_empty() {
        let advice = match &road.key_directory {
            Some(_) => format!("Make keys: hedwig-postoffice init {domain}"),
            None => format!("Set [dkim] keys, and make keys: hedwig-postoffice init {domain}"),
        };
        let finding = Finding::fail(format!("dkim {domain}"), "no key signs its mail", advice);
        return vec![Box::pin(std::future::ready(vec![finding]))];
    }
    let check = |key: &'a SigningKey| {
        let name = format!("dkim {}._domainkey.{}", key.selector(), key.domain());
        bounded(name.clone(), async move { vec![of_key(patient, key, name).await] })
    };
    keys.iter().take(KEYS_MAX).map(|key| check(key)).collect()
}

async fn of_key(patient: &Patient, key: &SigningKey, check: String) -> Finding {
    let (name, ours) = key.dns_record();
    let publish = format!("Publish: {}", records::dkim(key));
    match patient.resolver.txt(&name).await {
        Ok(found) => judge(check, &found.value, &ours, &publish),
        Err(error) if error.kind.is_transient() => Finding::unresolved(check, &error),
        Err(_) => Finding::fail(check, "the key signs and is not published", publish),
    }
}

/// What a verifier makes of these records for a signature with our key.
fn judge(check: String, published: &[String], ours: &str, publish: &str) -> Finding {
    let [record] = published else {
        let found = format!("there are {} TXT records, and one is looked for", published.len());
        return Finding::fail(check, found, format!("Leave one. {publish}"));
    };
    let (theirs, ours) = (Tags::of(record), Tags::of(ours));
    let same_version = theirs.get("v").is_none_or(|version| version == "DKIM1");
    let kind = |tags: &Tags| tags.get("k").unwrap_or("rsa").to_owned();
    if !same_version || (theirs.get("v").is_some() && !theirs.begin_with("v", "DKIM1")) {
        return Finding::fail(check, format!("this is no DKIM key: {record}"), publish);
    }
    match theirs.get("p") {
        None => return Finding::fail(check, format!("it holds no key: {record}"), publish),
        Some("") => {
            let advice = format!("Remove the key's file, or publish it again: {publish}");
            return Finding::fail(check, "the key is revoked, and still signs", advice);
        }
        Some(published) if kind(&theirs) != kind(&ours) || !is_same(published, ours.get("p")) => {
            let found = format!("another key is published than signs: p={published}");
            return Finding::fail(check, found, publish);
        }
        Some(_) => {}
    }
    let lists = |tag: &str, wanted: &[&str]| {
        theirs.get(tag).is_none_or(|list| list.split(':').any(|one| wanted.contains(&one.trim())))
    };
    if !lists("h", &["sha256"]) || !lists("s", &["*", "email"]) {
        let found = format!("the record allows no such signatures: {record}");
        return Finding::fail(check, found, format!("Leave h= and s= away. {publish}"));
    }
    if theirs.get("t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y")) {
        return Finding::warn(check, "t=y says that it is only a test", "Leave t=y away.");
    }
    Finding::ok(check, format!("the key that signs ({}) is published", kind(&ours)))
}

/// Whether two keys in base64 are one. An RSA key may be written with or without its algorithm in front.
fn is_same(theirs: &str, ours: Option<&str>) -> bool {
    let decode = |text: &str| {
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        BASE64_STANDARD.decode(text).ok()
    };
    match (decode(theirs), ours.and_then(decode)) {
        (Some(theirs), Some(ours)) => {
            theirs == ours || ours.get(RSA_2048_PREFIX_BYTES..).is_some_and(|bare| bare == theirs)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use hedwig_mx::dkim::{KeyKind, generate};

    use super::*;
    use crate::doctor::finding::Level;

    fn level(published: &[&str], ours: &str) -> (Level, String) {
        let published: Vec<String> = published.iter().map(|text| (*text).to_owned()).collect();
        let finding = judge("dkim".into(), &published, ours, "Publish: it");
        assert_eq!(finding.advice.is_none(), finding.level == Level::Ok, "{finding:?}");
        (finding.level, finding.found)
    }

    #[test]
    fn a_key_is_the_same_however_it_is_written() {
        let (_, ours) = generate(KeyKind::Rsa2048, "example.org", "s").unwrap().key.dns_record();
        let p = ours.rsplit("p=").next().unwrap();
        let bare =
            BASE64_STANDARD.encode(&BASE64_STANDARD.decode(p).unwrap()[RSA_2048_PREFIX_BYTES..]);
        let spaced = format!("{} {}", &p[..100], &p[100..]);
        for right in [
            ours.clone(),
            format!("p={p}"),
            format!("v=DKIM1;k=rsa;t=s;s=email:x;h=sha1:sha256;p={spaced};n=note"),
            format!("v=DKIM1; p={bare}"),
        ] {
            assert_eq!(level(&[&right], &ours).0, Level::Ok, "{right}");
        }
    }

    #[test]
    fn what_verifiers_would_not_take_fails() {
        let record = |domain| generate(KeyKind::Ed25519, domain, "s").unwrap().key.dns_record().1;
        let (ours, other) = (record("example.org"), record("example.org"));
        let p = ours.rsplit("p=").next().unwrap();
        for (published, reason) in [
            (vec![other.as_str()], "another key"),
            (vec![ours.as_str(), ours.as_str()], "2 TXT records"),
            (vec![&*format!("v=DKIM1; p={p}")], "another key"),
            (vec!["v=DKIM1; k=ed25519; p="], "revoked"),
            (vec!["v=DKIM1; k=ed25519"], "no key"),
            (vec![&*format!("v=DKIM2; k=ed25519; p={p}")], "no DKIM key"),
            (vec![&*format!("v=DKIM1; k=ed25519; h=sha1; p={p}")], "allows no such"),
            (vec![&*format!("v=DKIM1; k=ed25519; p={}", &p[..20])], "another key"),
        ] {
            let (level, found) = level(&published, &ours);
            assert!(level == Level::Fail && found.contains(reason), "{published:?}: {found}");
        }
        assert_eq!(level(&[&format!("v=DKIM1; t=y; k=ed25519; p={p}")], &ours).0, Level::Warn);
    }
}
