#![doc = include_str!("../README.md")]

mod attempt;
mod authorities;
mod connect;
mod contacts;
mod dane;
mod deliver;
mod destination;
mod dnssec;
mod explain;
mod gates;
mod hosts;
#[cfg(feature = "https")]
mod https;
mod judged;
mod logins;
mod maildir;
mod mx;
mod name;
mod names;
mod observe;
mod options;
mod policy;
mod pool;
mod race;
mod resolve_error;
mod resolver;
mod route;
mod source;
mod sts;
mod tls;
mod tls_rules;
mod tls_session;
mod transaction;
mod word;

pub mod dkim;
#[cfg(feature = "tlsrpt")]
pub mod tlsrpt;

pub use authorities::{Authorities, AuthoritiesError};
pub use contacts::Contact;
pub use dane::Dane;
pub use dkim::{DkimLayer, Keys};
pub use dnssec::{DnssecSupport, TrustAnchors, TrustAnchorsError};
pub use explain::{
    ExplainedAddress, ExplainedRoute, ExplainedServer, ExplainedSource, ExplainedSts, ExplainedTls,
    Explanation,
};
pub use logins::{Logins, LoginsError};
pub use mx::Mx;
pub use name::{reverse_name, to_ascii};
pub use names::Names;
pub use options::{Dialer, MxOptions};
pub use resolve_error::{ResolveError, ResolveErrorKind, ResolverConfigError};
pub use resolver::{Found, MxHost, Resolver};
pub use route::{Route, RouteError, Routes, Target};
pub use source::{Source, SourceError};
pub use sts::{
    FetchError, Fetching, MtaSts, POLICY_BYTES_MAX, PolicyError, PolicyFetcher, StsPolicy,
    policy_id,
};
#[cfg(feature = "https")]
pub use sts::{HttpsFetcher, HttpsOptions};
pub use tls::TlsPolicy;
pub use tls_rules::{TlsLevel, TlsRule, TlsRuleError, TlsRules};
pub use tls_session::{SessionPolicy, TlsFailure, TlsFailureKind, TlsObserver, TlsSession};
