use std::time::Duration;

use hedwig_daemon::{
    GRACE, HOSTNAME, Hostname, delivery, log,
    settings::{Reading, Scope, Setting, Span},
    spool,
};
use hedwig_spool::Grouping;

use crate::{
    ListenerOptions, RoadOptions, TlsReportOptions,
    listener::{
        ADMIN_TOKEN, CERTIFICATE, CLIENT_AUTHORITIES, KEY, LISTEN, MAILS_MAX, SIZE_MAX, TOKEN,
    },
    road::{
        ALLOW_LOOPBACK, AUTHORITIES, CREDENTIALS, DANE, DKIM_KEYS, DNS, MTA_STS, OWN_ADDRESSES,
        PORT, ROUTE, ROUTE_AUTHORITIES, SOURCE, SOURCE_IPV4, SOURCE_IPV6, TLS, TLS_DOMAIN,
        TRUST_ANCHORS,
    },
    suppression::REMEMBER,
    tlsrpt::{CONTACT, DELAY, FROM, ORGANIZATION},
};

static DIRECTORY: Setting = spool::directory("/var/spool/hedwig-postoffice");
static RETRY: Setting = delivery::retry("5m");
static RETRY_MAX: Setting = delivery::retry_max("4h");

/// The settings of the postoffice.
pub static SCOPE: Scope = Scope {
    program: "hedwig-postoffice",
    variable_prefix: "HEDWIG_POSTOFFICE",
    file_default: "/etc/hedwig/postoffice.toml",
    table: &[
        &LISTEN,
        &TOKEN,
        &SIZE_MAX,
        &MAILS_MAX,
        &CERTIFICATE,
        &KEY,
        &CLIENT_AUTHORITIES,
        &ADMIN_TOKEN,
        &DIRECTORY,
        &spool::RETENTION,
        &delivery::EXPIRY,
        &RETRY,
        &RETRY_MAX,
        &delivery::DELAY_WARNING,
        &delivery::CONCURRENCY,
        &delivery::CONTENT_MEMORY,
        &delivery::CONCURRENCY_PER_DESTINATION,
        &delivery::CONCURRENCY_PER_SENDER,
        &delivery::RATE,
        &delivery::REPORTS_GATHERED,
        &ROUTE,
        &CREDENTIALS,
        &DNS,
        &TRUST_ANCHORS,
        &PORT,
        &ALLOW_LOOPBACK,
        &TLS,
        &TLS_DOMAIN,
        &DANE,
        &MTA_STS,
        &AUTHORITIES,
        &ROUTE_AUTHORITIES,
        &OWN_ADDRESSES,
        &SOURCE,
        &SOURCE_IPV4,
        &SOURCE_IPV6,
        &DKIM_KEYS,
        &REMEMBER,
        &CONTACT,
        &ORGANIZATION,
        &FROM,
        &DELAY,
        &HOSTNAME,
        &GRACE,
        &log::FORMAT,
        &log::LEVEL,
    ],
};

/// All that the postoffice needs to know.
pub struct Configuration {
    /// Where mail comes in, and who may bring it.
    pub listener: ListenerOptions,
    /// The queue.
    pub spool: spool::Options,
    /// How it is worked off.
    pub delivery: delivery::Options,
    /// How much of it a destination and a sender get.
    pub politeness: delivery::Politeness,
    /// How mail is delivered.
    pub road: RoadOptions,
    /// How long a recipient that does not exist is not tried again; zero: it is.
    pub suppression: Duration,
    /// Whether and how TLS is reported.
    pub tls_reports: TlsReportOptions,
    /// The name of this host.
    pub hostname: Hostname,
    /// How long a graceful stop may take.
    pub grace: Duration,
}

impl Configuration {
    /// Reads all settings; what is wrong stays with the reading.
    pub fn read(read: &mut Reading<'_>) -> Option<Self> {
        let listener = ListenerOptions::read(read);
        let spool = spool::Options::read(read, Grouping::ByDomain);
        let delivery = delivery::Options::read(read, &RETRY, &RETRY_MAX);
        let politeness = delivery::Politeness::read(read);
        let hostname = Hostname::read(read);
        let road = RoadOptions::read(read, hostname.as_ref());
        let suppression = read.one::<Span>(&REMEMBER);
        let tls_reports = TlsReportOptions::read(read, hostname.as_ref());
        let grace = read.one::<Span>(&GRACE);
        Some(Self {
            listener: listener?,
            spool: spool?,
            delivery: delivery?,
            politeness: politeness?,
            road: road?,
            suppression: suppression?.0,
            tls_reports: tls_reports?,
            hostname: hostname?,
            grace: grace?.0,
        })
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut lines = vec![format!("hostname: {}", self.hostname)];
        lines.extend(self.listener.describe());
        lines.push(format!("it is queued in: {}", self.spool.directory.display()));
        lines.extend(self.road.describe());
        let keys = &self.road.keys;
        lines.extend(
            self.tls_reports.describe(|domain| {
                keys.iter().any(|key| key.domain().eq_ignore_ascii_case(domain))
            }),
        );
        lines
    }
}
