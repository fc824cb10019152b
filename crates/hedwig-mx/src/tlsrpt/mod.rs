//! TLSRPT: how TLS went towards a domain is counted, and its owner gets a report of each day (RFC 8460).
//!
//! [`TlsCounts`] is the observer that counts; [`TlsReporter`] asks each domain where its report is to go, and sends it
//! by mail or by HTTPS.
//!
//! Reports are not reported on: a report by mail has the field `TLS-Required: No`, and of such mails no observer is told
//! ([`TlsObserver`](crate::TlsObserver)); a POST goes by no observer at all. Else two domains that report to each other
//! would never have a day without a report.

mod counts;
mod day;
mod detail;
mod post;
mod record;
mod report;
mod send;
mod store;

pub use counts::{Clock, TlsCountLimits, TlsCounts};
pub use day::{Day, DayError};
pub use post::HttpsPoster;
pub use record::{REPORT_URIS_MAX, ReportUri, ReportUriError, report_uris};
pub use report::{ReportError, Reporting};
pub use send::{ReportedDay, TlsReportTimes, TlsReporter};
