//! MTA-STS: a domain says over HTTPS which exchangers it has, and that they have certificates (RFC 8461).

mod cache;
#[cfg(feature = "https")]
mod https;
mod policy;
mod record;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

pub(crate) use cache::{Policies, Said};
#[cfg(feature = "https")]
pub use https::{HttpsFetcher, HttpsOptions};
pub(crate) use policy::Mode;
pub use policy::{PolicyError, StsPolicy};
pub use record::policy_id;

/// How to follow MTA-STS policies.
#[derive(Clone)]
pub struct MtaSts {
    /// Where policies come from.
    pub fetcher: Arc<dyn PolicyFetcher>,
    /// How many domains' policies are kept. The one used longest ago goes first.
    pub policies_max: usize,
}

impl MtaSts {
    /// Follows policies that come from `fetcher`.
    #[must_use]
    pub fn new(fetcher: impl PolicyFetcher) -> Self {
        Self { fetcher: Arc::new(fetcher), policies_max: 10_000 }
    }
}

impl fmt::Debug for MtaSts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MtaSts").field("policies_max", &self.policies_max).finish_non_exhaustive()
    }
}

/// Gets a domain's policy from `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 §3.3).
///
/// With the feature `https`, [`HttpsFetcher`] does; without it, bring an HTTP client of your own.
pub trait PolicyFetcher: Send + Sync + 'static {
    /// The text of the policy, at most [`POLICY_BYTES_MAX`] long. `domain` is in A-labels. It must end in a
    /// bounded time: mails wait for it.
    fn fetch<'a>(&'a self, domain: &'a str) -> Fetching<'a>;
}

/// A policy on its way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<String, FetchError>> + Send + 'a>>;

/// The longest policy that is read (RFC 8461 §3.2 suggests it).
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Why there is no policy's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The web server's certificate is not trusted.
    #[error("{0}")]
    Untrusted(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}
