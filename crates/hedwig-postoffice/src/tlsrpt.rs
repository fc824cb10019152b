//! Reports of how TLS went, for the domains that mail went to (RFC 8460).

use std::{future::Future, io, path::Path, sync::Arc, time::Duration};

use hedwig_daemon::{
    Hostname,
    settings::{Reading, Setting, Span},
};
use hedwig_envelope::{Address, MailService, Timestamp};
use hedwig_mx::{
    MxOptions, Resolver,
    tlsrpt::{
        Clock, HttpsPoster, Reporting, TlsCountLimits, TlsCounts, TlsReportTimes, TlsReporter,
    },
};

pub(crate) static CONTACT: Setting = Setting::text("tlsrpt", "contact", "ADDRESS")
    .help(
        "Count how TLS goes towards other servers, and report it daily to the domains that ask for it (RFC 8460); \
           questions go to ADDRESS. Without it nothing is counted and reported",
    )
    .example("postmaster@example.org");
pub(crate) static ORGANIZATION: Setting = Setting::text("tlsrpt", "organization", "NAME")
    .help("Who reports; the hostname if not set")
    .example("Example, Inc.");
pub(crate) static FROM: Setting = Setting::text("tlsrpt", "from", "ADDRESS")
    .help(
        "The sender of reports, to whom they come back that cannot be delivered; contact if not set. Receivers want a \
           DKIM signature of its domain",
    )
    .example("noreply@example.org");
pub(crate) static DELAY: Setting = Setting::text("tlsrpt", "delay", "SPAN")
    .help("Reports leave at a random time up to so long after midnight UTC")
    .default("4h");

/// The file in the spool's directory.
const FILE: &str = "tls-reports.json";
/// How long a report by HTTPS may take.
const POST_TIME_MAX: Duration = Duration::from_secs(30);

/// Whether and how TLS is reported.
#[derive(Clone, Debug)]
pub struct TlsReportOptions {
    /// Who reports; `None` for nobody.
    pub reporting: Option<Reporting>,
    /// When.
    pub times: TlsReportTimes,
}

impl TlsReportOptions {
    /// Reads the settings of section `[tlsrpt]`.
    pub fn read(read: &mut Reading<'_>, hostname: Option<&Hostname>) -> Option<Self> {
        let contact = read_address(read, &CONTACT);
        let organization = read.optional::<String>(&ORGANIZATION);
        let from = read_address(read, &FROM);
        let delay = read.one::<Span>(&DELAY);
        let (contact, organization, from) = (contact?, organization?, from?);
        if contact.is_none() && (organization.is_some() || from.is_some()) {
            read.warn(
                &CONTACT,
                "without it there are no reports, and the rest of [tlsrpt] is idle",
            );
        }
        let submitter = hostname?.to_string();
        let reporting = contact.map(|contact| Reporting {
            organization: organization.unwrap_or_else(|| submitter.clone()),
            from: from.unwrap_or_else(|| contact.clone()),
            submitter,
            contact,
        });
        let times = TlsReportTimes { delay_max: delay?.0, ..TlsReportTimes::default() };
        Some(Self { reporting, times })
    }

    /// What `check` says; `is_signed` tells whether there is a DKIM key for a domain.
    pub(crate) fn describe(&self, is_signed: impl Fn(&str) -> bool) -> Vec<String> {
        let Some(reporting) = &self.reporting else { return vec!["TLS reports: off".to_owned()] };
        let Reporting { organization, contact, from, .. } = reporting;
        let mut lines =
            vec![format!("TLS reports: of {organization}, from {from}, contact {contact}")];
        if !from.domain_text().is_some_and(is_signed) {
            let text =
                "TLS reports: there is no DKIM key for their sender, and receivers may ignore them";
            lines.push(text.to_owned());
        }
        lines
    }

    /// What counts, with what it has in the spool's directory; `None` when nobody reports.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn open(&self, spool: &Path) -> io::Result<Option<Arc<TlsCounts>>> {
        if self.reporting.is_none() {
            return Ok(None);
        }
        let path = spool.join(FILE);
        let clock: Clock = Arc::new(Timestamp::now);
        let counts = TlsCounts::open(&path, clock, TlsCountLimits::default());
        let counts = counts.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Some(Arc::new(counts)))
    }

    /// Reports what is counted, day by day, until the stop, over `road` where it goes by HTTPS. `mails` is where reports by
    /// mail go: the queue.
    pub(crate) fn report(
        &self,
        counts: Arc<TlsCounts>,
        resolver: Resolver,
        road: &MxOptions,
        mails: impl MailService,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let reporting = self.reporting.clone()?;
        let certificates = road.authorities.client_config();
        let poster =
            HttpsPoster::new(resolver.clone(), certificates, POST_TIME_MAX, road.allow_loopback);
        let reporter = TlsReporter::new(counts, resolver, poster, mails, reporting, self.times);
        Some(reporter.run(stop))
    }
}

/// An address that can stand in a header as it is.
fn read_address(read: &mut Reading<'_>, setting: &Setting) -> Option<Option<Address>> {
    let Some(address) = read.optional::<Address>(setting)? else { return Some(None) };
    if address.domain().is_none() || !address.as_str().is_ascii() {
        read.wrong(setting, format_args!("{address} is not like postmaster@example.org, in ASCII"));
        return None;
    }
    Some(Some(address))
}
