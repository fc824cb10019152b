//! The TXT record that says that there is a policy, and which (RFC 8461 §3.1).

use hickory_resolver::proto::rr::{RData, RecordType};

use crate::{ResolveError, Resolver};

/// The id of the policy that a domain has now; `None` when its zone tells of none, or of several.
///
/// # Errors
/// When nobody knows.
pub async fn policy_id(resolver: &Resolver, domain: &str) -> Result<Option<String>, ResolveError> {
    let found = match resolver.look_up(&format!("_mta-sts.{domain}"), RecordType::TXT).await {
        Ok(found) => found,
        Err(error) if error.kind.is_transient() => return Err(error),
        Err(_) => return Ok(None),
    };
    let mut records = found.value.iter().filter_map(|data| match data {
        RData::TXT(text) => String::from_utf8(text.txt_data.concat()).ok().filter(|t| is_sts(t)),
        _ => None,
    });
    let record = records.next();
    Ok(record.filter(|_| records.next().is_none()).as_deref().and_then(id))
}

fn is_sts(record: &str) -> bool {
    record.split(';').next().is_some_and(|version| version.trim_end() == "v=STSv1")
}

fn id(record: &str) -> Option<String> {
    let mut fields = record.split(';').map(|field| field.trim_matches([' ', '\t']));
    let id = fields.find_map(|field| field.strip_prefix("id="))?;
    let valid = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    valid.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_version_first_and_an_id() {
        let read = |record: &str| Some(record).filter(|r| is_sts(r)).and_then(id);
        for record in ["v=STSv1; id=20160831085700Z;", "v=STSv1;id=20160831085700Z;x=y"] {
            assert_eq!(read(record).as_deref(), Some("20160831085700Z"), "{record}");
        }
        for record in
            ["", "v=STSv1", "v=STSv1; id=", "id=1; v=STSv1", "v=STSv2; id=1", "v=STSv11; id=1"]
        {
            assert_eq!(read(record), None, "{record}");
        }
        assert_eq!(read("v=STSv1; id=a-b"), None);
        assert_eq!(read(&format!("v=STSv1; id={}", "1".repeat(33))), None);
    }
}
