//! Validation, and whether the name servers leave us what it takes (RFC 4035 §4, §5).

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        dnssec::{self, DnssecSummary},
        rr::{Name, RecordType},
    },
};
use tokio::{sync::Mutex, time::Instant};

/// How long the word of name servers counts that pass no signatures on.
const NOT_PASSED_KEPT: Duration = Duration::from_secs(600);
/// How long nobody is asked again after no name server answered.
const UNKNOWN_KEPT: Duration = Duration::from_secs(5);
/// The validating client forgets what does not exist at once, if it is not told otherwise.
const NEGATIVE_KEPT_MIN: Duration = Duration::from_secs(60);

/// The keys of the DNS root that validation begins with.
///
/// By default those that IANA publishes; from a text, DNSKEY records of the root in a zone file's notation.
#[derive(Clone, Default)]
pub struct TrustAnchors(Arc<dnssec::TrustAnchors>);

impl FromStr for TrustAnchors {
    type Err = TrustAnchorsError;

    fn from_str(text: &str) -> Result<Self, TrustAnchorsError> {
        let anchors: dnssec::TrustAnchors =
            text.parse().map_err(|error| TrustAnchorsError(format!("{error}")))?;
        if anchors.is_empty() {
            return Err(TrustAnchorsError("there is no key of the root among them".into()));
        }
        Ok(Self(Arc::new(anchors)))
    }
}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchors({} of the root)", self.0.len())
    }
}

/// A text that holds no trust anchors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trust anchors are lines such as \". IN DNSKEY 257 3 13 <base64>\": {0}")]
pub struct TrustAnchorsError(String);

/// Whether answers are validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnssecSupport {
    /// Nobody asked for it.
    Off,
    /// They are.
    Validating,
    /// The name servers do not pass signatures on: nothing is validated, nothing is Secure. Looked at again
    /// every ten minutes.
    NotPassed(String),
    /// No name server answers. Nothing goes without validation until one does.
    Unknown(String),
}

/// A validating client, and what is known of its name servers.
pub(crate) struct Validator {
    client: TokioResolver,
    /// Once the servers have passed signatures on, answers without are forgeries.
    passes: AtomicBool,
    known: Mutex<Option<(Instant, DnssecSupport)>>,
}

impl Validator {
    pub(crate) fn build(
        mut builder: ResolverBuilder<TokioRuntimeProvider>,
        anchors: &TrustAnchors,
    ) -> Result<Self, NetError> {
        builder.options_mut().negative_min_ttl = Some(NEGATIVE_KEPT_MIN);
        let client = builder.with_trust_anchor(anchors.0.clone()).build()?;
        Ok(Self { client, passes: AtomicBool::new(false), known: Mutex::new(None) })
    }

    /// Whom to ask: the validating client, or the plain one where nothing can be validated.
    pub(crate) async fn client<'a>(&'a self, plain: &'a TokioResolver) -> &'a TokioResolver {
        match self.support(plain).await {
            DnssecSupport::NotPassed(_) => plain,
            _ => &self.client,
        }
    }

    pub(crate) async fn support(&self, plain: &TokioResolver) -> DnssecSupport {
        if self.passes.load(Ordering::Relaxed) {
            return DnssecSupport::Validating;
        }
        let mut known = self.known.lock().await;
        if let Some((since, support)) = &*known
            && since.elapsed() < kept(support)
        {
            return support.clone();
        }
        let support = self.probe(plain).await;
        if known.as_ref().is_none_or(|(_, before)| *before != support) {
            tell(&support);
        }
        if support == DnssecSupport::Validating {
            self.passes.store(true, Ordering::Relaxed);
        }
        *known = Some((Instant::now(), support.clone()));
        support
    }

    /// Asks for the keys of the root, which every name server can tell and nobody can forge.
    async fn probe(&self, plain: &TokioResolver) -> DnssecSupport {
        let why = match self.client.lookup(Name::root(), RecordType::DNSKEY).await {
            Ok(keys) if is_secure(&keys) => return DnssecSupport::Validating,
            Ok(_) => return DnssecSupport::NotPassed("the root's keys are not signed".into()),
            Err(NetError::Dns(why @ (DnsError::DnssecBogus | DnsError::Nsec { .. }))) => {
                return DnssecSupport::NotPassed(format!("the root's keys: {why}"));
            }
            Err(why) => why,
        };
        // Who answers a plain question, and this one not, will never answer it.
        match plain.lookup(Name::root(), RecordType::NS).await {
            Err(other) if !other.is_no_records_found() => DnssecSupport::Unknown(other.to_string()),
            _ => DnssecSupport::NotPassed(format!("the root's keys: {why}")),
        }
    }
}

fn is_secure(lookup: &hickory_resolver::lookup::Lookup) -> bool {
    DnssecSummary::from_records(lookup.answers().iter()) == DnssecSummary::Secure
}

fn kept(support: &DnssecSupport) -> Duration {
    match support {
        DnssecSupport::Off | DnssecSupport::Validating => Duration::MAX,
        DnssecSupport::NotPassed(_) => NOT_PASSED_KEPT,
        DnssecSupport::Unknown(_) => UNKNOWN_KEPT,
    }
}

fn tell(support: &DnssecSupport) {
    match support {
        DnssecSupport::Off => {}
        DnssecSupport::Validating => {
            tracing::info!("DNSSEC: the name servers pass it on, DANE is on");
        }
        DnssecSupport::NotPassed(reason) => {
            tracing::warn!(reason, "DNSSEC: the name servers do not pass it on, DANE is off");
        }
        DnssecSupport::Unknown(reason) => tracing::warn!(reason, "DNSSEC: no name server answers"),
    }
}
