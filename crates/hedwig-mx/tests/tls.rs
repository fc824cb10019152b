//! TLS where it is to be had, and clear text only where it may be.
#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod support;

use std::sync::Arc;

use hedwig_mx::{MxOptions, TlsPolicy};
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::CertificateDer};
use support::{Dns, Manners, Server, Tls, deliver, loopback, mail, mx, options, outcomes, short};
use tokio_rustls::TlsAcceptor;

/// A certificate that nobody vouches for, and a server that shows it.
fn certificate(name: &str) -> (CertificateDer<'static>, Tls) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (certificate, Tls::Works(TlsAcceptor::from(Arc::new(config))))
}

fn trusting(certificate: CertificateDer<'static>) -> TlsPolicy {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsPolicy::Verified(Arc::new(config))
}

async fn lab(tls: Tls, policy: TlsPolicy) -> (Server, hedwig_mx::Mx, Dns) {
    let manners = Manners { tls, ..Manners::default() };
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(manners).await);
    dns.mail_domain("example.com", loopback(1)).await;
    let options = MxOptions { tls_policy: policy, ..options(server.address.port()) };
    let mx = mx(&dns, options);
    (server, mx, dns)
}

#[tokio::test]
async fn offered_tls_is_taken_whatever_the_certificate() {
    let (server, mx, _dns) =
        lab(certificate("somebody.else.example").1, TlsPolicy::Opportunistic).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    let tls = outcome.answer().relay.as_ref().and_then(|relay| relay.tls.clone());
    assert!(tls.as_ref().is_some_and(|tls| tls.contains("TLS")), "{tls:?}");
    assert!(server.taken()[0].encrypted);
}

#[tokio::test]
async fn a_failed_handshake_is_followed_by_clear_text_once() {
    let (server, mx, _dns) = lab(Tls::Broken, TlsPolicy::Opportunistic).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(outcome.answer().relay.as_ref().unwrap().tls, None);
    assert!(!server.taken()[0].encrypted);
    assert_eq!((server.connections(), server.commands("STARTTLS")), (2, 1));
}

#[tokio::test]
async fn refused_tls_goes_on_in_clear_text_on_the_same_connection() {
    let tls = Tls::Refused("454 4.7.0 no entropy today".into());
    let (server, mx, _dns) = lab(tls, TlsPolicy::Opportunistic).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn where_tls_is_asked_for_nothing_goes_in_clear_text() {
    for tls in [Tls::NotOffered, Tls::Broken, Tls::Refused("454 4.7.0 not now".into())] {
        let (server, mx, _dns) = lab(tls, TlsPolicy::Encrypted).await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert!(short(&outcome).starts_with("deferred 4.7."), "{outcome:?}");
        assert_eq!((server.taken().len(), server.commands("MAIL")), (0, 0));
    }
}

#[tokio::test]
async fn a_mail_that_requires_tls_never_goes_in_clear_text() {
    for policy in [TlsPolicy::Opportunistic, TlsPolicy::Never] {
        for tls in [Tls::NotOffered, Tls::Broken] {
            let (server, mx, _dns) = lab(tls, policy.clone()).await;
            let mut mail = mail(["bob@example.com"]);
            mail.envelope.parameters.require_tls = true;
            let outcomes = outcomes(&mx, mail).await;
            assert!(!short(&outcomes[0]).starts_with("done"), "{outcomes:?}");
            assert_eq!((server.taken().len(), server.commands("MAIL")), (0, 0));
        }
    }
}

#[tokio::test]
async fn a_clear_text_connection_does_not_serve_a_mail_that_requires_tls() {
    let (server, mx, _dns) = lab(certificate("mx.example.com").1, TlsPolicy::Never).await;
    let [clear] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&clear), "done 2.0.0");
    let mut mail = mail(["bob@example.com"]);
    mail.envelope.parameters.require_tls = true;
    assert_eq!(short(&outcomes(&mx, mail).await[0]), "done 2.0.0");
    let encrypted: Vec<bool> = server.taken().iter().map(|taken| taken.encrypted).collect();
    assert_eq!((encrypted, server.connections()), (vec![false, true], 2));
}

#[tokio::test]
async fn a_certificate_is_verified_where_that_is_asked_for() {
    let (ours, tls) = certificate("mx.example.com");
    let (server, mx, _dns) = lab(tls, trusting(ours)).await;
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    assert!(server.taken()[0].encrypted);

    let (other, _) = certificate("mx.example.com");
    for (name, trusted) in [("mx.example.com", Some(other)), ("wrong.example", None)] {
        let (shown, tls) = certificate(name);
        let (server, mx, _dns) = lab(tls, trusting(trusted.unwrap_or(shown))).await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(short(&outcome), "deferred 4.7.5", "{outcome:?}");
        assert!(server.taken().is_empty());
    }
}
