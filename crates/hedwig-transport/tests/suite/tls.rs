//! TLS, and certificates on both sides.

use std::{fs, path::PathBuf, sync::Arc};

use crate::common::{Desk, Running, app, app_with, mail, start_with, token};
use hedwig_envelope::{Receipt, Refusal};
use hedwig_transport::{
    Client, ClientOptions, MessagesOptions, ServerOptions,
    tls::{self, Identity, TlsError},
};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tower::ServiceExt;

/// A certification authority, and what it signed, as files.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { directory: tempfile::tempdir().unwrap(), issuer };
        fs::write(authority.certificate(), authority.issuer.pem()).unwrap();
        authority
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            certificates: self.directory.path().join(format!("{name}.pem")),
            key: self.directory.path().join(format!("{name}.key")),
        };
        fs::write(&identity.certificates, certificate.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

async fn start(service: hedwig_transport::Messages, config: Arc<rustls::ServerConfig>) -> Running {
    start_with(service, ServerOptions::default(), Some(config)).await
}

fn options(server: &Running, config: rustls::ClientConfig) -> ClientOptions {
    ClientOptions {
        urls: vec![format!("https://localhost:{}", server.address.port())],
        tls: Some(config),
        ..ClientOptions::default()
    }
}

async fn send(options: ClientOptions) -> Result<Receipt, Refusal> {
    let result = Client::new(options).unwrap().oneshot(mail(1)).await;
    result.map_err(|error| *error.downcast::<Refusal>().unwrap())
}

#[tokio::test]
async fn a_mail_goes_over_tls_and_both_sides_tell_of_it() {
    let authority = Authority::new();
    let desk = Desk::default();
    let config = tls::server_config(&authority.sign("localhost"), None).unwrap();
    let server = start(app(&desk), config).await;
    let trusting = tls::client_config(Some(&authority.certificate()), None).unwrap();
    let options = ClientOptions { token: Some(token()), ..options(&server, trusting) };
    let receipt = send(options).await.unwrap();
    assert!(receipt.is_done());
    let relay = receipt.outcomes[0].answer().relay.clone().unwrap();
    assert_eq!((relay.host.as_str(), relay.address), ("localhost", Some(server.address)));
    assert!(relay.tls.as_ref().unwrap().starts_with("TLSv1.3 TLS13_"), "{relay:?}");
    assert_eq!(desk.only().origin.tls, relay.tls);
    server.stop().await;
}

#[tokio::test]
async fn a_server_without_http_2_is_spoken_to_over_http_1() {
    let authority = Authority::new();
    let desk = Desk::default();
    let config = tls::server_config(&authority.sign("localhost"), None).unwrap();
    let mut config = Arc::into_inner(config).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let server = start(app(&desk), Arc::new(config)).await;
    let trusting = tls::client_config(Some(&authority.certificate()), None).unwrap();
    let options = ClientOptions { token: Some(token()), ..options(&server, trusting) };
    assert!(send(options).await.unwrap().is_done());
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_no_mail() {
    let authority = Authority::new();
    let desk = Desk::default();
    let config = tls::server_config(&authority.sign("localhost"), None).unwrap();
    let server = start(app(&desk), config).await;
    let wary = tls::client_config(None, None).unwrap();
    let refusal = send(options(&server, wary)).await.unwrap_err();
    assert!(refusal.reply.text().contains("cannot connect"), "{refusal}");
    assert!(refusal.reply.text().contains("UnknownIssuer"), "{refusal}");
    let trusting = tls::client_config(Some(&Authority::new().certificate()), None).unwrap();
    send(options(&server, trusting)).await.unwrap_err();
    assert_eq!(desk.count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_client_certificate_does_instead_of_a_token() {
    let authority = Authority::new();
    let desk = Desk::default();
    let identity = authority.sign("localhost");
    let config = tls::server_config(&identity, Some(&authority.certificate())).unwrap();
    let server = start(app_with(&desk, MessagesOptions::default()), config).await;

    let known = authority.sign("mailman.example");
    let config = tls::client_config(Some(&authority.certificate()), Some(&known)).unwrap();
    assert!(send(options(&server, config)).await.unwrap().is_done());
    assert_eq!(desk.only().origin.authenticated.as_deref(), Some("client certificate"));

    let without = tls::client_config(Some(&authority.certificate()), None).unwrap();
    let refusal = send(options(&server, without)).await.unwrap_err();
    assert!(refusal.reply.text().contains("401"), "{refusal}");

    let stranger = Authority::new().sign_and_keep("mailman.example");
    let config = tls::client_config(Some(&authority.certificate()), Some(&stranger.1)).unwrap();
    send(options(&server, config)).await.unwrap_err();
    assert_eq!(desk.count(), 1);
    server.stop().await;
}

impl Authority {
    fn sign_and_keep(self, name: &str) -> (Self, Identity) {
        let identity = self.sign(name);
        (self, identity)
    }
}

#[tokio::test]
async fn clear_text_at_a_tls_port_gets_no_answer() {
    let authority = Authority::new();
    let config = tls::server_config(&authority.sign("localhost"), None).unwrap();
    let server = start(app(&Desk::default()), config).await;
    let options = ClientOptions { tls: None, ..crate::common::client_options(&[&server]) };
    send(options).await.unwrap_err();
    server.stop().await;
}

#[test]
fn files_that_hold_no_certificate_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "no certificate\n").unwrap();
    let missing = directory.path().join("missing.pem");
    let error = tls::client_config(Some(&empty), None).unwrap_err();
    assert!(matches!(&error, TlsError::Empty(path) if *path == empty));
    let error = tls::client_config(Some(&missing), None).unwrap_err().to_string();
    assert!(error.contains("missing.pem"), "{error}");
    let (one, other) = (Authority::new(), Authority::new());
    let mixed = Identity { key: other.sign("b").key, ..one.sign("a") };
    assert!(matches!(tls::server_config(&mixed, None), Err(TlsError::Rejected(_))));
}
