//! Which hosts take the mail of a domain, and in what order (RFC 5321 §5.1).

use hedwig_envelope::{Outcome, Reply, Status};

use crate::{MxHost, ResolveErrorKind, Resolver, word};

/// The mail exchangers of a domain.
#[derive(Debug)]
pub(crate) struct Exchangers {
    /// In the order in which they are to be tried; never empty.
    pub(crate) hosts: Vec<MxHost>,
    /// Whether DNSSEC vouches for the domain's choice of them.
    pub(crate) secure: bool,
}

/// The mail exchangers of a domain.
///
/// One of our own names, and all that are not preferred to it, are left out: they would send the mail
/// back to us.
///
/// # Errors
/// With what to say of the recipients when there is none.
pub(crate) async fn of_domain(
    resolver: &Resolver,
    domain: &str,
    own_names: &[String],
    hosts_max: usize,
) -> Result<Exchangers, Box<Outcome>> {
    let (records, secure) = match resolver.mx(domain).await {
        Ok(found) => (found.value, found.secure),
        // The implicit MX: the domain's own address. What vouches for that vouches for the choice.
        Err(error) if error.kind == ResolveErrorKind::NoData => {
            (vec![MxHost { preference: 0, name: domain.to_owned() }], true)
        }
        Err(error) => return Err(Box::new(word::of_resolve_error(&error, domain))),
    };
    let mut hosts = in_order(records, own_names).map_err(|error| match error {
        NoHost::Null => Box::new(takes_no_mail(domain)),
        NoHost::OnlyWe => Box::new(word::loops_back(domain)),
    })?;
    hosts.truncate(hosts_max.max(1));
    Ok(Exchangers { hosts, secure })
}

#[derive(Debug, PartialEq, Eq)]
enum NoHost {
    Null,
    OnlyWe,
}

fn in_order(mut records: Vec<MxHost>, own_names: &[String]) -> Result<Vec<MxHost>, NoHost> {
    // RFC 7505 §3: a null MX stands alone. One among others is a mistake, and is passed over.
    records.retain(|host| !host.name.is_empty());
    if records.is_empty() {
        return Err(NoHost::Null);
    }
    // Shuffled first, and sorted by an order that keeps equals: at random within one preference.
    fastrand::shuffle(&mut records);
    records.sort_by_key(|host| host.preference);
    let own = records.iter().filter(|host| own_names.contains(&host.name));
    if let Some(preference) = own.map(|host| host.preference).min() {
        records.retain(|host| host.preference < preference);
    }
    if records.is_empty() { Err(NoHost::OnlyWe) } else { Ok(records) }
}

/// RFC 7505 §4.1.
fn takes_no_mail(domain: &str) -> Outcome {
    let text = format!("The domain {domain} takes no mail");
    Outcome::of_reply(Reply::with_status(556, Status::permanent(1, 10), text), None)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn order(records: &[(u16, &str)], own: &[&str]) -> Result<Vec<String>, NoHost> {
        let records = records
            .iter()
            .map(|(preference, name)| MxHost { preference: *preference, name: (*name).into() });
        let own: Vec<String> = own.iter().map(|name| (*name).to_owned()).collect();
        let hosts = in_order(records.collect(), &own)?;
        Ok(hosts.into_iter().map(|host| host.name).collect())
    }

    #[test]
    fn lower_preference_comes_first() {
        assert_eq!(order(&[(20, "b"), (10, "a"), (30, "c")], &[]).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn equals_are_shuffled() {
        let records = [(10, "a"), (10, "b"), (10, "c"), (20, "z")];
        let orders: HashSet<Vec<String>> =
            (0..1000).map(|_| order(&records, &[]).unwrap()).collect();
        assert_eq!(orders.len(), 6);
        assert!(orders.iter().all(|order| order[3] == "z"));
    }

    #[test]
    fn we_and_all_that_are_not_preferred_to_us_are_left_out() {
        let records = [(10, "a"), (20, "we"), (20, "b"), (30, "c")];
        assert_eq!(order(&records, &["we"]).unwrap(), ["a"]);
        assert_eq!(order(&records[1..], &["we"]), Err(NoHost::OnlyWe));
    }

    #[test]
    fn a_null_mx_counts_alone_only() {
        assert_eq!(order(&[(0, "")], &[]), Err(NoHost::Null));
        assert_eq!(order(&[(0, ""), (10, "a")], &[]).unwrap(), ["a"]);
    }
}
