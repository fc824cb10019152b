//! What TLSA records say of a server's certificate decides, where DNSSEC vouches for the way to it.

use std::sync::LazyLock;

use crate::support::{
    Dns, Fault, Manners, Server, Tls,
    certificates::{Authority, Shown, public_key, sha256},
    deliver, host, loopback, options, short, validating,
};
use hedwig_envelope::Outcome;
use hedwig_lab::Delegation;
use hedwig_mx::{Mx, MxOptions, TlsLevel};

/// The authority that the records mean, and one that they do not.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
static STRANGER: LazyLock<Authority> = LazyLock::new(Authority::new);

struct Lab {
    dns: Dns,
    server: Server,
}

impl Lab {
    /// `example.com` in a signed zone, with a server that shows this.
    async fn new(tls: Tls) -> Self {
        let dns = Dns::start_signed().await.unwrap();
        let server = Server::start(Manners { tls, ..Manners::default() }).await;
        dns.mail_domain("example.com", loopback(1)).await;
        Self { dns, server }
    }

    async fn tlsa(&self, kind: (u8, u8, u8), data: &[u8]) -> &Self {
        self.dns.tlsa("mx.example.com", self.server.address.port(), kind, data).await;
        self
    }

    fn tlsa_name(&self) -> String {
        format!("_{}._tcp.mx.example.com", self.server.address.port())
    }

    fn mx(&self) -> Mx {
        Mx::new(validating(&self.dns), options(self.server.address.port()))
    }

    async fn deliver(&self) -> Outcome {
        let [outcome] = deliver(&self.mx(), ["bob@example.com"]).await;
        outcome
    }
}

/// What the server shows.
struct Servers {
    /// The certificate that the records mean.
    right: Shown,
    /// Another one, of a stranger.
    wrong: Shown,
    /// Of the right authority, for another host.
    misnamed: Shown,
    /// Of the right authority, and too old.
    expired: Shown,
}

impl Servers {
    fn new() -> Self {
        Self {
            right: AUTHORITY.issue("mx.example.com"),
            wrong: STRANGER.issue("mx.example.com"),
            misnamed: AUTHORITY.issue("mx.elsewhere.example"),
            expired: AUTHORITY.issue_expired("mx.example.com"),
        }
    }

    fn named(&self, certificate: &str) -> Tls {
        match certificate {
            "right" => self.right.tls(),
            "wrong" => self.wrong.tls(),
            "misnamed" => self.misnamed.tls(),
            "expired" => self.expired.tls(),
            "broken" => Tls::Broken,
            "absent" => Tls::NotOffered,
            other => panic!("no certificate {other}"),
        }
    }
}

#[tokio::test]
async fn records_and_certificates_decide_together() {
    const DONE: &str = "done 2.0.0";
    const UNTRUSTED: &str = "deferred 4.7.5";
    const NO_TLS: &str = "deferred 4.7.4";
    let servers = Servers::new();
    let right = &servers.right.certificate;
    let authority = &AUTHORITY.certificate;
    // The columns: right, wrong, misnamed, expired, broken, absent.
    type Record = ((u8, u8, u8), Vec<u8>);
    let table: [(&str, Vec<Record>, [&str; 6]); 9] = [
        ("no record", vec![], [DONE; 6]),
        (
            "the certificate's key",
            vec![((3, 1, 1), sha256(&public_key(right)))],
            [DONE, UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, NO_TLS],
        ),
        (
            "the certificate as a whole",
            vec![((3, 0, 0), right.to_vec())],
            [DONE, UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, NO_TLS],
        ),
        (
            "the authority's certificate",
            vec![((2, 0, 1), sha256(authority))],
            [DONE, UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, NO_TLS],
        ),
        (
            "the authority's certificate as a whole",
            vec![((2, 0, 0), authority.to_vec())],
            [DONE, UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, NO_TLS],
        ),
        (
            "an expired certificate, and one for another name, by their keys",
            vec![
                ((3, 1, 1), sha256(&public_key(&servers.expired.certificate))),
                ((3, 1, 1), sha256(&public_key(&servers.misnamed.certificate))),
            ],
            [UNTRUSTED, UNTRUSTED, DONE, DONE, UNTRUSTED, NO_TLS],
        ),
        (
            "nothing that can be followed",
            vec![((1, 1, 1), sha256(&public_key(right))), ((3, 1, 1), vec![7; 31])],
            [DONE, DONE, DONE, DONE, UNTRUSTED, NO_TLS],
        ),
        (
            "one record that cannot be followed, and one that can",
            vec![((0, 0, 1), sha256(authority)), ((3, 1, 1), sha256(&public_key(right)))],
            [DONE, UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, NO_TLS],
        ),
        (
            "another key",
            vec![((3, 1, 1), vec![7; 32])],
            [UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, NO_TLS],
        ),
    ];
    let certificates = ["right", "wrong", "misnamed", "expired", "broken", "absent"];
    for (records, tlsa, expected) in &table {
        for (certificate, expected) in certificates.iter().zip(expected) {
            let lab = Lab::new(servers.named(certificate)).await;
            for (kind, data) in tlsa {
                lab.tlsa(*kind, data).await;
            }
            let outcome = lab.deliver().await;
            assert_eq!(short(&outcome), *expected, "{records}, {certificate}: {outcome:?}");
            let delivered = usize::from(*expected == DONE);
            assert_eq!(lab.server.taken().len(), delivered, "{records}, {certificate}");
            assert_eq!(lab.server.commands("MAIL"), delivered, "{records}, {certificate}");
        }
    }
}

#[tokio::test]
async fn a_certificate_below_an_anchor_may_be_for_the_recipients_domain() {
    let lab = Lab::new(AUTHORITY.issue("example.com").tls()).await;
    lab.tlsa((2, 1, 1), &sha256(&public_key(&AUTHORITY.certificate))).await;
    assert_eq!(short(&lab.deliver().await), "done 2.0.0");
}

#[tokio::test]
async fn the_reason_is_told() {
    let lab = Lab::new(STRANGER.issue("mx.example.com").tls()).await;
    lab.tlsa((3, 1, 1), &[7; 32]).await;
    let outcome = lab.deliver().await;
    assert!(outcome.answer().reply.text().contains("no TLSA record"), "{outcome:?}");
    assert_eq!(host(&outcome), "mx.example.com");
}

#[tokio::test]
async fn records_that_dnssec_does_not_vouch_for_say_nothing() {
    let dns = Dns::start_signed().await.unwrap();
    let tls = STRANGER.issue("mx.unsigned.example").tls();
    let server = Server::start(Manners { tls, ..Manners::default() }).await;
    let port = server.address.port();
    dns.delegate("unsigned.example", Delegation::Unsigned).await;
    dns.mail_domain("unsigned.example", loopback(1)).await;
    dns.tlsa("mx.unsigned.example", port, (3, 1, 1), &[7; 32]).await;
    // The exchanger's zone is signed, and the domain's is not: anybody could have chosen the exchanger.
    dns.delegate("careless.example", Delegation::Unsigned).await;
    dns.mx("careless.example", 10, "mx.signed.example").await;
    dns.address_of("mx.signed.example", loopback(1)).await;
    dns.tlsa("mx.signed.example", port, (3, 1, 1), &[7; 32]).await;
    dns.mx("careful.example", 10, "mx.signed.example").await;
    // The domain is signed, and its exchanger's zone is not.
    dns.mx("half.example", 10, "mx.unsigned.example").await;
    let mx = Mx::new(validating(&dns), options(port));
    for (recipient, expected) in [
        ("a@unsigned.example", "done 2.0.0"),
        ("a@careless.example", "done 2.0.0"),
        ("a@half.example", "done 2.0.0"),
        ("a@careful.example", "deferred 4.7.5"),
    ] {
        let [outcome] = deliver(&mx, [recipient]).await;
        assert_eq!(short(&outcome), expected, "{recipient}: {outcome:?}");
    }
}

#[tokio::test]
async fn records_of_an_unsigned_zone_say_nothing_of_a_signed_host() {
    let lab = Lab::new(STRANGER.issue("mx.example.com").tls()).await;
    lab.dns.delegate(&lab.tlsa_name(), Delegation::Unsigned).await;
    lab.tlsa((3, 1, 1), &[7; 32]).await;
    assert_eq!(short(&lab.deliver().await), "done 2.0.0");
}

#[tokio::test]
async fn a_host_whose_records_cannot_be_had_is_not_used() {
    let lab = Lab::new(AUTHORITY.issue("mx.example.com").tls()).await;
    lab.dns.break_name(&lab.tlsa_name(), Fault::ServerFailure);
    assert_eq!(short(&lab.deliver().await), "deferred 4.4.3");
    assert_eq!(lab.server.connections(), 0);
    lab.dns.mend_name(&lab.tlsa_name());
    assert_eq!(short(&lab.deliver().await), "done 2.0.0");
}

#[tokio::test]
async fn a_forged_answer_on_the_way_defers() {
    let lab = Lab::new(AUTHORITY.issue("mx.example.com").tls()).await;
    let dns = &lab.dns;
    dns.delegate("forged.example", Delegation::Bogus).await;
    dns.mail_domain("forged.example", loopback(1)).await;
    dns.mx("led-astray.example", 10, "mx.forged.example").await;
    let zone = lab.tlsa_name();
    dns.delegate(&zone, Delegation::Bogus).await;
    lab.tlsa((3, 1, 1), &[7; 32]).await;
    for domain in ["forged.example", "led-astray.example", "example.com"] {
        let [outcome] = deliver(&lab.mx(), [format!("a@{domain}").as_str()]).await;
        assert_eq!(short(&outcome), "deferred 4.7.5", "{domain}: {outcome:?}");
        assert!(outcome.answer().reply.text().contains("DNSSEC"), "{domain}: {outcome:?}");
    }
    assert_eq!(lab.server.connections(), 0);
}

#[tokio::test]
async fn the_next_host_is_tried_after_one_with_another_certificate() {
    let dns = Dns::start_signed().await.unwrap();
    let manners = |tls| Manners { tls, ..Manners::default() };
    let right = AUTHORITY.issue("b.example.com");
    let [first, second] =
        Server::start_all([manners(STRANGER.issue("a.example.com").tls()), manners(right.tls())])
            .await;
    let port = first.address.port();
    dns.mx("example.com", 10, "a.example.com").await.mx("example.com", 20, "b.example.com").await;
    dns.address_of("a.example.com", loopback(1)).await;
    dns.address_of("b.example.com", loopback(2)).await;
    dns.tlsa("a.example.com", port, (3, 1, 1), &[7; 32]).await;
    dns.tlsa("b.example.com", port, (3, 1, 1), &sha256(&public_key(&right.certificate))).await;
    let [outcome] = deliver(&Mx::new(validating(&dns), options(port)), ["bob@example.com"]).await;
    assert_eq!((short(&outcome).as_str(), host(&outcome)), ("done 2.0.0", "b.example.com"));
    assert_eq!((first.connections(), first.taken().len(), second.taken().len()), (1, 0, 1));
}

#[tokio::test]
async fn an_alias_has_the_records_of_what_it_stands_for_or_its_own() {
    let dns = Dns::start_signed().await.unwrap();
    let right = AUTHORITY.issue("host.example");
    let server = Server::start(Manners { tls: right.tls(), ..Manners::default() }).await;
    let port = server.address.port();
    dns.address_of("host.example", loopback(1)).await;
    dns.delegate("outside.example", Delegation::Unsigned).await;
    dns.address_of("host.outside.example", loopback(1)).await;
    for (domain, target) in [
        ("one.example", "host.example"),
        ("two.example", "host.example"),
        ("three.example", "host.outside.example"),
    ] {
        let alias = format!("mx.{domain}");
        dns.mx(domain, 10, &alias).await.cname(&alias, target).await;
    }
    let key = sha256(&public_key(&right.certificate));
    // Without records at the host, the alias's own count; where the host is not signed, no others do.
    dns.tlsa("mx.one.example", port, (3, 1, 1), &key).await;
    dns.tlsa("mx.two.example", port, (3, 1, 1), &[7; 32]).await;
    dns.tlsa("mx.three.example", port, (3, 1, 1), &[7; 32]).await;
    let verdicts = async || {
        let mx = Mx::new(validating(&dns), options(port));
        let recipients = ["a@one.example", "a@two.example", "a@three.example"];
        deliver(&mx, recipients).await.each_ref().map(short)
    };
    assert_eq!(verdicts().await, ["done 2.0.0", "deferred 4.7.5", "deferred 4.7.5"]);
    dns.tlsa("host.example", port, (3, 1, 1), &key).await;
    assert_eq!(verdicts().await, ["done 2.0.0", "done 2.0.0", "deferred 4.7.5"]);
}

#[tokio::test]
async fn a_domain_without_mx_records_is_its_own_host() {
    for (key, expected) in [(None, "done 2.0.0"), (Some([7; 32]), "deferred 4.7.5")] {
        let lab = Lab::new(AUTHORITY.issue("direct.example").tls()).await;
        lab.dns.address_of("direct.example", loopback(1)).await;
        let key =
            key.map_or_else(|| sha256(&public_key(&AUTHORITY.certificate)), |other| other.to_vec());
        lab.dns.tlsa("direct.example", lab.server.address.port(), (2, 1, 1), &key).await;
        let [outcome] = deliver(&lab.mx(), ["bob@direct.example"]).await;
        assert_eq!(short(&outcome), expected, "{outcome:?}");
    }
}

#[tokio::test]
async fn mails_under_the_same_records_share_a_connection() {
    let right = AUTHORITY.issue("mx.example.com");
    let lab = Lab::new(right.tls()).await;
    lab.tlsa((3, 1, 1), &sha256(&public_key(&right.certificate))).await;
    let mx = lab.mx();
    for _ in 0..3 {
        assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    }
    assert_eq!((lab.server.connections(), lab.server.taken().len()), (1, 3));
}

#[tokio::test]
async fn another_domains_connection_does_not_serve_where_records_decide() {
    // Two domains share a host; DNSSEC vouches for the way of one only.
    let lab = Lab::new(STRANGER.issue("mx.example.com").tls()).await;
    lab.dns.delegate("unsigned.example", Delegation::Unsigned).await;
    lab.dns.mx("unsigned.example", 10, "mx.example.com").await;
    lab.tlsa((3, 1, 1), &[7; 32]).await;
    let mx = lab.mx();
    assert_eq!(short(&deliver(&mx, ["bob@unsigned.example"]).await[0]), "done 2.0.0");
    assert_eq!(mx.idle_connections(), 1);
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "deferred 4.7.5");
}

#[tokio::test]
async fn a_connection_verified_for_one_domain_does_not_serve_another() {
    // Below the anchor, the certificate is for the one domain, and not for the host that both share.
    let lab = Lab::new(AUTHORITY.issue("example.com").tls()).await;
    lab.dns.mx("sibling.example", 10, "mx.example.com").await;
    lab.tlsa((2, 1, 1), &sha256(&public_key(&AUTHORITY.certificate))).await;
    let mx = lab.mx();
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    assert_eq!(mx.idle_connections(), 1);
    assert_eq!(short(&deliver(&mx, ["bob@sibling.example"]).await[0]), "deferred 4.7.5");
}

#[tokio::test]
async fn the_options_may_ask_for_more_or_for_nothing() {
    for (level, dane, expected) in [
        (TlsLevel::Encrypted, true, "deferred 4.7.5"),
        (TlsLevel::Verified, true, "deferred 4.7.5"),
        (TlsLevel::Verified, false, "done 2.0.0"),
        (TlsLevel::Never, true, "done 2.0.0"),
        (TlsLevel::Opportunistic, false, "done 2.0.0"),
        (TlsLevel::Dane, false, "deferred 4.7.4"),
    ] {
        let lab = Lab::new(AUTHORITY.issue("mx.example.com").tls()).await;
        lab.tlsa((3, 1, 1), &[7; 32]).await;
        let options = MxOptions {
            tls: level.into(),
            authorities: AUTHORITY.alone(),
            dane,
            ..options(lab.server.address.port())
        };
        let mx = Mx::new(validating(&lab.dns), options);
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(short(&outcome), expected, "{level}, {dane}: {outcome:?}");
    }
}
