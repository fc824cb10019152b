//! What `init` says: a zone file with remarks, or JSON.

use std::{
    io::{self, Write},
    net::IpAddr,
    path::PathBuf,
};

use serde_json::json;

use super::records::{Record, policy_url};

/// All that is to be said.
pub(super) struct Plan {
    pub(super) domain: String,
    pub(super) keys: Vec<Key>,
    pub(super) records: Vec<Record>,
    /// The policy file of MTA-STS.
    pub(super) policy: String,
    /// Addresses of this host behind which others see another one.
    pub(super) hidden: Vec<IpAddr>,
}

pub(super) struct Key {
    pub(super) selector: String,
    pub(super) algorithm: &'static str,
    pub(super) file: PathBuf,
    /// Whether it was just made.
    pub(super) made: bool,
}

impl Plan {
    /// Prints a zone file (RFC 1035 §5): remarks begin with a semicolon.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let domain = &self.domain;
        for key in &self.keys {
            let made = if key.made { "made" } else { "was there" };
            writeln!(out, "; {made}: {} ({})", key.file.display(), key.algorithm)?;
        }
        if self.keys.iter().any(|key| key.made) {
            writeln!(
                out,
                "; A running postoffice signs with new keys within seconds: publish the records now."
            )?;
        }
        for address in &self.hidden {
            writeln!(
                out,
                "; Others do not see {address}, where mail comes from, but an address that nothing here tells: \
                 set [mx] own_addresses, and do this again."
            )?;
        }
        writeln!(out, "\n; In the zone of {domain}:")?;
        let (own, other): (Vec<_>, Vec<_>) =
            self.records.iter().partition(|record| record.is_below(domain));
        write_records(out, &own)?;
        if !other.is_empty() {
            writeln!(out, "\n; In other zones:")?;
            write_records(out, &other)?;
        }
        writeln!(
            out,
            "\n; For MTA-STS, a web server at mta-sts.{domain} with a certificate for that name answers"
        )?;
        writeln!(out, "; {} with Content-Type: text/plain and", policy_url(domain))?;
        self.policy.lines().try_for_each(|line| writeln!(out, ";     {line}"))
    }

    /// Prints one JSON object.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let keys = self.keys.iter().map(|key| {
            json!({
                "selector": key.selector,
                "algorithm": key.algorithm,
                "file": key.file.to_string_lossy(),
                "made": key.made,
            })
        });
        let records = self.records.iter().map(|record| {
            json!({
                "name": record.name,
                "type": record.kind(),
                "value": record.value(),
                "zone_line": record.to_string(),
                "in_zone": record.is_below(&self.domain),
                "purpose": record.purpose,
            })
        });
        let whole = json!({
            "domain": self.domain,
            "keys": keys.collect::<Vec<_>>(),
            "records": records.collect::<Vec<_>>(),
            "mta_sts_policy": { "url": policy_url(&self.domain), "text": self.policy },
            "unknown_addresses_behind": self.hidden,
        });
        writeln!(out, "{whole}")
    }
}

/// A remark before those of one purpose.
fn write_records(out: &mut impl Write, records: &[&Record]) -> io::Result<()> {
    let mut last = "";
    for record in records {
        if record.purpose != last {
            writeln!(out, "; {}", record.purpose)?;
            last = record.purpose;
        }
        writeln!(out, "{record}")?;
    }
    Ok(())
}
