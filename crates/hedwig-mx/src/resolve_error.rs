//! What DNS did not give, and what that means.

use std::fmt;

use hedwig_envelope::Status;
use hickory_resolver::{
    net::{DnsError, NetError, NoRecords},
    proto::{op::ResponseCode, rr::RecordType},
};

/// The resolver's own configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[error("no resolver can be made from the configured name servers: {0}")]
pub struct ResolverConfigError(#[source] pub(crate) NetError);

/// DNS did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("look-up of {name} failed: {reason}")]
pub struct ResolveError {
    /// What that means.
    pub kind: ResolveErrorKind,
    /// What was asked for.
    pub name: String,
    /// What happened.
    pub reason: String,
}

/// What a failed look-up means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveErrorKind {
    /// DNS knows for sure that the name does not exist.
    NoSuchDomain,
    /// The name exists, without a record of this type.
    NoData,
    /// Nobody knows: a server failed, or did not answer.
    Temporary,
    /// The answer is not what the owner of the zone signed (RFC 4035 §4.3).
    Bogus,
}

impl ResolveErrorKind {
    /// What to tell of a mail that cannot go on because of it: 5.1.2, 5.4.4, 4.4.3 or 4.7.5 (RFC 3463 §3.2,
    /// §3.5, §3.8).
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::NoSuchDomain => Status::permanent(1, 2),
            Self::NoData => Status::permanent(4, 4),
            Self::Temporary => Status::transient(4, 3),
            Self::Bogus => Status::transient(7, 5),
        }
    }

    /// Whether another time may bring another answer.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Temporary | Self::Bogus)
    }
}

impl ResolveError {
    /// What the question for this type of record brought instead of one.
    pub(crate) fn of(name: &str, kind: RecordType, error: &NetError) -> Self {
        let response_code = match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
                *response_code
            }
            // That there is nothing is proved for no more than an insecure zone; the bogus is below.
            NetError::Dns(DnsError::Nsec { response, proof, .. }) if proof.is_insecure() => {
                response.metadata.response_code
            }
            NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => {
                return Self::new(ResolveErrorKind::Bogus, name, &"DNSSEC validation failed");
            }
            other => return Self::new(ResolveErrorKind::Temporary, name, other),
        };
        match response_code {
            ResponseCode::NXDomain => {
                Self::new(ResolveErrorKind::NoSuchDomain, name, &"there is no such name in DNS")
            }
            ResponseCode::NoError => no_data(name, kind),
            other => Self::new(ResolveErrorKind::Temporary, name, &other),
        }
    }

    /// The text is no name.
    pub(crate) fn no_name(name: &str, reason: &dyn fmt::Display) -> Self {
        Self::new(ResolveErrorKind::NoSuchDomain, name, reason)
    }

    fn new(kind: ResolveErrorKind, name: &str, reason: &dyn fmt::Display) -> Self {
        Self { kind, name: name.to_owned(), reason: reason.to_string() }
    }
}

/// The name has no record of this type.
pub(crate) fn no_data(name: &str, kind: RecordType) -> ResolveError {
    let reason = format!("it has no {kind} record");
    ResolveError::new(ResolveErrorKind::NoData, name, &reason)
}
