//! The road, each bend of it: one program, for what it is linked with is large.
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test is to stop it")]

mod conversations;
mod corners;
mod dane;
mod destinations;
mod dkim;
mod dnssec;
mod explanations;
mod hedwig_receives;
mod lmtp;
mod loops;
mod misbehaviour;
mod mta_sts;
mod next_host;
mod requiretls;
mod reuse;
mod routes;
mod slow_address;
mod smart_hosts;
mod sources;
mod stalls;
mod support;
mod tls;
#[cfg(feature = "tlsrpt")]
mod tls_report_times;
#[cfg(feature = "tlsrpt")]
mod tls_reports;
mod tls_table;
