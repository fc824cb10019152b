//! Where one recipient's mail goes, and which recipients go there together.

use std::{collections::HashMap, fmt, net::IpAddr, path::PathBuf};

use hedwig_envelope::{Address, Domain, Envelope, Outcome, Reply, Status};

use crate::{Routes, Target, name};

/// Where a mail goes. Recipients with equal destinations share a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    /// The mail exchangers of a domain, in A-labels.
    Mx(String),
    /// The host of an address literal (RFC 5321 §4.1.3).
    Literal(IpAddr),
    /// A server that a route names.
    Host { host: String, port: u16, scheme: Scheme },
    /// An LMTP server behind a Unix socket.
    LmtpUnix(PathBuf),
    /// A Maildir.
    Maildir(PathBuf),
    /// None: this is said instead.
    Answer(Reply),
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    /// SMTP, over TLS from STARTTLS on.
    Smtp,
    /// SMTP over TLS from the first byte on.
    Smtps,
    /// LMTP, over TLS from STARTTLS on.
    Lmtp,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp => "smtp",
            Self::Smtps => "smtps",
            Self::Lmtp => "lmtp",
        })
    }
}

impl Destination {
    pub(crate) fn of(address: &Address, routes: &Routes) -> Self {
        let Some(domain) = address.domain() else {
            let text = "postmaster without a domain is local, and nothing is local here";
            return Self::Answer(Reply::with_status(550, Status::permanent(1, 2), text));
        };
        let (text, own) = match domain {
            Domain::Name(domain) => match name::to_ascii(domain) {
                Some(domain) => {
                    let own = Self::Mx(domain.clone().into_owned());
                    (domain, own)
                }
                None => {
                    let text = "The domain has no form that DNS could hold";
                    return Self::Answer(Reply::with_status(550, Status::permanent(1, 2), text));
                }
            },
            Domain::Literal(address_literal) => {
                let text = address.domain_text().unwrap_or_default();
                (text.into(), Self::Literal(address_literal.to_canonical()))
            }
            Domain::GeneralLiteral(text) => {
                let reply = "Nobody has defined this kind of address literal";
                let reply = Reply::with_status(550, Status::permanent(1, 2), reply);
                (text.into(), Self::Answer(reply))
            }
        };
        match routes.target(&text) {
            Target::Mx => own,
            Target::Smtp { host, port } => {
                Self::Host { host: host.clone(), port: *port, scheme: Scheme::Smtp }
            }
            Target::Smtps { host, port } => {
                Self::Host { host: host.clone(), port: *port, scheme: Scheme::Smtps }
            }
            Target::Lmtp { host, port } => {
                Self::Host { host: host.clone(), port: *port, scheme: Scheme::Lmtp }
            }
            Target::LmtpUnix { path } => Self::LmtpUnix(path.clone()),
            Target::Maildir { path } => Self::Maildir(path.clone()),
            Target::Fail(reply) => Self::Answer(reply.clone()),
            Target::Discard => {
                Self::Answer(Reply::with_status(250, Status::OK, "Discarded, as it is routed"))
            }
        }
    }
}

/// Recipients that go to one destination, by their places in the envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) destination: Destination,
    pub(crate) recipients: Vec<usize>,
}

/// The recipients of an envelope by destination, in the order in which each is first named.
pub(crate) fn groups(envelope: &Envelope, routes: &Routes) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::with_capacity(1);
    let mut places: HashMap<Destination, usize> = HashMap::new();
    for (index, recipient) in envelope.recipients.iter().enumerate() {
        let destination = Destination::of(&recipient.address, routes);
        // Most mails have one destination: then nothing is hashed.
        if let [group] = groups.as_mut_slice()
            && group.destination == destination
        {
            group.recipients.push(index);
            continue;
        }
        if places.is_empty() && !groups.is_empty() {
            places.insert(groups[0].destination.clone(), 0);
        }
        if let Some(&place) = places.get(&destination) {
            groups[place].recipients.push(index);
            continue;
        }
        places.insert(destination.clone(), groups.len());
        groups.push(Group { destination, recipients: vec![index] });
    }
    groups
}

/// The same word for so many recipients.
pub(crate) fn answer_all(reply: &Reply, recipients: usize) -> Vec<Outcome> {
    vec![Outcome::of_reply(reply.clone(), None); recipients]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedwig_envelope::ReversePath;

    fn group(recipients: &[&str], routes: &[&str]) -> Vec<(Destination, Vec<usize>)> {
        let recipients = recipients.iter().map(|r| r.parse::<Address>().unwrap());
        let routes = routes.iter().map(|r| r.parse::<crate::Route>().unwrap()).collect();
        groups(&Envelope::new(ReversePath::Null, recipients), &routes)
            .into_iter()
            .map(|group| (group.destination, group.recipients))
            .collect()
    }

    #[test]
    fn recipients_of_one_domain_go_together() {
        let mx = |domain: &str| Destination::Mx(domain.into());
        assert_eq!(
            group(&["a@x.example", "b@y.example", "c@X.example", "d@y.example"], &[]),
            [(mx("x.example"), vec![0, 2]), (mx("y.example"), vec![1, 3])]
        );
        assert_eq!(
            group(&["a@bücher.example", "b@xn--bcher-kva.example"], &[]),
            [(mx("xn--bcher-kva.example"), vec![0, 1])]
        );
    }

    #[test]
    fn domains_with_one_route_go_together() {
        let relay = Destination::Host { host: "relay".into(), port: 25, scheme: Scheme::Smtp };
        assert_eq!(
            group(&["a@x.example", "b@y.example"], &["*=smtp://relay"]),
            [(relay, vec![0, 1])]
        );
    }

    #[test]
    fn literals_are_destinations_unless_routed() {
        let literal = "192.0.2.1".parse().unwrap();
        assert_eq!(group(&["a@[192.0.2.1]"], &[]), [(Destination::Literal(literal), vec![0])]);
        let [(destination, _)] = &group(&["a@[192.0.2.1]"], &["[192.0.2.1]=discard"])[..] else {
            panic!("more than one group")
        };
        assert!(matches!(destination, Destination::Answer(reply) if reply.is_success()));
    }

    #[test]
    fn what_has_no_destination_is_answered() {
        for recipient in ["postmaster", "a@[x-net:40]"] {
            let [(Destination::Answer(reply), _)] = &group(&[recipient], &[])[..] else {
                panic!("{recipient} has a destination")
            };
            assert_eq!(reply.status(), Some(Status::permanent(1, 2)));
        }
    }
}
