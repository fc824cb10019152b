//! REQUIRETLS and `TLS-Required: No`: what the sender of a mail asks of TLS (RFC 8689).

use std::sync::LazyLock;

use crate::support::{
    Dns, Fault, Manners, Server, Tls,
    certificates::{Authority, Shown, public_key, sha256},
    deliver, host, loopback, mail, options, outcomes, routes, short, tls_policy, validating,
};
use hedwig_envelope::{Content, Mail, Outcome};
use hedwig_mx::{Mx, MxOptions, TlsLevel};

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

fn requiring<const N: usize>(recipients: [&str; N]) -> Mail {
    let mut mail = mail(recipients);
    mail.envelope.parameters.require_tls = true;
    mail
}

fn not_requiring(recipient: &str) -> Mail {
    let header = "TLS-Required: No\r\nFrom: alice@sender.example\r\n\r\nHello\r\n";
    Mail { content: Content::from(header), ..mail([recipient]) }
}

async fn one(mx: &Mx, mail: Mail) -> Outcome {
    outcomes(mx, mail).await.remove(0)
}

/// A signed zone with `example.com`, whose hosts `a` and `b` are these, in this order.
struct Lab {
    dns: Dns,
    servers: [Server; 2],
}

impl Lab {
    async fn new(manners: [Manners; 2]) -> Self {
        let dns = Dns::start_signed().await.unwrap();
        let servers = Server::start_all(manners).await;
        for (host, preference, last) in [("a.example.com", 10, 1), ("b.example.com", 20, 2)] {
            dns.mx("example.com", preference, host).await.address_of(host, loopback(last)).await;
        }
        Self { dns, servers }
    }

    fn options(&self) -> MxOptions {
        let port = self.servers[0].address.port();
        let (authorities, route_authorities) = (AUTHORITY.alone(), AUTHORITY.alone());
        MxOptions { authorities, route_authorities, ..options(port) }
    }

    fn mx(&self) -> Mx {
        Mx::new(validating(&self.dns), self.options())
    }

    fn taken(&self) -> [usize; 2] {
        self.servers.each_ref().map(|server| server.taken().len())
    }
}

fn good(name: &str) -> Manners {
    Manners { tls: AUTHORITY.issue(name).tls(), ..Manners::default() }
}

fn without_requiretls(name: &str) -> Manners {
    Manners { require_tls: false, ..good(name) }
}

#[tokio::test]
async fn the_parameter_is_passed_on() {
    let lab = Lab::new([good("a.example.com"), good("b.example.com")]).await;
    let outcome = one(&lab.mx(), requiring(["bob@example.com"])).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(tls_policy(&outcome), "opportunistic; REQUIRETLS");
    let [line] = &lab.servers[0].command_lines("MAIL")[..] else { panic!("not one MAIL") };
    assert!(line.ends_with(" REQUIRETLS"), "{line}");
    assert!(lab.servers[0].taken()[0].encrypted);
}

#[tokio::test]
async fn all_hosts_are_tried_for_one_that_is_good_enough() {
    for first in [
        without_requiretls("a.example.com"),
        Manners::default(),
        good("elsewhere.example"),
        Manners { tls: Shown::self_signed("a.example.com").tls(), ..Manners::default() },
        Manners { tls: Tls::Broken, ..Manners::default() },
    ] {
        let lab = Lab::new([first, good("b.example.com")]).await;
        let outcome = one(&lab.mx(), requiring(["bob@example.com"])).await;
        assert_eq!((short(&outcome).as_str(), host(&outcome)), ("done 2.0.0", "b.example.com"));
        assert_eq!((lab.taken(), lab.servers[0].commands("MAIL")), ([0, 1], 0));
    }
}

#[tokio::test]
async fn without_such_a_host_the_mail_fails_and_it_waits_for_one_that_may_become_it() {
    let never = without_requiretls;
    let clear = |_: &str| Manners::default();
    let broken = |_: &str| Manners { tls: Tls::Broken, ..Manners::default() };
    let refused = |reply: &str| {
        let tls = Tls::Refused(reply.to_owned());
        move |_: &str| Manners { tls: tls.clone(), ..Manners::default() }
    };
    let (for_good, for_now) = (refused("554 5.7.3 no TLS"), refused("454 4.7.0 no entropy today"));
    type Kind<'a> = &'a dyn Fn(&str) -> Manners;
    let table: [(Kind<'_>, Kind<'_>, &str); 6] = [
        (&never, &never, "failed 5.7.30"),
        (&never, &clear, "failed 5.7.10"),
        (&broken, &never, "deferred 4.7.5"),
        (&clear, &broken, "deferred 4.7.5"),
        (&never, &for_good, "failed 5.7.10"),
        (&for_now, &never, "deferred 4.7.4"),
    ];
    for (a, b, expected) in table {
        let lab = Lab::new([a("a.example.com"), b("b.example.com")]).await;
        let outcome = one(&lab.mx(), requiring(["bob@example.com"])).await;
        assert_eq!(short(&outcome), expected, "{outcome:?}");
        assert_eq!(lab.taken(), [0, 0]);
    }
}

#[tokio::test]
async fn a_host_that_nobody_vouches_for_is_not_used() {
    let lab = Lab::new([good("a.example.com"), good("b.example.com")]).await;
    lab.dns.delegate("careless.example", hedwig_lab::Delegation::Unsigned).await;
    lab.dns.mx("careless.example", 10, "a.example.com").await;
    let outcome = one(&lab.mx(), requiring(["bob@careless.example"])).await;
    assert_eq!(short(&outcome), "failed 5.7.10", "{outcome:?}");
    assert!(outcome.answer().reply.text().contains("Neither DNSSEC nor MTA-STS"), "{outcome:?}");
    assert_eq!(short(&deliver(&lab.mx(), ["bob@careless.example"]).await[0]), "done 2.0.0");
}

#[tokio::test]
async fn tlsa_records_are_as_good_as_an_authority() {
    let shown = Shown::self_signed("whoever.example");
    let manners = Manners { tls: shown.tls(), ..Manners::default() };
    let lab = Lab::new([manners, without_requiretls("b.example.com")]).await;
    let key = sha256(&public_key(&shown.certificate));
    lab.dns.tlsa("a.example.com", lab.servers[0].address.port(), (3, 1, 1), &key).await;
    let outcome = one(&lab.mx(), requiring(["bob@example.com"])).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(tls_policy(&outcome), "dane: TLSA records of a.example.com; REQUIRETLS");
}

#[tokio::test]
async fn where_clear_text_is_the_rule_such_a_mail_goes_over_tls_all_the_same() {
    let lab = Lab::new([good("a.example.com"), good("b.example.com")]).await;
    let options = MxOptions { tls: TlsLevel::Never.into(), ..lab.options() };
    let mx = Mx::new(validating(&lab.dns), options);
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    // The connection in clear text that waits is not taken.
    assert_eq!(short(&one(&mx, requiring(["bob@example.com"])).await), "done 2.0.0");
    let taken = lab.servers[0].taken();
    let encrypted: Vec<bool> = taken.iter().map(|mail| mail.encrypted).collect();
    assert_eq!((encrypted, lab.servers[0].connections()), (vec![false, true], 2));
}

#[tokio::test]
async fn a_waiting_connection_whose_server_does_not_know_requiretls_serves_others_only() {
    let lab = Lab::new([without_requiretls("a.example.com"), good("b.example.com")]).await;
    let options = MxOptions { tls: TlsLevel::Verified.into(), ..lab.options() };
    let mx = Mx::new(validating(&lab.dns), options);
    for _ in 0..2 {
        assert_eq!(host(&one(&mx, mail(["bob@example.com"])).await), "a.example.com");
        assert_eq!(host(&one(&mx, requiring(["bob@example.com"])).await), "b.example.com");
    }
    assert_eq!(lab.taken(), [2, 2]);
    assert_eq!(lab.servers.each_ref().map(Server::connections), [1, 1]);
}

#[tokio::test]
async fn on_a_route_its_server_must_be_the_one_that_the_route_names() {
    for (name, expected) in [("relay.example", "done 2.0.0"), ("a.example", "failed 5.7.10")] {
        let lab = Lab::new([good(name), Manners::default()]).await;
        lab.dns.address_of("relay.example", loopback(1)).await;
        let route = format!("*=smtp://relay.example:{}", lab.servers[0].address.port());
        let options = MxOptions { routes: routes([route.as_str()]), ..lab.options() };
        let mx = Mx::new(validating(&lab.dns), options);
        let outcome = one(&mx, requiring(["bob@example.com"])).await;
        assert_eq!(short(&outcome), expected, "{outcome:?}");
    }
}

#[tokio::test]
async fn tls_required_no_sets_aside_what_the_domain_asks_and_not_what_the_operator_asks() {
    for (level, expected) in [
        (TlsLevel::Opportunistic, ["deferred 4.7.5", "done 2.0.0"]),
        (TlsLevel::Encrypted, ["deferred 4.7.5", "done 2.0.0"]),
        (TlsLevel::Dane, ["deferred 4.7.5", "deferred 4.7.5"]),
    ] {
        let lab = Lab::new([good("a.example.com"), Manners::default()]).await;
        lab.dns.mx("single.example", 10, "a.example.com").await;
        lab.dns.tlsa("a.example.com", lab.servers[0].address.port(), (3, 1, 1), &[7; 32]).await;
        let options = MxOptions { tls: level.into(), ..lab.options() };
        let mx = Mx::new(validating(&lab.dns), options);
        let [plain] = deliver(&mx, ["bob@single.example"]).await;
        let asking = one(&mx, not_requiring("bob@single.example")).await;
        assert_eq!([&plain, &asking].map(short), expected, "{level}: {asking:?}");
    }
}

#[tokio::test]
async fn tls_required_no_goes_even_where_the_records_cannot_be_had() {
    let lab = Lab::new([Manners::default(), Manners::default()]).await;
    let port = lab.servers[0].address.port();
    for host in ["a", "b"] {
        lab.dns.break_name(&format!("_{port}._tcp.{host}.example.com"), Fault::ServerFailure);
    }
    assert_eq!(short(&deliver(&lab.mx(), ["bob@example.com"]).await[0]), "deferred 4.4.3");
    let outcome = one(&lab.mx(), not_requiring("bob@example.com")).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(tls_policy(&outcome), "opportunistic; TLS-Required: No");
}
