//! A server's certificate that may be renewed while it runs.

use std::{fmt, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Identity, TlsError, provider, read_identity};
use crate::Reloading;

/// Shows the certificate that the files hold at the moment.
pub(super) struct Renewable(Reloading<Arc<CertifiedKey>>);

impl Renewable {
    pub(super) fn load(identity: &Identity) -> Result<Self, TlsError> {
        let files = [identity.certificates.clone(), identity.key.clone()];
        let identity = identity.clone();
        Ok(Self(Reloading::new(files, move || certified_key(&identity))?))
    }
}

/// The certificate with its key, if they belong together.
fn certified_key(identity: &Identity) -> Result<Arc<CertifiedKey>, TlsError> {
    let (certificates, key) = read_identity(identity)?;
    CertifiedKey::from_der(certificates, key, &provider()).map(Arc::new).map_err(TlsError::Rejected)
}

impl ResolvesServerCert for Renewable {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current()))
    }
}

impl fmt::Debug for Renewable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewable(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_renewed_certificate_is_shown_once_its_key_is_there_too() {
        let directory = tempfile::tempdir().unwrap();
        let [certificates, key] = ["chain.pem", "key.pem"].map(|name| directory.path().join(name));
        let write = |path, text: String| {
            // A name of its own: what is renamed into place is another file, however short the time.
            let new = directory.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, path).unwrap();
        };
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (first, second) = (made(), made());
        write(&certificates, first.cert.pem());
        write(&key, first.signing_key.serialize_pem());
        let identity = Identity { certificates: certificates.clone(), key: key.clone() };
        let renewable = Renewable::load(&identity).unwrap();
        let shown = || renewable.0.current().cert[0].clone();
        assert_eq!(shown(), *first.cert.der());
        write(&certificates, second.cert.pem());
        assert_eq!(shown(), *first.cert.der(), "it is of no use without its key");
        write(&key, second.signing_key.serialize_pem());
        assert_eq!(shown(), *second.cert.der());
    }
}
