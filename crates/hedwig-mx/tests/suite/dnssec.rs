//! What the resolver says of signed zones, of unsigned ones, and of forgeries.

use crate::support::{Dns, Fault, loopback, validating};
use hedwig_lab::Delegation;
use hedwig_mx::{DnssecSupport, ResolveErrorKind, Resolver, TrustAnchors};

/// `signed.example`, and two domains that the root does not vouch for.
async fn zones() -> Dns {
    let dns = Dns::start_signed().await.unwrap();
    dns.mail_domain("signed.example", loopback(1)).await;
    dns.delegate("unsigned.example", Delegation::Unsigned).await;
    dns.mail_domain("unsigned.example", loopback(1)).await;
    dns.delegate("bogus.example", Delegation::Bogus).await;
    dns.mail_domain("bogus.example", loopback(1)).await;
    dns
}

#[tokio::test]
async fn answers_say_whether_dnssec_vouches_for_them() {
    let dns = zones().await;
    let resolver = validating(&dns);
    assert_eq!(resolver.dnssec().await, DnssecSupport::Validating);
    for (domain, secure) in [("signed.example", true), ("unsigned.example", false)] {
        let mx = resolver.mx(domain).await.unwrap();
        assert_eq!((mx.value.len(), mx.secure), (1, secure), "{domain}");
        let addresses = resolver.addresses(&mx.value[0].name).await.unwrap();
        assert_eq!((addresses.value, addresses.secure), (vec![loopback(1)], secure), "{domain}");
    }
}

#[tokio::test]
async fn a_forgery_is_no_answer() {
    let dns = zones().await;
    let resolver = validating(&dns);
    for error in [
        resolver.mx("bogus.example").await.unwrap_err(),
        resolver.addresses("mx.bogus.example").await.unwrap_err(),
        resolver.mx("nothing.bogus.example").await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ResolveErrorKind::Bogus, "{error}");
        assert_eq!(error.kind.status().to_string(), "4.7.5");
    }
}

#[tokio::test]
async fn what_is_absent_is_absent_signed_or_not() {
    let dns = zones().await;
    let resolver = validating(&dns);
    for zone in ["signed.example", "unsigned.example"] {
        let kind = |error: hedwig_mx::ResolveError| error.kind;
        let absent = resolver.mx(&format!("nothing.{zone}")).await.map_err(kind);
        assert_eq!(absent, Err(ResolveErrorKind::NoSuchDomain), "{zone}");
        let without = resolver.mx(&format!("mx.{zone}")).await.map_err(kind);
        assert_eq!(without, Err(ResolveErrorKind::NoData), "{zone}");
    }
}

#[tokio::test]
async fn an_alias_is_as_secure_as_its_weakest_link() {
    let dns = zones().await;
    dns.cname("here.signed.example", "mx.signed.example").await;
    dns.cname("there.signed.example", "mx.unsigned.example").await;
    dns.cname("back.unsigned.example", "mx.signed.example").await;
    let resolver = validating(&dns);
    for (alias, name, secure, alias_secure) in [
        ("here.signed.example", "mx.signed.example", true, true),
        ("there.signed.example", "mx.unsigned.example", false, true),
        ("back.unsigned.example", "mx.signed.example", false, false),
    ] {
        let found = resolver.addresses(alias).await.unwrap();
        assert_eq!(
            (found.name.as_str(), found.secure, found.alias_secure),
            (name, secure, alias_secure),
            "{alias}"
        );
    }
}

#[tokio::test]
async fn without_validation_nothing_is_secure() {
    let dns = zones().await;
    let resolver = Resolver::with_server(dns.address()).unwrap();
    assert_eq!(resolver.dnssec().await, DnssecSupport::Off);
    assert!(!resolver.mx("signed.example").await.unwrap().secure);
    assert!(!resolver.mx("bogus.example").await.unwrap().secure);
}

#[tokio::test]
async fn name_servers_that_pass_no_signatures_on_are_believed_without() {
    // The root of this one is not signed, as if somebody on the way had cut the signatures off.
    let (dns, signed) = (Dns::start().await.unwrap(), zones().await);
    dns.mail_domain("example.com", loopback(1)).await;
    let anchors: TrustAnchors = signed.trust_anchor().unwrap().parse().unwrap();
    let resolver = Resolver::with_server(dns.address()).unwrap().validating(&anchors).unwrap();
    assert!(matches!(resolver.dnssec().await, DnssecSupport::NotPassed(_)));
    let mx = resolver.mx("example.com").await.unwrap();
    assert_eq!((mx.value.len(), mx.secure), (1, false));
}

#[tokio::test]
async fn a_root_with_another_key_is_not_believed_to_be_signed() {
    let (dns, other) = (zones().await, Dns::start_signed().await.unwrap());
    let anchors: TrustAnchors = other.trust_anchor().unwrap().parse().unwrap();
    let resolver = Resolver::with_server(dns.address()).unwrap().validating(&anchors).unwrap();
    assert!(matches!(resolver.dnssec().await, DnssecSupport::NotPassed(_)));
    assert!(!resolver.mx("signed.example").await.unwrap().secure);
}

#[tokio::test]
async fn once_signatures_were_passed_on_nothing_goes_without() {
    let dns = zones().await;
    let resolver = validating(&dns);
    assert_eq!(resolver.dnssec().await, DnssecSupport::Validating);
    dns.break_name(".", Fault::ServerFailure);
    assert_eq!(resolver.dnssec().await, DnssecSupport::Validating);
}

#[tokio::test]
async fn a_name_server_that_fails_decides_nothing() {
    let dns = zones().await;
    dns.break_name(".", Fault::ServerFailure);
    let resolver = validating(&dns);
    assert!(matches!(resolver.dnssec().await, DnssecSupport::Unknown(_)));
    let error = resolver.mx("signed.example").await.unwrap_err();
    assert!(error.kind.is_transient(), "{error}");
}

#[test]
fn trust_anchors_are_keys_of_the_root() {
    assert!("".parse::<TrustAnchors>().is_err());
    assert!("nonsense".parse::<TrustAnchors>().is_err());
    let key = "IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
    assert!(format!("example.com. {key}\n").parse::<TrustAnchors>().is_err());
    let anchors: TrustAnchors = format!(". {key}\n").parse().unwrap();
    assert_eq!(format!("{anchors:?}"), "TrustAnchors(1 of the root)");
    assert_eq!(format!("{:?}", TrustAnchors::default()), "TrustAnchors(2 of the root)");
}
