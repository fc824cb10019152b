//! TLS where it is to be had, and clear text only where it may be.

use std::sync::LazyLock;

use crate::support::{
    Dns, Manners, Server, Tls,
    certificates::{Authority, Shown},
    deliver, loopback, mx, options, routes, short, tls_policy,
};
use hedwig_mx::{Mx, MxOptions, TlsLevel, TlsRule, TlsRules};

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

async fn lab(tls: Tls, level: TlsLevel) -> (Server, Mx, Dns) {
    lab_with(tls, TlsRules::from(level)).await
}

/// `example.com`, `sibling.example` and `x.sub.example`, which share a server that shows this.
async fn lab_with(tls: Tls, rules: TlsRules) -> (Server, Mx, Dns) {
    let manners = Manners { tls, ..Manners::default() };
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(manners).await);
    dns.mail_domain("example.com", loopback(1)).await;
    for domain in ["sibling.example", "x.sub.example"] {
        dns.mx(domain, 10, "mx.example.com").await;
    }
    let authorities = AUTHORITY.alone();
    let options = MxOptions { tls: rules, authorities, ..options(server.address.port()) };
    let mx = mx(&dns, options);
    (server, mx, dns)
}

fn rules<const N: usize>(otherwise: TlsLevel, rules: [&str; N]) -> TlsRules {
    TlsRules::new(otherwise, rules.map(|rule| rule.parse::<TlsRule>().unwrap()))
}

fn stranger() -> Tls {
    Shown::self_signed("mx.example.com").tls()
}

#[tokio::test]
async fn offered_tls_is_taken_whatever_the_certificate() {
    let shown = Shown::self_signed("somebody.else.example").tls();
    let (server, mx, _dns) = lab(shown, TlsLevel::Opportunistic).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    let tls = outcome.answer().relay.as_ref().and_then(|relay| relay.tls.clone());
    assert!(tls.as_ref().is_some_and(|tls| tls.contains("TLS")), "{tls:?}");
    assert!(server.taken()[0].encrypted);
}

#[tokio::test]
async fn a_failed_handshake_is_followed_by_clear_text_once() {
    let (server, mx, _dns) = lab(Tls::Broken, TlsLevel::Opportunistic).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(outcome.answer().relay.as_ref().unwrap().tls, None);
    assert!(!server.taken()[0].encrypted);
    assert_eq!((server.connections(), server.commands("STARTTLS")), (2, 1));
}

#[tokio::test]
async fn refused_tls_goes_on_in_clear_text_on_the_same_connection() {
    let tls = Tls::Refused("454 4.7.0 no entropy today".into());
    let (server, mx, _dns) = lab(tls, TlsLevel::Opportunistic).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn where_tls_is_asked_for_nothing_goes_in_clear_text() {
    for tls in [Tls::NotOffered, Tls::Broken, Tls::Refused("454 4.7.0 not now".into())] {
        let (server, mx, _dns) = lab(tls, TlsLevel::Encrypted).await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert!(short(&outcome).starts_with("deferred 4.7."), "{outcome:?}");
        assert_eq!((server.taken().len(), server.commands("MAIL")), (0, 0));
    }
}

#[tokio::test]
async fn a_refusal_of_tls_is_no_last_word_and_is_told() {
    let tls = Tls::Refused("501 5.5.4 certainly not".into());
    let (_server, mx, _dns) = lab(tls, TlsLevel::Encrypted).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "deferred 4.7.4", "{outcome:?}");
    assert!(outcome.answer().reply.text().contains("501 5.5.4 certainly not"), "{outcome:?}");
}

#[tokio::test]
async fn after_a_host_without_tls_the_next_is_tried() {
    let dns = Dns::start().await.unwrap();
    let manners = |tls| Manners { tls, ..Manners::default() };
    let [first, second] = Server::start_all([manners(Tls::Broken), manners(stranger())]).await;
    dns.mx("example.com", 10, "a.example.com").await.mx("example.com", 20, "b.example.com").await;
    dns.address_of("a.example.com", loopback(1)).await;
    dns.address_of("b.example.com", loopback(2)).await;
    let options = MxOptions { tls: TlsLevel::Encrypted.into(), ..options(first.address.port()) };
    let [outcome] = deliver(&mx(&dns, options), ["bob@example.com"]).await;
    assert_eq!(
        (short(&outcome).as_str(), crate::support::host(&outcome)),
        ("done 2.0.0", "b.example.com")
    );
    assert_eq!((first.taken().len(), second.taken().len()), (0, 1));
}

#[tokio::test]
async fn what_is_asked_of_one_domain_does_not_block_its_siblings_on_the_same_host() {
    let rules = rules(
        TlsLevel::Opportunistic,
        ["example.com=verified", "*.sub.example=never", "mx.example.com=dane"],
    );
    let (server, mx, _dns) = lab_with(stranger(), rules).await;
    let recipients = ["a@example.com", "b@sibling.example", "c@x.sub.example"];
    let outcomes = deliver(&mx, recipients).await;
    assert_eq!(outcomes.each_ref().map(short), ["deferred 4.7.5", "done 2.0.0", "done 2.0.0"]);
    assert_eq!(
        outcomes.each_ref().map(tls_policy),
        ["verified: set for example.com", "opportunistic", "never: set for *.sub.example"]
    );
    let encrypted = |recipient: &str| {
        let taken = server.taken();
        taken.iter().find(|mail| mail.recipients == [recipient]).unwrap().encrypted
    };
    assert!(encrypted("b@sibling.example") && !encrypted("c@x.sub.example"));
    // Neither connection that was left behind is good enough for the stricter domain.
    assert_eq!(mx.idle_connections(), 2);
    assert_eq!(short(&deliver(&mx, ["a@example.com"]).await[0]), "deferred 4.7.5");
}

#[tokio::test]
async fn domains_of_which_the_same_is_asked_share_a_connection() {
    let rules = rules(TlsLevel::Encrypted, ["sibling.example=encrypted", "x.sub.example=verified"]);
    let (server, mx, _dns) = lab_with(AUTHORITY.issue("mx.example.com").tls(), rules).await;
    for recipient in ["a@example.com", "b@sibling.example", "c@x.sub.example", "d@x.sub.example"] {
        assert_eq!(short(&deliver(&mx, [recipient]).await[0]), "done 2.0.0");
    }
    let connections: Vec<usize> = server.taken().iter().map(|mail| mail.connection).collect();
    assert_eq!(connections, [1, 1, 2, 2]);
}

#[tokio::test]
async fn on_a_route_the_rule_of_its_server_counts() {
    let (server, _, dns) = lab(stranger(), TlsLevel::Opportunistic).await;
    dns.address_of("relay.example", loopback(1)).await;
    let port = server.address.port();
    let route = format!("*=smtp://relay.example:{port}");
    for (rule, expected) in [
        ("relay.example=verified", "deferred 4.7.5"),
        ("relay.example=dane", "deferred 4.7.4"),
        ("relay.example=encrypted", "done 2.0.0"),
        ("example.com=verified", "done 2.0.0"),
    ] {
        let options = MxOptions {
            tls: rules(TlsLevel::Opportunistic, [rule]),
            routes: routes([route.as_str()]),
            ..options(port)
        };
        let [outcome] = deliver(&mx(&dns, options), ["bob@example.com"]).await;
        assert_eq!(short(&outcome), expected, "{rule}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_verified_where_that_is_asked_for() {
    let (server, mx, _dns) = lab(AUTHORITY.issue("mx.example.com").tls(), TlsLevel::Verified).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert!(server.taken()[0].encrypted);

    let (server, mx, _dns) = lab(AUTHORITY.issue("127.0.0.1").tls(), TlsLevel::Verified).await;
    let [outcome] = deliver(&mx, ["bob@[127.0.0.1]"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "a certificate for an address: {outcome:?}");
    assert!(server.taken()[0].encrypted);

    for shown in [AUTHORITY.issue("mx.example.net").tls(), stranger()] {
        let (server, mx, _dns) = lab(shown, TlsLevel::Verified).await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(short(&outcome), "deferred 4.7.5", "{outcome:?}");
        assert!(server.taken().is_empty());
    }
}
