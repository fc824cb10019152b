//! How a mail would go, told without sending one.

use std::{future::Future, net::IpAddr, pin::Pin, time::Duration};

use crate::support::{
    Dns, Manners, Server, certificates::Authority, certificates::sha256, deliver, loopback, mail,
    mx, options, routes, validating,
};
use hedwig_mx::{
    Explanation, Mx, MxHost, MxOptions, Names, ResolveErrorKind, Resolver, TlsLevel, TrustAnchors,
};
use tokio::time::Instant;

async fn explain(mx: &Mx, recipient: &str) -> Explanation {
    mx.explain(&recipient.parse().unwrap(), None).await
}

#[tokio::test]
async fn the_route_that_matches_is_told_with_its_rule() {
    let dns = Dns::start().await.unwrap();
    let rules =
        ["*.corp.example=smtp://192.0.2.7:2525", "gone.example=fail:5.1.2 closed", "*=discard"];
    let options = MxOptions { routes: routes(rules), ..options(25) };
    let mx = mx(&dns, options);
    let told = async |recipient: &str| {
        let explanation = explain(&mx, recipient).await;
        let route = explanation.route.clone();
        (route.rule.unwrap_or_default(), route.target, explanation.answer, explanation.servers)
    };
    let (rule, target, answer, servers) = told("bob@A.corp.example").await;
    assert_eq!((rule.as_str(), target.as_str()), ("*.corp.example", "smtp://192.0.2.7:2525"));
    assert_eq!((answer, servers[0].addresses[0].address.port()), (None, 2525));
    let (rule, _, answer, servers) = told("bob@gone.example").await;
    assert_eq!((rule.as_str(), servers.len()), ("gone.example", 0));
    assert_eq!(answer.as_deref(), Some("550 5.1.2 closed"));
    let (rule, target, ..) = told("bob@example.net").await;
    assert_eq!((rule.as_str(), target.as_str()), ("*", "discard"));
}

#[tokio::test]
async fn exchangers_are_told_in_their_order_with_addresses_sources_and_open_connections() {
    let dns = Dns::start().await.unwrap();
    let server = Server::start(Manners::default()).await;
    dns.mx("example.com", 20, "b.example.com").await.mx("example.com", 10, "a.example.com").await;
    dns.address_of("a.example.com", loopback(1)).await;
    let sources = ["127.0.0.3 weight=3 hello=one.example", "127.0.0.4", "::1"];
    let sources = sources.map(|source| source.parse().unwrap()).to_vec();
    let options = MxOptions { sources, ..options(server.address.port()) };
    let mx = mx(&dns, options);
    deliver(&mx, ["bob@example.com"]).await;
    let explanation = explain(&mx, "bob@example.com").await;
    assert_eq!((explanation.route.rule, explanation.route.target.as_str()), (None, "mx"));
    assert_eq!(explanation.vouched_for, Some(false));
    let [a, b] = &explanation.servers[..] else { panic!("{:#?}", explanation.servers) };
    assert_eq!((a.preference, a.host.as_str()), (Some(10), "a.example.com"));
    assert_eq!((b.preference, b.host.as_str()), (Some(20), "b.example.com"));
    assert!(b.problem.as_ref().unwrap().contains("b.example.com"), "{b:?}");
    let address = &a.addresses[0];
    assert_eq!((address.address, address.open_connections), (server.address, 1));
    let told = address.sources.iter().map(|it| (it.percent, it.hello_name.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), [(75, "one.example"), (25, "sender.example")]);
    let tls = a.tls.as_ref().unwrap();
    assert_eq!(tls.policy, "opportunistic");
    assert_eq!(server.connections(), 1, "nobody was asked anything but DNS");
}

#[tokio::test]
async fn tlsa_records_and_an_operators_rule_are_told_as_the_reason_of_a_policy() {
    let dns = Dns::start_signed().await.unwrap();
    let shown = Authority::new().issue("mx.example.com");
    dns.mail_domain("example.com", loopback(1)).await;
    dns.mail_domain("plain.example.com", loopback(1)).await;
    let port = 2525;
    dns.tlsa("mx.example.com", port, (3, 0, 1), &sha256(&shown.certificate)).await;
    let rules = [format!("plain.example.com={}", TlsLevel::Dane).parse().unwrap()];
    let tls = hedwig_mx::TlsRules::new(TlsLevel::Opportunistic, rules);
    let mx = Mx::new(validating(&dns), MxOptions { tls, ..options(port) });
    let explanation = explain(&mx, "bob@example.com").await;
    assert_eq!((explanation.dnssec.as_str(), explanation.vouched_for), ("validating", Some(true)));
    let tls = explanation.servers[0].tls.clone().unwrap();
    assert_eq!(tls.policy, "dane: TLSA records of mx.example.com");
    assert!(tls.tlsa[0].starts_with("3 0 1 "), "{tls:?}");

    let explanation = explain(&mx, "bob@plain.example.com").await;
    let server = &explanation.servers[0];
    assert_eq!(server.tls.as_ref().unwrap().policy, "dane: set for plain.example.com");
    assert!(server.problem.as_ref().unwrap().contains("TLSA"), "{server:?}");
}

#[tokio::test]
async fn what_a_mail_asks_of_tls_counts() {
    let dns = Dns::start().await.unwrap();
    dns.mail_domain("example.com", loopback(1)).await;
    let mx = mx(&dns, options(25));
    let mut mail = mail(["bob@example.com"]);
    mail.envelope.parameters.require_tls = true;
    let asked = Some((&mail.envelope, &mail.content));
    let explanation = mx.explain(&"bob@example.com".parse().unwrap(), asked).await;
    let server = &explanation.servers[0];
    assert_eq!(server.tls.as_ref().unwrap().policy, "REQUIRETLS", "{server:?}");
    assert!(server.problem.is_some(), "nobody vouches for the server's name");
}

#[tokio::test]
async fn a_domain_that_is_not_there_is_an_answer_too() {
    let dns = Dns::start().await.unwrap();
    let mx = mx(&dns, options(25));
    let explanation = explain(&mx, "bob@nowhere.example").await;
    assert!(explanation.servers.is_empty());
    let answer = explanation.answer.unwrap();
    assert!(answer.contains("nowhere.example"), "{answer}");
}

/// No explanation may take longer, whatever does not answer.
const TIME_MAX: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_name_server_that_never_answers_is_told_in_time() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolver = Resolver::with_server(silent.local_addr().unwrap()).unwrap();
    let resolver = resolver.validating(&TrustAnchors::default()).unwrap();
    let routes = routes(["*.example.net=smtp://relay.example.org"]);
    let mx = Mx::new(resolver, MxOptions { routes, ..options(25) });
    let begin = Instant::now();
    let by_mx = explain(&mx, "bob@example.com").await;
    assert!(begin.elapsed() < TIME_MAX, "{:?}", begin.elapsed());
    assert!(by_mx.dnssec.starts_with("unknown: "), "{}", by_mx.dnssec);
    let answer = by_mx.answer.unwrap();
    assert!(answer.starts_with("not known: DNS gave no answer for example.com"), "{answer}");
    assert_eq!((by_mx.vouched_for, by_mx.servers.len()), (None, 0));

    let begin = Instant::now();
    let by_route = explain(&mx, "bob@a.example.net").await;
    assert!(begin.elapsed() < TIME_MAX, "{:?}", begin.elapsed());
    let problem = by_route.servers[0].problem.as_ref().unwrap();
    assert!(problem.contains("relay.example.org") || problem.contains("not known"), "{problem}");
}

/// Knows the exchangers of every domain, and the address of one of them.
struct HalfSilent;

impl Names for HalfSilent {
    fn mx<'a>(&'a self, _: &'a str) -> Answer<'a, Vec<MxHost>> {
        let host = |preference, name: &str| MxHost { preference, name: name.to_owned() };
        Box::pin(async move { Ok(vec![host(10, "heard.example"), host(20, "silent.example")]) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>> {
        Box::pin(async move {
            if host == "silent.example" {
                std::future::pending::<()>().await;
            }
            Ok(vec![loopback(1)])
        })
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ResolveErrorKind>> + Send + 'a>>;

#[tokio::test(start_paused = true)]
async fn what_is_known_is_told_though_something_else_is_not() {
    let mx = Mx::new(Resolver::of_names(HalfSilent).unwrap(), options(25));
    let begin = Instant::now();
    let explanation = explain(&mx, "bob@example.com").await;
    assert!(begin.elapsed() < TIME_MAX, "{:?}", begin.elapsed());
    let [heard, silent] = &explanation.servers[..] else { panic!("{explanation:#?}") };
    assert_eq!((heard.addresses.len(), heard.tls.is_some(), &heard.problem), (1, true, &None));
    assert_eq!((silent.preference, silent.host.as_str()), (Some(20), "silent.example"));
    let problem = silent.problem.as_ref().unwrap();
    assert!(problem.starts_with("its addresses are not known"), "{problem}");
}

#[tokio::test]
async fn how_each_server_fared_last_is_told() {
    let dns = Dns::start().await.unwrap();
    let server = Server::start(Manners::default()).await;
    dns.mx("example.com", 10, "dead.example").await.mx("example.com", 20, "alive.example").await;
    dns.address_of("dead.example", loopback(2))
        .await
        .address_of("alive.example", loopback(1))
        .await;
    let mx = mx(&dns, options(server.address.port()));
    let fared = async || {
        let servers = explain(&mx, "bob@example.com").await.servers;
        let [dead, alive] = &servers[..] else { panic!("{servers:#?}") };
        [dead, alive].map(|server| server.addresses[0].last.clone())
    };
    assert_eq!(fared().await, [None, None]);
    for tries in 1..=2 {
        deliver(&mx, ["bob@example.com"]).await;
        let [dead, alive] = fared().await.map(Option::unwrap);
        assert_eq!((dead.failures, alive.failures), (tries, 0));
        assert!(dead.said.contains("No connection to dead.example"), "{dead:?}");
        assert!(alive.said.starts_with("250 "), "{alive:?}");
        assert!(alive.at >= dead.at);
    }
}

#[cfg(feature = "https")]
#[tokio::test]
async fn an_mta_sts_policy_is_told_with_its_age_and_what_it_names() {
    use crate::support::policy_server::{Page, PolicyServer};
    use hedwig_mx::{HttpsFetcher, HttpsOptions, MtaSts};

    let (dns, authority) = (Dns::start_signed().await.unwrap(), Authority::new());
    dns.mail_domain("example.com", loopback(1)).await;
    dns.address_of("mta-sts.example.com", loopback(1)).await;
    dns.txt("_mta-sts.example.com", "v=STSv1; id=20261126;").await;
    let web = PolicyServer::start(&authority.issue("mta-sts.example.com")).await;
    let https =
        HttpsOptions { port: web.address.port(), allow_loopback: true, ..HttpsOptions::default() };
    let new = || {
        let (resolver, authorities) = (validating(&dns), authority.alone());
        let config = authorities.client_config();
        let fetcher = HttpsFetcher::new(resolver.clone(), config, https.clone());
        let mta_sts = Some(MtaSts::new(fetcher));
        Mx::new(resolver, MxOptions { mta_sts, authorities, ..options(25) })
    };
    let missing = explain(&new(), "bob@example.com").await.servers.remove(0).tls.unwrap();
    let failure = missing.mta_sts.unwrap().failure.unwrap();
    assert!(failure.contains("404"), "{failure}");
    assert_eq!(missing.policy, "opportunistic");

    web.show(Page::policy("enforce", "*.example.com", 86_400));
    let tls = explain(&new(), "bob@example.com").await.servers.remove(0).tls.unwrap();
    assert_eq!(tls.policy, "mta-sts: policy 20261126 of example.com");
    let policy = tls.mta_sts.unwrap();
    assert_eq!((policy.id.as_str(), policy.mode.as_str()), ("20261126", "enforce"));
    assert_eq!(policy.hosts, ["*.example.com"]);
    assert!((86_300..=86_400).contains(&policy.seconds_left), "{policy:?}");

    web.show(Page::policy("enforce", "mx.example.net", 86_400));
    let server = explain(&new(), "bob@example.com").await.servers.remove(0);
    assert!(server.problem.as_ref().unwrap().contains("mx.example.com"), "{server:?}");
}
