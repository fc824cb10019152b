//! A report: its JSON (RFC 8460 §4), and the mail that it goes in (§5.3).

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use hedwig_envelope::{Address, Content, Envelope, Mail, MailId, Origin, Timestamp};
use mail_auth::report::tlsrpt::{DateRange, Policy, TlsReport};
use serde_json::Value;

use super::Day;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporting {
    /// The organization's name.
    pub organization: String,
    /// The name of the reporting host or domain, in ASCII.
    pub submitter: String,
    /// Whom to ask about a report.
    pub contact: Address,
    /// Who sends reports by mail, and gets them back that cannot be delivered.
    pub from: Address,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It has no form as JSON.
    #[error("the report has no form as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It cannot be written.
    #[error("the report cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// One domain's report of one day.
#[derive(Debug)]
pub(super) struct Report {
    domain: String,
    report: TlsReport,
    /// The JSON, compressed.
    pub(super) gzip: Vec<u8>,
}

impl Report {
    pub(super) fn new(
        reporting: &Reporting,
        day: Day,
        domain: &str,
        policies: Vec<Policy>,
    ) -> Result<Self, ReportError> {
        let submitter = &reporting.submitter;
        let report = TlsReport {
            organization_name: Some(reporting.organization.clone()),
            date_range: DateRange::from_timestamps(day.first_second(), day.last_second()),
            contact_info: Some(reporting.contact.to_string()),
            // The same however often it is sent: who gets it twice can tell.
            report_id: format!("{day}.{domain}@{submitter}"),
            policies,
        };
        let mut json = serde_json::to_value(&report)?;
        remove_nulls(&mut json);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&serde_json::to_vec(&json)?)?;
        let gzip = encoder.finish()?;
        Ok(Self { domain: domain.to_owned(), report, gzip })
    }

    /// The mail to one who wants it. It arrives whatever is wrong with TLS there: that is what it is to tell.
    pub(super) fn mail(
        &self,
        reporting: &Reporting,
        to: &Address,
        now: Timestamp,
    ) -> Result<Mail, ReportError> {
        let mut message = b"TLS-Required: No\r\n".to_vec();
        self.report.write_rfc5322_from_bytes(
            &self.domain,
            &reporting.submitter,
            reporting.from.as_str(),
            [to.as_str()].into_iter(),
            &self.gzip,
            &mut message,
        )?;
        Ok(Mail {
            id: MailId::new(now, fastrand::u128(..)),
            envelope: Envelope::new(reporting.from.clone(), [to.clone()]),
            content: Content::new(message.into()),
            origin: Origin::local(now),
        })
    }
}

/// What is not known is not in a report: RFC 8460 §4.4 has no null.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
