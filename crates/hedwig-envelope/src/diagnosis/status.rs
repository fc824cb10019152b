//! What a status code says by itself (RFC 3463, RFC 5248, RFC 7372, RFC 7505, RFC 8689, and the
//! details from 500 on that Microsoft's servers use).

use super::Diagnosis;
use crate::{Class, Status};

/// How much a code says.
pub(super) enum Said {
    /// Enough: the text can add nothing.
    Firmly(Diagnosis),
    /// This, unless the text says something more exact.
    Loosely(Option<Diagnosis>),
}

pub(super) fn said_by(status: Status) -> Said {
    use Diagnosis as D;
    let firmly = Said::Firmly;
    let loosely = |diagnosis| Said::Loosely(Some(diagnosis));
    match (status.subject, status.detail) {
        (1, 1 | 3 | 4 | 6) => loosely(D::UnknownUser),
        (1, 2) => firmly(D::Routing),
        (1, 7 | 8) => loosely(D::SenderRefused),
        // Exchange says 5.1.10 of users, RFC 7505 of domains.
        (1, 10) => loosely(D::Routing),
        (2, 1) => loosely(D::MailboxClosed),
        (2, 2) => firmly(D::MailboxFull),
        (2, 3) => firmly(D::Size),
        (2, 4) => firmly(D::TheirServer),
        (3, 1 | 5) => firmly(D::TheirServer),
        (3, 3) => firmly(D::Unsupported),
        (3, 4) => firmly(D::Size),
        (3, _) => loosely(D::TheirServer),
        // Exchange Online says 5.4.1 of addresses that it does not know.
        (4, 1) if status.class == Class::Permanent => loosely(D::Routing),
        (4, 1 | 2) => firmly(D::Unreachable),
        (4, 3 | 4 | 6) => firmly(D::Routing),
        (4, 5) => loosely(D::TheirServer),
        (4, 7) => firmly(D::Expired),
        (5, 3) => firmly(D::RateLimit),
        (5, 1 | 4 | 5 | 6) => firmly(D::Protocol),
        (5, _) => loosely(D::Protocol),
        (6, _) => loosely(D::Unsupported),
        (7, 4 | 5 | 10 | 11) => firmly(D::Tls),
        (7, 8) => firmly(D::OurServer),
        (7, 13) => firmly(D::MailboxClosed),
        (7, 17 | 18) => firmly(D::UnknownUser),
        (7, 20..=27) => firmly(D::Authentication),
        (7, 28) => firmly(D::RateLimit),
        (7, detail @ 500..) => Said::Loosely(Some(said_by_microsoft(status.class, detail))),
        (7, _) => loosely(D::Policy),
        _ => Said::Loosely(None),
    }
}

fn said_by_microsoft(class: Class, detail: u16) -> Diagnosis {
    match detail {
        _ if class == Class::Transient => Diagnosis::RateLimit,
        508 | 705 => Diagnosis::RateLimit,
        509 | 512 | 515 => Diagnosis::Authentication,
        511 | 606..=649 | 708 => Diagnosis::Reputation,
        _ => Diagnosis::Policy,
    }
}

/// What the three digits say when nothing else does (RFC 5321 §4.2.3, RFC 7504).
pub(super) fn said_by_code(code: u16) -> Option<Diagnosis> {
    match code {
        421 | 451 | 452 => Some(Diagnosis::TheirServer),
        500..=504 | 555 => Some(Diagnosis::Protocol),
        521 | 556 => Some(Diagnosis::Routing),
        530 | 534 | 535 => Some(Diagnosis::OurServer),
        552 => Some(Diagnosis::MailboxFull),
        _ => None,
    }
}
