use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{Name, RData, Record, RecordType},
    system_conf::read_system_conf,
};

use crate::{
    DnssecSupport, Names, ResolveError, ResolverConfigError, TrustAnchors, dnssec::Validator,
    name::reverse_name, names, resolve_error::no_data,
};

/// How long one name server may think.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Addresses of one host that are looked at; a hostile zone may list thousands.
const ADDRESSES_PER_HOST_MAX: usize = 16;
/// Names of one address that are looked at.
const NAMES_PER_ADDRESS_MAX: usize = 16;
/// How many aliases may stand one behind the other.
const ALIASES_MAX: usize = 8;

/// Asks DNS for mail exchangers and addresses. A cheap handle; clones share one cache.
#[derive(Clone)]
pub struct Resolver {
    plain: Arc<TokioResolver>,
    validator: Option<Arc<Validator>>,
    configuration: Arc<(ResolverConfig, ResolverOpts)>,
    /// What is asked in the place of all these.
    names: Option<Arc<dyn Names>>,
}

impl Resolver {
    /// A resolver that asks the name servers of this host's configuration.
    ///
    /// # Errors
    /// When that configuration cannot be read.
    pub fn from_system() -> Result<Self, ResolverConfigError> {
        let (config, options) = read_system_conf().map_err(ResolverConfigError)?;
        Self::build(config, options)
    }

    /// A resolver that asks this name server, over UDP and TCP, and nobody else; no hosts file either.
    ///
    /// # Errors
    /// When the resolver cannot be built.
    pub fn with_server(address: SocketAddr) -> Result<Self, ResolverConfigError> {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        for connection in &mut server.connections {
            connection.port = address.port();
        }
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let mut options = ResolverOpts::default();
        options.use_hosts_file = ResolveHosts::Never;
        Self::build(config, options)
    }

    fn build(
        config: ResolverConfig,
        mut options: ResolverOpts,
    ) -> Result<Self, ResolverConfigError> {
        options.timeout = QUESTION_TIME_MAX;
        options.attempts = 1;
        options.cache_size = 10_000;
        let plain = builder(&config, &options).build().map_err(ResolverConfigError)?;
        let configuration = Arc::new((config, options));
        Ok(Self { plain: Arc::new(plain), validator: None, configuration, names: None })
    }

    /// A resolver that asks these names, and no name server.
    ///
    /// # Errors
    /// When the resolver cannot be built.
    pub fn of_names(names: impl Names + 'static) -> Result<Self, ResolverConfigError> {
        let nobody = ResolverConfig::from_parts(None, vec![], vec![]);
        let resolver = Self::build(nobody, ResolverOpts::default())?;
        Ok(Self { names: Some(Arc::new(names)), ..resolver })
    }

    /// This resolver, with answers validated by DNSSEC below these anchors (RFC 4035 §5), as long as its
    /// name servers pass on what that takes. Where they do not, it goes on without: see [`dnssec`](Self::dnssec).
    ///
    /// # Errors
    /// When the resolver cannot be built.
    pub fn validating(mut self, anchors: &TrustAnchors) -> Result<Self, ResolverConfigError> {
        let (config, options) = &*self.configuration;
        let validator = Validator::build(builder(config, options), anchors);
        self.validator = Some(Arc::new(validator.map_err(ResolverConfigError)?));
        Ok(self)
    }

    /// Whether answers are validated. Asks the name servers for the root's keys when that is not known yet.
    pub async fn dnssec(&self) -> DnssecSupport {
        match &self.validator {
            None => DnssecSupport::Off,
            Some(validator) => validator.support(&self.plain).await,
        }
    }

    /// The MX records of a domain, by preference; as DNS gave them within one preference.
    ///
    /// # Errors
    /// With [`ResolveErrorKind::NoData`](crate::ResolveErrorKind::NoData) when the domain is there and has none.
    pub async fn mx(&self, domain: &str) -> Result<Found<Vec<MxHost>>, ResolveError> {
        if let Some(names) = &self.names {
            let mut found = names::found(domain, names.mx(domain)).await?;
            found.value.sort_by_key(|host| host.preference);
            return Ok(found);
        }
        let answer = self.look_up(domain, RecordType::MX).await?;
        let mut hosts: Vec<MxHost> = answer
            .value
            .iter()
            .filter_map(|data| match data {
                RData::MX(mx) => {
                    Some(MxHost { preference: mx.preference, name: text(&mx.exchange) })
                }
                _ => None,
            })
            .collect();
        hosts.sort_by_key(|host| host.preference);
        Ok(answer.with(hosts))
    }

    /// The addresses of a host, IPv6 and IPv4 in turn.
    ///
    /// # Errors
    /// When it has neither. One kind is enough, whatever becomes of the question for the other.
    pub async fn addresses(&self, host: &str) -> Result<Found<Vec<IpAddr>>, ResolveError> {
        if let Some(names) = &self.names {
            return names::found(host, names.addresses(host)).await;
        }
        let (v6, v4) =
            tokio::join!(self.look_up(host, RecordType::AAAA), self.look_up(host, RecordType::A));
        match (v6, v4) {
            (Err(v6), Err(v4)) => Err(if v6.kind.is_transient() { v6 } else { v4 }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => {
                let addresses = one.value.iter().filter_map(address);
                let addresses = addresses.take(ADDRESSES_PER_HOST_MAX).collect();
                Ok(one.with(addresses))
            }
            (Ok(v6), Ok(v4)) => {
                let addresses = in_turn(&v6.value, &v4.value);
                let secure = v6.secure && v4.secure;
                let alias_secure = v6.alias_secure && v4.alias_secure;
                Ok(Found { secure, alias_secure, ..v6.with(addresses) })
            }
        }
    }

    /// The TXT records of a name, the strings of each put together; what is not UTF-8 in them is replaced.
    ///
    /// # Errors
    /// With [`ResolveErrorKind::NoData`](crate::ResolveErrorKind::NoData) when the name is there and has none.
    pub async fn txt(&self, name: &str) -> Result<Found<Vec<String>>, ResolveError> {
        let answer = self.look_up(name, RecordType::TXT).await?;
        let texts = answer.value.iter().filter_map(|data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
        let texts = texts.collect();
        Ok(answer.with(texts))
    }

    /// The names that an address has by its PTR records (RFC 1035 §3.5).
    ///
    /// # Errors
    /// When it has none.
    pub async fn names_of(&self, address: IpAddr) -> Result<Found<Vec<String>>, ResolveError> {
        let answer = self.look_up(&reverse_name(address), RecordType::PTR).await?;
        let names = answer.value.iter().filter_map(|data| match data {
            RData::PTR(name) => Some(text(name)),
            _ => None,
        });
        let names = names.take(NAMES_PER_ADDRESS_MAX).collect();
        Ok(answer.with(names))
    }

    /// The client that asks without validation, for libraries that bring look-ups of their own. Clones share its cache.
    #[must_use]
    pub fn client(&self) -> TokioResolver {
        TokioResolver::clone(&self.plain)
    }

    /// The records of one type that a name has; in front of them there may be aliases.
    pub(crate) async fn look_up(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Found<Vec<RData>>, ResolveError> {
        if self.names.is_some() {
            return Err(no_data(name, kind));
        }
        let mut question =
            Name::from_ascii(name).map_err(|reason| ResolveError::no_name(name, &reason))?;
        question.set_fqdn(true);
        let client = match &self.validator {
            Some(validator) => validator.client(&self.plain).await,
            None => &self.plain,
        };
        match client.lookup(question.clone(), kind).await {
            Ok(lookup) => {
                let found = follow(question, kind, lookup.answers());
                found.ok_or_else(|| no_data(name, kind))
            }
            Err(error) => Err(ResolveError::of(name, kind, &error)),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let validating = self.validator.is_some();
        f.debug_struct("Resolver").field("validating", &validating).finish_non_exhaustive()
    }
}

/// What DNS said, and how sure that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// What was asked for.
    pub value: T,
    /// Whether DNSSEC vouches for it, aliases on the way included (RFC 4035 §4.3). Never without validation.
    pub secure: bool,
    /// The name that has it: what was asked for, or what that is an alias of. Spelled like host names here.
    pub name: String,
    /// Whether DNSSEC vouches for the first alias; the same as `secure` without one.
    pub alias_secure: bool,
}

impl<T> Found<T> {
    fn with<U>(self, value: U) -> Found<U> {
        let Self { secure, name, alias_secure, .. } = self;
        Found { value, secure, name, alias_secure }
    }
}

/// An MX record (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxHost {
    /// Lower comes first.
    pub preference: u16,
    /// The host; empty in a null MX (RFC 7505).
    pub name: String,
}

fn builder(
    config: &ResolverConfig,
    options: &ResolverOpts,
) -> ResolverBuilder<TokioRuntimeProvider> {
    let provider = TokioRuntimeProvider::default();
    TokioResolver::builder_with_config(config.clone(), provider).with_options(options.clone())
}

/// Follows aliases from the question to the records: what else an answer holds, whoever signed it, answers
/// another question.
fn follow(question: Name, kind: RecordType, answers: &[Record]) -> Option<Found<Vec<RData>>> {
    let (mut owner, mut secure, mut alias_secure) = (question, true, None);
    for _ in 0..=ALIASES_MAX {
        let own = |kind| {
            let owner = &owner;
            answers.iter().filter(move |r| r.record_type() == kind && r.name == *owner)
        };
        let data: Vec<RData> = own(kind).map(|record| record.data.clone()).collect();
        if !data.is_empty() {
            secure &= own(kind).all(|record| record.proof.is_secure());
            let alias_secure = alias_secure.unwrap_or(secure);
            return Some(Found { value: data, secure, name: text(&owner), alias_secure });
        }
        let alias = own(RecordType::CNAME).next()?;
        let RData::CNAME(target) = &alias.data else { return None };
        secure &= alias.proof.is_secure();
        alias_secure.get_or_insert(secure);
        let target = target.0.clone();
        owner = target;
    }
    None
}

fn in_turn(v6: &[RData], v4: &[RData]) -> Vec<IpAddr> {
    let (mut v6, mut v4) = (v6.iter().filter_map(address), v4.iter().filter_map(address));
    let mut addresses = Vec::new();
    while addresses.len() < ADDRESSES_PER_HOST_MAX {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            break;
        }
        addresses.extend(pair.into_iter().flatten());
    }
    addresses
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// The name as ASCII in lower case, without the dot at its end: empty for the root.
fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::{
        dnssec::Proof,
        rr::rdata::{A, CNAME},
    };

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn record(owner: &str, data: RData, proof: Proof) -> Record {
        let mut record = Record::from_rdata(name(owner), 60, data);
        record.proof = proof;
        record
    }

    fn address_of(owner: &str, proof: Proof) -> Record {
        record(owner, RData::A(A::new(192, 0, 2, 1)), proof)
    }

    fn alias(owner: &str, target: &str, proof: Proof) -> Record {
        record(owner, RData::CNAME(CNAME(name(target))), proof)
    }

    fn found(answers: &[Record]) -> Option<(String, bool, bool)> {
        let found = follow(name("mx.example."), RecordType::A, answers)?;
        Some((found.name, found.secure, found.alias_secure))
    }

    #[test]
    fn what_answers_another_question_is_no_answer() {
        let other = address_of("mx.attacker.example.", Proof::Secure);
        assert_eq!(found(std::slice::from_ref(&other)), None);
        let own = address_of("MX.example.", Proof::Insecure);
        assert_eq!(found(&[other, own]), Some(("mx.example".into(), false, false)));
    }

    #[test]
    fn one_link_that_is_not_secure_is_enough() {
        for (alias_proof, address_proof, secure) in [
            (Proof::Secure, Proof::Secure, true),
            (Proof::Secure, Proof::Insecure, false),
            (Proof::Secure, Proof::Indeterminate, false),
            (Proof::Insecure, Proof::Secure, false),
        ] {
            let answers = [
                alias("mx.example.", "a.example.", alias_proof),
                address_of("a.example.", address_proof),
            ];
            let expected = ("a.example".to_owned(), secure, alias_proof == Proof::Secure);
            assert_eq!(found(&answers), Some(expected));
        }
        let answers =
            [address_of("mx.example.", Proof::Secure), address_of("mx.example.", Proof::Bogus)];
        assert_eq!(found(&answers), Some(("mx.example".into(), false, false)));
    }

    #[test]
    fn aliases_that_lead_in_a_circle_lead_nowhere() {
        let circle = [
            alias("mx.example.", "a.example.", Proof::Secure),
            alias("a.example.", "mx.example.", Proof::Secure),
        ];
        assert_eq!(found(&circle), None);
    }
}
