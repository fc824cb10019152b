//! TLSA records: which can be followed, and what they match (RFC 6698 §2.1, RFC 7671).

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, SHA512, SHA512_OUTPUT_LEN, digest};
use hickory_resolver::proto::rr::rdata::{
    TLSA,
    tlsa::{CertUsage, Matching, Selector},
};
use rustls::{RootCertStore, pki_types::CertificateDer, server::ParsedCertificate};

/// More records than this are not looked at: no server has so many keys.
const RECORDS_MAX: usize = 64;

/// A TLSA record that can be followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tlsa {
    usage: Usage,
    selector: Part,
    association: Association,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Usage {
    /// 2: a trust anchor above the server's certificate.
    DaneTa,
    /// 3: the server's own certificate.
    DaneEe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Certificate,
    PublicKey,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Association {
    Whole(Vec<u8>),
    Sha256(Vec<u8>),
    Sha512(Vec<u8>),
}

/// The records that can be followed, each once, in an order of their own.
///
/// PKIX-TA and PKIX-EE cannot: there is no list of authorities that both sides of SMTP share (RFC 7672
/// §3.1.3). Where the same is said in a stronger and in a weaker digest, the weaker does not count (RFC 7671 §9).
pub(super) fn usable<'a>(records: impl Iterator<Item = &'a TLSA>) -> Vec<Tlsa> {
    let mut records: Vec<Tlsa> = records.filter_map(Tlsa::of).take(RECORDS_MAX).collect();
    records.sort_unstable();
    records.dedup();
    let strong: Vec<(Usage, Part)> = records
        .iter()
        .filter(|record| matches!(record.association, Association::Sha512(_)))
        .map(|record| (record.usage, record.selector))
        .collect();
    records.retain(|record| {
        !matches!(record.association, Association::Sha256(_))
            || !strong.contains(&(record.usage, record.selector))
    });
    records
}

impl Tlsa {
    fn of(record: &TLSA) -> Option<Self> {
        let usage = match record.cert_usage {
            CertUsage::DaneTa => Usage::DaneTa,
            CertUsage::DaneEe => Usage::DaneEe,
            _ => return None,
        };
        let selector = match record.selector {
            Selector::Full => Part::Certificate,
            Selector::Spki => Part::PublicKey,
            _ => return None,
        };
        let data = record.cert_data.clone();
        let association = match (record.matching, data.len()) {
            (Matching::Raw, 1..) => Association::Whole(data),
            (Matching::Sha256, SHA256_OUTPUT_LEN) => Association::Sha256(data),
            (Matching::Sha512, SHA512_OUTPUT_LEN) => Association::Sha512(data),
            _ => return None,
        };
        let record = Self { usage, selector, association };
        match record.whole_certificate() {
            // A whole certificate that is none matches nothing.
            Some(certificate) if ParsedCertificate::try_from(&certificate).is_err() => None,
            _ => Some(record),
        }
    }

    /// Whether it is about the server's own certificate, and this is it.
    pub(super) fn is_end_entity(&self, certificate: &CertificateDer<'_>) -> bool {
        self.usage == Usage::DaneEe && self.matches(certificate)
    }

    /// Puts the trust anchor that it stands for among the `anchors`: one of the chain, or its own.
    pub(super) fn add_anchors(&self, chain: &[CertificateDer<'_>], anchors: &mut RootCertStore) {
        if self.usage != Usage::DaneTa {
            return;
        }
        let matching = chain.iter().filter(|certificate| self.matches(certificate)).cloned();
        for certificate in matching.chain(self.whole_certificate()) {
            // What is no authority's certificate anchors nothing.
            let _ = anchors.add(certificate);
        }
    }

    fn whole_certificate(&self) -> Option<CertificateDer<'_>> {
        match (self.selector, &self.association) {
            (Part::Certificate, Association::Whole(data)) => {
                Some(CertificateDer::from(data.as_slice()))
            }
            _ => None,
        }
    }

    fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        match self.selector {
            Part::Certificate => self.association.is_of(certificate),
            Part::PublicKey => ParsedCertificate::try_from(certificate)
                .is_ok_and(|parsed| self.association.is_of(&parsed.subject_public_key_info())),
        }
    }
}

/// The data of the record, as a zone file has it (RFC 6698 §2.2).
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = match self.usage {
            Usage::DaneTa => 2,
            Usage::DaneEe => 3,
        };
        let selector = match self.selector {
            Part::Certificate => 0,
            Part::PublicKey => 1,
        };
        let (matching, data) = match &self.association {
            Association::Whole(data) => (0, data),
            Association::Sha256(data) => (1, data),
            Association::Sha512(data) => (2, data),
        };
        write!(f, "{usage} {selector} {matching} ")?;
        data.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl Association {
    fn is_of(&self, data: &[u8]) -> bool {
        match self {
            Self::Whole(whole) => whole == data,
            Self::Sha256(hash) => hash == digest(&SHA256, data).as_ref(),
            Self::Sha512(hash) => hash == digest(&SHA512, data).as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> TLSA {
        TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec())
    }

    fn certificate() -> CertificateDer<'static> {
        rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap().cert.into()
    }

    #[test]
    fn what_cannot_be_followed_is_no_record() {
        let whole = certificate();
        for (usage, selector, matching, data) in [
            (0, 0, 1, &[7; 32][..]),
            (1, 1, 1, &[7; 32]),
            (4, 1, 1, &[7; 32]),
            (255, 1, 1, &[7; 32]),
            (3, 2, 1, &[7; 32]),
            (3, 255, 1, &[7; 32]),
            (3, 1, 3, &[7; 32]),
            (3, 1, 255, &[7; 32]),
            (3, 1, 1, &[7; 31]),
            (3, 1, 1, &[7; 64]),
            (3, 1, 2, &[7; 32]),
            (3, 1, 0, &[]),
            (2, 0, 0, &[7; 32]),
            (3, 0, 0, &whole[..whole.len() - 1]),
        ] {
            let record = record(usage, selector, matching, data);
            assert_eq!(usable([&record].into_iter()), [], "{record}");
        }
        assert_eq!(usable([&record(3, 0, 0, &whole)].into_iter()).len(), 1);
    }

    #[test]
    fn selectors_and_matching_types_say_what_is_compared() {
        let (ours, other) = (certificate(), certificate());
        let key = ParsedCertificate::try_from(&ours).unwrap().subject_public_key_info();
        for (selector, part) in [(0, ours.as_ref()), (1, key.as_ref())] {
            let whole = part.to_vec();
            let sha256 = digest(&SHA256, part).as_ref().to_vec();
            let sha512 = digest(&SHA512, part).as_ref().to_vec();
            for (matching, data) in [(0, whole), (1, sha256), (2, sha512)] {
                let record = record(3, selector, matching, &data);
                let [tlsa] = &usable([&record].into_iter())[..] else { panic!("{record}") };
                assert!(tlsa.is_end_entity(&ours), "{record}");
                assert!(!tlsa.is_end_entity(&other), "{record}");
                assert_eq!(tlsa.to_string().split(' ').nth(2), Some(matching.to_string().as_str()));
            }
        }
    }

    #[test]
    fn the_weaker_digest_does_not_count_beside_the_stronger() {
        let records = [
            record(3, 1, 1, &[1; 32]),
            record(3, 1, 2, &[2; 64]),
            record(3, 1, 2, &[2; 64]),
            record(3, 0, 1, &[3; 32]),
            record(2, 1, 1, &[4; 32]),
        ];
        let left = usable(records.iter());
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(!left.iter().any(|r| r.association == Association::Sha256(vec![1; 32])));
        assert_eq!(usable(records.iter().rev()), left);
    }
}
