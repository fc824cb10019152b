//! How a mail to an address would go now, and why: the same rules as for a delivery, without one.

mod decide;

use std::net::SocketAddr;

use serde::Serialize;

use crate::Contact;

/// How a mail to an address would go now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The recipients' domain, as DNS spells it, or its address literal; what it is otherwise.
    pub domain: String,
    /// The route that matches.
    pub route: ExplainedRoute,
    /// Whether DNSSEC vouches for the domain's choice of servers; `None` where DNS does not choose them.
    pub vouched_for: Option<bool>,
    /// Whether answers of DNS are validated, in words.
    pub dnssec: String,
    /// The servers, in the order in which they would be tried.
    pub servers: Vec<ExplainedServer>,
    /// Why there are none, or what is said of the recipient without asking any.
    pub answer: Option<String>,
    /// What we call ourselves where no source address has a name of its own.
    pub hello_name: String,
    /// How many connections to these servers are in use, and how many may be.
    pub connections: (usize, usize),
}

/// Why mail goes where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRoute {
    /// The pattern of the rule: a name, `*.name` or `*`; `None` when no rule matches.
    pub rule: Option<String>,
    /// Where it leads, as a rule says it.
    pub target: String,
}

/// A server that would be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedServer {
    /// Of a mail exchanger; lower comes first.
    pub preference: Option<u16>,
    /// How it is spoken to: `smtp`, `smtps` or `lmtp`.
    pub scheme: String,
    /// Its name, as it was looked up, or its path.
    pub host: String,
    /// Its addresses.
    pub addresses: Vec<ExplainedAddress>,
    /// Why it would not be tried now.
    pub problem: Option<String>,
    /// What would be asked of TLS.
    pub tls: Option<ExplainedTls>,
    /// As whom we would log in.
    pub login: Option<String>,
}

/// An address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedAddress {
    /// The address and port.
    pub address: SocketAddr,
    /// How many connections to it wait for their next mail.
    pub open_connections: usize,
    /// How it went there last; `None` when nothing went there since the program began, or not lately.
    pub last: Option<Contact>,
    /// The addresses of ours that it may be reached from, one of which is chosen for each mail; empty where the
    /// system chooses.
    pub sources: Vec<ExplainedSource>,
}

/// An address of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedSource {
    /// The address.
    pub address: std::net::IpAddr,
    /// How much of the mail it gets, in percent.
    pub percent: u64,
    /// How many mails may be under way from it at once; `None` for any number.
    pub at_once_max: Option<usize>,
    /// How many are, where there is a most.
    pub under_way: Option<usize>,
    /// What we call ourselves there.
    pub hello_name: String,
}

/// What would be asked of TLS on the way to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedTls {
    /// What it is and where it comes from.
    pub policy: String,
    /// What that asks for, in words.
    pub asks: String,
    /// The TLSA records that are followed (RFC 7672), as zone files have them.
    pub tlsa: Vec<String>,
    /// The domain's MTA-STS policy (RFC 8461).
    pub mta_sts: Option<ExplainedSts>,
}

/// An MTA-STS policy, as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedSts {
    /// The id under which the zone tells of it.
    pub id: String,
    /// `enforce`, `testing` or `none`; empty when it could not be had.
    pub mode: String,
    /// The hosts and patterns that it names.
    pub hosts: Vec<String>,
    /// How many seconds ago it was fetched.
    pub fetched_seconds_ago: u64,
    /// How many seconds it is still good for.
    pub seconds_left: u64,
    /// Why a newer one could not be had.
    pub failure: Option<String>,
}
