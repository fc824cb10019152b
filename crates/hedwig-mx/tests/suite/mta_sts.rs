//! What a domain's policy says of its exchangers decides, where their own records do not.
#![cfg(feature = "https")]

use std::{net::Ipv6Addr, sync::LazyLock, time::Duration};

use crate::support::policy_server::{Page, PolicyServer};
use crate::support::{
    Dns, Fault, Manners, Server, Tls,
    certificates::{Authority, public_key, sha256},
    deliver, host, loopback, options, short, validating,
};
use hedwig_envelope::Outcome;
use hedwig_lab::Delegation;
use hedwig_mx::{HttpsFetcher, HttpsOptions, MtaSts, Mx, MxOptions, Resolver};
use hickory_resolver::proto::rr::RecordType;
use tokio::net::TcpListener;

/// The authority that everybody knows, and one that nobody knows.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
static STRANGER: LazyLock<Authority> = LazyLock::new(Authority::new);

const DONE: &str = "done 2.0.0";
const UNTRUSTED: &str = "deferred 4.7.5";
const NO_TLS: &str = "deferred 4.7.4";
const NOT_NAMED: &str = "deferred 4.7.0";
const DAY: u64 = 24 * 3600;

struct Lab {
    dns: Dns,
    server: Server,
    web: PolicyServer,
    mx: Mx,
}

impl Lab {
    /// `example.com`, whose server shows this, and whose zone tells of a policy `1`.
    async fn new(tls: Tls) -> Self {
        let lab = Self::with(tls, |_| {}).await;
        lab.tell("1").await;
        lab
    }

    async fn with(tls: Tls, change: impl FnOnce(&mut HttpsOptions)) -> Self {
        let dns = Dns::start_signed().await.unwrap();
        dns.mail_domain("example.com", loopback(1)).await;
        dns.address_of("mta-sts.example.com", loopback(1)).await;
        let web = PolicyServer::start(&AUTHORITY.issue("mta-sts.example.com")).await;
        let server = Server::start(Manners { tls, ..Manners::default() }).await;
        let resolver = validating(&dns);
        let mut https = https(&web);
        change(&mut https);
        let mx = mx(&server, resolver, https);
        Self { dns, server, web, mx }
    }

    /// The zone tells of the policy with this id, and of no other.
    async fn tell(&self, id: &str) {
        let name = "_mta-sts.example.com";
        self.dns.remove(name, RecordType::TXT).await;
        self.dns.txt(name, &format!("v=STSv1; id={id};")).await;
    }

    async fn deliver(&self) -> Outcome {
        let [outcome] = deliver(&self.mx, ["bob@example.com"]).await;
        outcome
    }

    async fn verdict(&self) -> String {
        short(&self.deliver().await)
    }

    /// Another resolver, which has no old answers, and another time to come back to old failures.
    fn restarted(&self) -> Mx {
        mx(&self.server, validating(&self.dns), https(&self.web))
    }
}

fn https(web: &PolicyServer) -> HttpsOptions {
    HttpsOptions { port: web.address.port(), allow_loopback: true, ..HttpsOptions::default() }
}

fn mx(server: &Server, resolver: Resolver, https: HttpsOptions) -> Mx {
    let authorities = AUTHORITY.alone();
    let fetcher = HttpsFetcher::new(resolver.clone(), authorities.client_config(), https);
    let mta_sts = Some(MtaSts::new(fetcher));
    Mx::new(resolver, MxOptions { mta_sts, authorities, ..options(server.address.port()) })
}

fn shown(certificate: &str) -> Tls {
    match certificate {
        "right" => AUTHORITY.issue("mx.example.com").tls(),
        "wrong" => STRANGER.issue("mx.example.com").tls(),
        "misnamed" => AUTHORITY.issue("example.com").tls(),
        "expired" => AUTHORITY.issue_expired("mx.example.com").tls(),
        "broken" => Tls::Broken,
        "absent" => Tls::NotOffered,
        other => panic!("no certificate {other}"),
    }
}

#[tokio::test]
async fn policies_and_certificates_decide_together() {
    // The columns: right, wrong, misnamed, expired, broken, absent.
    let strict = [DONE, UNTRUSTED, UNTRUSTED, UNTRUSTED, UNTRUSTED, NO_TLS];
    let table: [(&str, Page, [&str; 6]); 6] = [
        ("enforce", Page::policy("enforce", "mx.example.com", DAY), strict),
        ("enforce, pattern", Page::policy("enforce", "*.example.com", DAY), strict),
        ("enforce, another host", Page::policy("enforce", "mx.example.net", DAY), [NOT_NAMED; 6]),
        ("testing", Page::policy("testing", "mx.example.com", DAY), [DONE; 6]),
        ("testing, another host", Page::policy("testing", "mx.example.net", DAY), [DONE; 6]),
        ("none", Page::policy("none", "mx.example.com", DAY), [DONE; 6]),
    ];
    let certificates = ["right", "wrong", "misnamed", "expired", "broken", "absent"];
    for (policy, page, expected) in table {
        for (certificate, expected) in certificates.iter().zip(expected) {
            let lab = Lab::new(shown(certificate)).await;
            lab.web.show(page.clone());
            let outcome = lab.deliver().await;
            assert_eq!(short(&outcome), expected, "{policy}, {certificate}: {outcome:?}");
            assert_eq!(host(&outcome), "mx.example.com");
            let delivered = usize::from(expected == DONE);
            assert_eq!(lab.server.commands("MAIL"), delivered, "{policy}, {certificate}");
            assert_eq!(lab.web.requests(), ["mta-sts.example.com/.well-known/mta-sts.txt"]);
        }
    }
}

#[tokio::test]
async fn what_is_no_policy_asks_for_nothing() {
    let good = || Page::policy("enforce", "mx.example.com", DAY);
    let elsewhere = Some("/policy.txt".to_owned());
    for (what, page) in [
        ("nothing", Page { body: String::new(), ..good() }),
        ("nonsense", Page { body: "<html>".into(), ..good() }),
        ("not found", Page { status: 404, ..good() }),
        ("a redirect", Page { status: 301, location: elsewhere, ..good() }),
        ("another type", Page { content_type: "text/html", ..good() }),
        ("too much", Page { body: format!("{}{}", good().body, "x:\n".repeat(40_000)), ..good() }),
    ] {
        let lab = Lab::new(shown("wrong")).await;
        lab.web.show(page);
        assert_eq!(lab.verdict().await, DONE, "{what}");
        assert_eq!(lab.verdict().await, DONE, "{what}");
        assert_eq!(lab.web.requests().len(), 1, "{what}: asked again too soon");
    }
}

#[tokio::test]
async fn a_policy_is_of_a_server_with_its_own_certificate() {
    for certificate in [
        STRANGER.issue("mta-sts.example.com"),
        AUTHORITY.issue("example.com"),
        AUTHORITY.issue_expired("mta-sts.example.com"),
    ] {
        let mut lab = Lab::new(shown("wrong")).await;
        lab.web = PolicyServer::start(&certificate).await;
        lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
        lab.mx = lab.restarted();
        assert_eq!(lab.verdict().await, DONE);
        assert!(lab.web.requests().is_empty());
    }
}

#[tokio::test]
async fn without_a_record_nobody_is_asked() {
    let lab = Lab::with(shown("wrong"), |_| {}).await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    assert_eq!(lab.verdict().await, DONE);
    // Two records are none (RFC 8461 §3.1).
    for id in ["1", "2"] {
        lab.dns.txt("_mta-sts.example.com", &format!("v=STSv1; id={id}")).await;
    }
    let [outcome] = deliver(&lab.restarted(), ["bob@example.com"]).await;
    assert_eq!(short(&outcome), DONE);
    assert!(lab.web.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_never_answers_costs_its_time_limit() {
    let lab = Lab::new(shown("wrong")).await;
    lab.web.show(Page { silent: true, ..Page::policy("enforce", "mx.example.com", DAY) });
    // Time passes when the server has the request, and not before.
    let time_runs_out = async {
        lab.web.asked().await;
        tokio::time::pause();
        tokio::time::advance(HttpsOptions::default().time_max).await;
        tokio::time::resume();
    };
    let (verdict, ()) = tokio::join!(lab.verdict(), time_runs_out);
    assert_eq!(verdict, DONE);
    assert_eq!(lab.web.requests().len(), 1);
}

/// What an address of the policy's web server does that is asked before the good one.
#[derive(Clone, Copy, Debug)]
enum BadAddress {
    /// Nothing comes back, as where packets are swallowed.
    Silent,
    /// It hangs up on the handshake.
    HangsUp,
}

#[tokio::test]
async fn an_address_of_the_web_server_that_is_of_no_use_holds_nothing_up() {
    for bad in [BadAddress::Silent, BadAddress::HangsUp] {
        // Were the first address waited for, this test would not end today.
        let patient = |https: &mut HttpsOptions| https.time_max = Duration::from_secs(DAY);
        let lab = Lab::with(shown("wrong"), patient).await;
        let port = lab.web.address.port();
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        let served = tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if matches!(bad, BadAddress::Silent) {
                    kept.push(stream);
                }
            }
        });
        lab.dns.address_of("mta-sts.example.com", Ipv6Addr::LOCALHOST).await;
        lab.tell("1").await;
        lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
        assert_eq!(lab.verdict().await, UNTRUSTED, "{bad:?}");
        assert_eq!(lab.web.requests().len(), 1, "{bad:?}");
        served.abort();
    }
}

#[tokio::test]
async fn a_name_that_leads_to_ourselves_is_not_asked() {
    let lab = Lab::with(shown("wrong"), |https| https.allow_loopback = false).await;
    lab.tell("1").await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    assert_eq!(lab.verdict().await, DONE);
    assert!(lab.web.requests().is_empty());
}

#[tokio::test]
async fn a_policy_is_fetched_once() {
    let lab = Lab::new(shown("right")).await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    for _ in 0..3 {
        assert_eq!(lab.verdict().await, DONE);
    }
    let mails = (0..5).map(|_| async { lab.verdict().await });
    for verdict in futures_util::future::join_all(mails).await {
        assert_eq!(verdict, DONE);
    }
    assert_eq!(lab.web.requests().len(), 1);
}

#[tokio::test]
async fn many_mails_at_once_wait_for_one_policy() {
    let lab = Lab::new(shown("wrong")).await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    let mails = (0..5).map(|_| async { lab.verdict().await });
    for verdict in futures_util::future::join_all(mails).await {
        assert_eq!(verdict, UNTRUSTED);
    }
    assert_eq!(lab.web.requests().len(), 1);
}

/// What happens while mails come and go; DNS answers are kept a second, so the test waits for other ones.
struct Changes(Lab);

impl Changes {
    async fn begin() -> Self {
        let lab = Lab::new(shown("wrong")).await;
        lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
        assert_eq!(lab.verdict().await, UNTRUSTED);
        Self(lab)
    }

    /// Until DNS has told of `requests` policies, or of none.
    async fn verdict_after(&self, requests: usize) -> String {
        let patience = tokio::time::Instant::now() + hedwig_lab::PATIENCE;
        loop {
            let verdict = self.0.verdict().await;
            if self.0.web.requests().len() >= requests {
                return verdict;
            }
            assert!(tokio::time::Instant::now() < patience, "nobody asked for the new policy");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn another_id_brings_the_new_policy() {
    let changes = Changes::begin().await;
    changes.0.web.show(Page::policy("none", "mx.example.com", DAY));
    assert_eq!(changes.0.verdict().await, UNTRUSTED, "the id is the same");
    changes.0.tell("2").await;
    assert_eq!(changes.verdict_after(2).await, DONE);
}

#[tokio::test]
async fn when_the_new_policy_cannot_be_had_the_old_one_counts() {
    let changes = Changes::begin().await;
    changes.0.web.hide();
    changes.0.tell("2").await;
    assert_eq!(changes.verdict_after(2).await, UNTRUSTED);
    assert_eq!(changes.0.verdict().await, UNTRUSTED);
    assert_eq!(changes.0.web.requests().len(), 2, "asked again too soon");
    changes.0.web.show(Page::policy("testing", "mx.example.com", DAY));
    changes.0.tell("3").await;
    assert_eq!(changes.verdict_after(3).await, DONE);
}

#[tokio::test]
async fn a_record_that_is_gone_takes_no_policy_back() {
    let lab = Changes::begin().await.0;
    lab.dns.break_name("_mta-sts.example.com", Fault::ServerFailure);
    let before = lab.dns.questions().len();
    let name = "_mta-sts.example.com".to_owned();
    let patience = tokio::time::Instant::now() + hedwig_lab::PATIENCE;
    while !lab.dns.questions()[before..].contains(&(name.clone(), RecordType::TXT)) {
        assert_eq!(lab.verdict().await, UNTRUSTED);
        assert!(tokio::time::Instant::now() < patience, "nobody asked for the record");
    }
    assert_eq!(lab.verdict().await, UNTRUSTED);
}

#[tokio::test]
async fn a_host_that_the_policy_does_not_name_is_passed_over() {
    let dns = Dns::start_signed().await.unwrap();
    let manners = |name: &str| Manners { tls: AUTHORITY.issue(name).tls(), ..Manners::default() };
    let [first, second] =
        Server::start_all([manners("a.example.net"), manners("b.example.com")]).await;
    dns.mx("example.com", 10, "a.example.net").await.mx("example.com", 20, "b.example.com").await;
    dns.address_of("a.example.net", loopback(1)).await;
    dns.address_of("b.example.com", loopback(2)).await;
    dns.address_of("mta-sts.example.com", loopback(1)).await;
    dns.txt("_mta-sts.example.com", "v=STSv1; id=1").await;
    let web = PolicyServer::start(&AUTHORITY.issue("mta-sts.example.com")).await;
    web.show(Page::policy("enforce", "*.example.com", DAY));
    let [outcome] = deliver(&mx(&first, validating(&dns), https(&web)), ["bob@example.com"]).await;
    assert_eq!((short(&outcome).as_str(), host(&outcome)), (DONE, "b.example.com"));
    assert_eq!((first.connections(), second.taken().len()), (0, 1));
}

#[tokio::test]
async fn one_domains_policy_does_not_block_its_siblings_on_the_same_host() {
    let lab = Lab::new(shown("wrong")).await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    lab.dns.mx("sibling.example", 10, "mx.example.com").await;
    let outcomes = deliver(&lab.mx, ["a@example.com", "b@sibling.example"]).await;
    assert_eq!(outcomes.each_ref().map(short), [UNTRUSTED, DONE]);
    // The connection that the sibling left behind is of no use to the stricter one.
    assert_eq!(lab.mx.idle_connections(), 1);
    assert_eq!(lab.verdict().await, UNTRUSTED);
}

#[tokio::test]
async fn dane_goes_first() {
    // The certificate is no authority's that everybody knows, and the records mean it: the policy is not asked.
    let shown = STRANGER.issue("mx.example.com");
    let lab = Lab::new(shown.tls()).await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    let (port, key) = (lab.server.address.port(), sha256(&public_key(&shown.certificate)));
    lab.dns.tlsa("mx.example.com", port, (3, 1, 1), &key).await;
    assert_eq!(lab.verdict().await, DONE);
    assert!(lab.web.requests().is_empty());

    // The certificate is as the policy asks, and the records mean another one: the policy takes nothing back.
    let lab = Lab::new(AUTHORITY.issue("mx.example.com").tls()).await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    let port = lab.server.address.port();
    lab.dns.tlsa("mx.example.com", port, (3, 1, 1), &[7; 32]).await;
    assert_eq!(lab.verdict().await, UNTRUSTED);

    // Records that cannot be followed leave the certificate to the policy.
    let lab = Lab::new(STRANGER.issue("mx.example.com").tls()).await;
    lab.web.show(Page::policy("enforce", "mx.example.com", DAY));
    let port = lab.server.address.port();
    lab.dns.tlsa("mx.example.com", port, (1, 1, 1), &[7; 32]).await;
    assert_eq!(lab.verdict().await, UNTRUSTED);
}

#[tokio::test]
async fn a_policy_counts_without_dnssec() {
    let dns = Dns::start_signed().await.unwrap();
    dns.delegate("example.com", Delegation::Unsigned).await;
    dns.mail_domain("example.com", loopback(1)).await;
    dns.address_of("mta-sts.example.com", loopback(1)).await;
    dns.txt("_mta-sts.example.com", "v=STSv1; id=1").await;
    let web = PolicyServer::start(&AUTHORITY.issue("mta-sts.example.com")).await;
    web.show(Page::policy("enforce", "mx.example.com", DAY));
    let server = Server::start(Manners { tls: shown("wrong"), ..Manners::default() }).await;
    let plain = Resolver::with_server(dns.address()).unwrap();
    for resolver in [plain, validating(&dns)] {
        let [outcome] = deliver(&mx(&server, resolver, https(&web)), ["bob@example.com"]).await;
        assert_eq!(short(&outcome), UNTRUSTED, "{outcome:?}");
    }
}
