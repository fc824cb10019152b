//! The zones of the lab's name server, signed or not.

use std::{sync::Arc, time::Duration};

use hickory_server::{
    dnssec::NxProofKind,
    net::runtime::TokioRuntimeProvider,
    proto::{
        dnssec::{
            DigestType, DnssecSigner, PublicKeyBuf, SigningKey,
            crypto::Ed25519SigningKey,
            rdata::{DNSKEY, DNSSECRData, DS},
        },
        rr::{LowerName, Name, RData, Record, RecordType, RrKey, rdata::NS},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, DnssecZoneHandler, ZoneHandler, ZoneType},
};
use tokio::sync::RwLock;

use crate::{
    Result,
    dns::{TTL_SECONDS, name, start_of_authority},
};

/// How long a signature is good: longer than a test.
const SIGNATURE_TIME: Duration = Duration::from_secs(24 * 3600);

/// The root, and the zones that are cut off from it.
pub(crate) struct Zones {
    root: Zone,
    children: RwLock<Vec<Zone>>,
}

impl Zones {
    pub(crate) fn new(root: Zone) -> Self {
        Self { root, children: RwLock::default() }
    }

    /// The key of the root as a record in a zone file's notation.
    pub(crate) fn trust_anchor(&self) -> Option<String> {
        self.root.trust_anchor()
    }

    /// Cuts a zone off: one that is not signed, or one that is signed with a key that the root does not know.
    pub(crate) async fn delegate(&self, origin: Name, bogus: bool) -> Result<()> {
        let child = Zone::new(origin.clone(), bogus).await?;
        self.children.write().await.push(child);
        self.root.add(origin.clone(), name_server()).await?;
        if bogus {
            self.root.add(origin.clone(), delegation_to_nobody(&origin)?).await?;
        }
        Ok(())
    }

    pub(crate) async fn add(&self, owner: Name, data: RData) -> Result<()> {
        let children = self.children.read().await;
        self.of(&children, &owner).add(owner, data).await
    }

    pub(crate) async fn remove(&self, owner: Name, record_type: RecordType) -> Result<()> {
        let children = self.children.read().await;
        self.of(&children, &owner).remove(owner, record_type).await
    }

    /// What answers a question: the parent, when it is about a delegation (RFC 4035 §3.1.4.1).
    pub(crate) async fn catalog(&self, record_type: Option<RecordType>) -> Catalog {
        let mut catalog = Catalog::default();
        catalog.upsert(Name::root().into(), vec![self.root.handler()]);
        if record_type != Some(RecordType::DS) {
            for child in self.children.read().await.iter().map(Zone::handler) {
                catalog.upsert(child.origin().clone(), vec![child]);
            }
        }
        catalog
    }

    fn of<'a>(&'a self, children: &'a [Zone], owner: &Name) -> &'a Zone {
        children.iter().find(|zone| zone.holds(owner)).unwrap_or(&self.root)
    }
}

/// A zone that is signed anew after each change, if it has a key.
pub(crate) struct Zone {
    handler: Arc<InMemoryZoneHandler<TokioRuntimeProvider>>,
    key: Option<PublicKeyBuf>,
}

impl Zone {
    /// An empty zone.
    ///
    /// # Errors
    /// When no key can be made.
    pub(crate) async fn new(origin: Name, signed: bool) -> Result<Self> {
        // NSEC, since hickory's own NSEC3 records do not prove all that is absent.
        let proof = signed.then_some(NxProofKind::Nsec);
        let mut handler =
            InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, proof);
        handler.upsert_mut(start_of_authority(origin.clone()), 1);
        handler.upsert_mut(Record::from_rdata(origin.clone(), TTL_SECONDS, name_server()), 1);
        let key = if signed { Some(sign_with_new_key(&mut handler, origin)?) } else { None };
        let zone = Self { handler: Arc::new(handler), key };
        zone.sign().await?;
        Ok(zone)
    }

    fn handler(&self) -> Arc<dyn ZoneHandler> {
        Arc::clone(&self.handler) as Arc<dyn ZoneHandler>
    }

    fn holds(&self, owner: &Name) -> bool {
        self.handler.origin().zone_of(&LowerName::new(owner))
    }

    async fn add(&self, owner: Name, data: RData) -> Result<()> {
        self.handler.upsert(Record::from_rdata(owner, TTL_SECONDS, data), 1).await;
        self.sign().await
    }

    async fn remove(&self, owner: Name, record_type: RecordType) -> Result<()> {
        self.handler.records_mut().await.remove(&RrKey::new(owner.into(), record_type));
        self.sign().await
    }

    /// The zone's key as a record in a zone file's notation.
    fn trust_anchor(&self) -> Option<String> {
        let key = DNSKEY::from_key(self.key.as_ref()?);
        Some(format!("{} {TTL_SECONDS} IN DNSKEY {key}\n", self.handler.origin()))
    }

    async fn sign(&self) -> Result<()> {
        if self.key.is_some() {
            self.handler.secure_zone().await?;
        }
        Ok(())
    }
}

fn name_server() -> RData {
    RData::NS(NS(name("ns.lab")))
}

/// A DS record for a key that nobody has.
fn delegation_to_nobody(origin: &Name) -> Result<RData> {
    let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8()?)?;
    let ds = DS::from_key(&key.to_public_key()?, origin, DigestType::SHA256)?;
    Ok(RData::DNSSEC(DNSSECRData::DS(ds)))
}

fn sign_with_new_key(
    handler: &mut InMemoryZoneHandler<TokioRuntimeProvider>,
    origin: Name,
) -> Result<PublicKeyBuf> {
    let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8()?)?;
    let public = key.to_public_key()?;
    let signer =
        DnssecSigner::new(DNSKEY::from_key(&public), Box::new(key), origin, SIGNATURE_TIME);
    handler.add_zone_signing_key_mut(signer)?;
    Ok(public)
}
