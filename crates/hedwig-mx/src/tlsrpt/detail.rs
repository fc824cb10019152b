//! What we know of a session, in the words of RFC 8460 §4.

use mail_auth::report::tlsrpt::{FailureDetails, PolicyDetails, PolicyType, ResultType};

use crate::{SessionPolicy, TlsFailure, TlsFailureKind, TlsSession};

/// The longest reason that is kept, in octets: it may be a server's own words.
const REASON_BYTES_MAX: usize = 200;

/// Whether this is the policy that a session was under.
pub(super) fn is_policy_of(policy: &PolicyDetails, session: &TlsSession<'_>) -> bool {
    let (kind, lines, hosts) = parts(session.policy);
    policy.policy_type == kind && policy.policy_string == lines && policy.mx_host == hosts
}

/// The policy that a session was under.
pub(super) fn policy_of(session: &TlsSession<'_>) -> PolicyDetails {
    let (policy_type, lines, hosts) = parts(session.policy);
    PolicyDetails {
        policy_type,
        policy_string: lines.to_vec(),
        policy_domain: session.domain.to_owned(),
        mx_host: hosts.to_vec(),
    }
}

fn parts(policy: SessionPolicy<'_>) -> (PolicyType, &[String], &[String]) {
    match policy {
        SessionPolicy::Absent => (PolicyType::NoPolicyFound, &[], &[]),
        SessionPolicy::Sts { lines, hosts } => (PolicyType::Sts, lines, hosts),
        SessionPolicy::Tlsa(lines) => (PolicyType::Tlsa, lines, &[]),
    }
}

/// Whether a session failed as these others did: in the same way, from and to the same addresses.
pub(super) fn is_failure_of(
    details: &FailureDetails,
    session: &TlsSession<'_>,
    failure: &TlsFailure,
) -> bool {
    details.result_type == result_type(failure.kind)
        && details.sending_mta_ip == session.source
        && details.receiving_ip == session.address
        && details.receiving_mx_hostname.as_deref() == Some(session.host)
}

/// How a session failed.
pub(super) fn details_of(session: &TlsSession<'_>, failure: &TlsFailure) -> FailureDetails {
    FailureDetails {
        result_type: result_type(failure.kind),
        sending_mta_ip: session.source,
        receiving_mx_hostname: Some(session.host.to_owned()),
        receiving_ip: session.address,
        failed_session_count: 1,
        failure_reason_code: Some(shortened(&failure.reason)),
        ..FailureDetails::default()
    }
}

fn shortened(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

fn result_type(kind: TlsFailureKind) -> ResultType {
    match kind {
        TlsFailureKind::StartTlsNotSupported => ResultType::StartTlsNotSupported,
        TlsFailureKind::CertificateHostMismatch => ResultType::CertificateHostMismatch,
        TlsFailureKind::CertificateExpired => ResultType::CertificateExpired,
        TlsFailureKind::CertificateNotTrusted => ResultType::CertificateNotTrusted,
        TlsFailureKind::ValidationFailure => ResultType::ValidationFailure,
        TlsFailureKind::TlsaInvalid => ResultType::TlsaInvalid,
        TlsFailureKind::DnssecInvalid => ResultType::DnssecInvalid,
        TlsFailureKind::DaneRequired => ResultType::DaneRequired,
        TlsFailureKind::StsPolicyFetchError => ResultType::StsPolicyFetchError,
        TlsFailureKind::StsPolicyInvalid => ResultType::StsPolicyInvalid,
        TlsFailureKind::StsWebpkiInvalid => ResultType::StsWebpkiInvalid,
    }
}

/// About how many octets a policy takes in memory.
pub(super) fn policy_bytes(policy: &PolicyDetails) -> usize {
    let lines = policy.policy_string.iter().chain(&policy.mx_host);
    200 + policy.policy_domain.len() + lines.map(|line| line.len() + 24).sum::<usize>()
}

/// About how many octets the details of a failure take in memory.
pub(super) fn details_bytes(details: &FailureDetails) -> usize {
    let texts = [&details.receiving_mx_hostname, &details.failure_reason_code];
    250 + texts.into_iter().flatten().map(String::len).sum::<usize>()
}
