//! The TXT record that says where a domain's reports go (RFC 8460 §3).

use std::{fmt, str::FromStr};

use hedwig_envelope::Address;
use http::Uri;
use percent_encoding::percent_decode_str;

/// So many of a record's places get a report. More would make us a loudspeaker.
pub const REPORT_URIS_MAX: usize = 5;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportUri {
    /// `mailto:`, to this address.
    Mail(Address),
    /// `https:`, by a POST.
    Https(Uri),
}

/// Where reports go by the TXT records of `_smtp._tls.DOMAIN`, at most [`REPORT_URIS_MAX`]. Nowhere, when there is no
/// record that begins with `v=TLSRPTv1`, or more than one. What is neither `mailto:` nor `https:` is passed over.
#[must_use]
pub fn report_uris(records: &[String]) -> Vec<ReportUri> {
    let mut records = records.iter().filter_map(|record| {
        let (version, fields) = record.split_once(';')?;
        (version.trim_end() == "v=TLSRPTv1").then_some(fields)
    });
    let (Some(fields), None) = (records.next(), records.next()) else { return Vec::new() };
    let mut fields = fields.split(';').filter_map(|field| field.split_once('='));
    let Some((_, uris)) = fields.find(|(name, _)| name.trim() == "rua") else { return Vec::new() };
    uris.split(',').filter_map(|uri| uri.trim().parse().ok()).take(REPORT_URIS_MAX).collect()
}

impl FromStr for ReportUri {
    type Err = ReportUriError;

    fn from_str(text: &str) -> Result<Self, ReportUriError> {
        let (scheme, rest) = text.split_once(':').ok_or(ReportUriError)?;
        if scheme.eq_ignore_ascii_case("mailto") {
            // RFC 6068: what follows is a subject and the like, which a report has already.
            let address = rest.split('?').next().unwrap_or(rest);
            let address = percent_decode_str(address).decode_utf8().map_err(|_| ReportUriError)?;
            let address: Address = address.parse().map_err(|_| ReportUriError)?;
            return match address.domain() {
                Some(_) => Ok(Self::Mail(address)),
                None => Err(ReportUriError),
            };
        }
        let uri: Uri = text.parse().map_err(|_| ReportUriError)?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let is_https = uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        // A user and a password in a public record are nobody's.
        let valid =
            is_https && uri.host().is_some_and(|h| !h.is_empty()) && !authority.contains('@');
        if valid { Ok(Self::Https(uri)) } else { Err(ReportUriError) }
    }
}

impl fmt::Display for ReportUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(address) => write!(f, "mailto:{address}"),
            Self::Https(uri) => write!(f, "{uri}"),
        }
    }
}

/// A text that is no [`ReportUri`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reports go to mailto:USER@DOMAIN or https://HOST/PATH")]
pub struct ReportUriError;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[&str]) -> Vec<String> {
        let records: Vec<String> = records.iter().map(|&record| record.to_owned()).collect();
        report_uris(&records).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_record_names_places_by_mail_and_by_https() {
        for (record, uris) in [
            ("v=TLSRPTv1; rua=mailto:a@example.com", vec!["mailto:a@example.com"]),
            (
                "v=TLSRPTv1;rua=https://example.com/v1/tlsrpt;",
                vec!["https://example.com/v1/tlsrpt"],
            ),
            ("v=TLSRPTv1 ; x=y; rua = mailto:a%2Bb%2Cc@example.com", vec![]),
            (
                "v=TLSRPTv1; x=y; rua=mailto:a%2Bb@example.com?subject=x",
                vec!["mailto:a+b@example.com"],
            ),
            (
                "v=TLSRPTv1; rua=MAILTO:a@example.com , ftp://x, http://y/,HTTPS://z:8443/?q=1",
                vec!["mailto:a@example.com", "https://z:8443/?q=1"],
            ),
        ] {
            assert_eq!(read(&[record]), uris, "{record}");
        }
        let many = ["mailto:a@example.com"; 9].join(",");
        assert_eq!(read(&[&format!("v=TLSRPTv1; rua={many}")]).len(), REPORT_URIS_MAX);
    }

    #[test]
    fn what_is_no_record_or_several_names_none() {
        let good = "v=TLSRPTv1; rua=mailto:a@example.com";
        assert_eq!(read(&["v=spf1 -all", good]).len(), 1);
        for records in [
            &[][..],
            &[""],
            &["v=TLSRPTv1"],
            &["v=TLSRPTv1;"],
            &["v=TLSRPTv11; rua=mailto:a@example.com"],
            &["rua=mailto:a@example.com; v=TLSRPTv1"],
            &["v=TLSRPTv1; rua=mailto:postmaster"],
            &["v=TLSRPTv1; rua=mailto:a@example.com%0D%0ABcc:b@example.com"],
            &["v=TLSRPTv1; rua=https://user:word@example.com/"],
            &["v=TLSRPTv1; rua=https:///x"],
            &[good, good],
        ] {
            assert!(read(records).is_empty(), "{records:?}");
        }
    }
}
