#![doc = include_str!("../README.md")]

mod connect;
mod dane;
mod deliver;
mod destination;
mod dnssec;
mod hosts;
mod maildir;
mod mx;
mod name;
mod names;
mod options;
mod policy;
mod pool;
mod resolve_error;
mod resolver;
mod route;
mod sts;
mod tls;
mod transaction;
mod word;

pub mod dkim;

pub use dane::Dane;
pub use dkim::{DkimLayer, Keys};
pub use dnssec::{DnssecSupport, TrustAnchors, TrustAnchorsError};
pub use mx::Mx;
pub use names::Names;
pub use options::{Dialer, MxOptions};
pub use resolve_error::{ResolveError, ResolveErrorKind, ResolverConfigError};
pub use resolver::{Found, MxHost, Resolver};
pub use route::{Route, RouteError, Routes, Target};
pub use sts::{
    FetchError, Fetching, MtaSts, POLICY_BYTES_MAX, PolicyError, PolicyFetcher, StsPolicy,
};
#[cfg(feature = "https")]
pub use sts::{HttpsFetcher, HttpsOptions};
pub use tls::TlsPolicy;
