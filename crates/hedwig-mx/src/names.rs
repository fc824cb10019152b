use std::{future::Future, net::IpAddr, pin::Pin};

use crate::{Found, MxHost, ResolveError, ResolveErrorKind};

/// Knows names in the place of name servers: a table, another kind of directory, or a test that lets DNS fail
/// when it likes.
pub trait Names: Send + Sync {
    /// The MX records of a domain (RFC 5321 §5.1).
    fn mx<'a>(&'a self, domain: &'a str) -> Answer<'a, Vec<MxHost>>;

    /// The addresses of a host.
    fn addresses<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>>;
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ResolveErrorKind>> + Send + 'a>>;

/// What names say, in the words of a resolver. No DNSSEC vouches for it.
pub(crate) async fn found<T>(name: &str, answer: Answer<'_, T>) -> Result<Found<T>, ResolveError> {
    match answer.await {
        Ok(value) => {
            let name = name.to_ascii_lowercase();
            Ok(Found { value, secure: false, name, alias_secure: false })
        }
        Err(kind) => Err(ResolveError {
            kind,
            name: name.to_owned(),
            reason: "so say the names that were given in the place of DNS".into(),
        }),
    }
}
