#![doc = include_str!("../README.md")]

mod connect;
mod deliver;
mod destination;
mod hosts;
mod maildir;
mod mx;
mod name;
mod options;
mod pool;
mod resolver;
mod route;
mod tls;
mod transaction;
mod word;

pub mod dkim;

pub use dkim::{DkimLayer, Keys};
pub use mx::Mx;
pub use options::MxOptions;
pub use resolver::{MxHost, ResolveError, ResolveErrorKind, Resolver, ResolverConfigError};
pub use route::{Route, RouteError, Routes, Target};
pub use tls::TlsPolicy;
