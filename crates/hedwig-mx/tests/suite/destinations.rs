//! Where the mail of a domain goes (RFC 5321 §5.1, RFC 7505).

use crate::support::{Dns, Fault, Manners, Server, deliver, host, loopback, mx, options, short};

async fn lab() -> (Dns, Server, hedwig_mx::Mx) {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    let mx = mx(&dns, options(server.address.port()));
    (dns, server, mx)
}

#[tokio::test]
async fn mail_goes_to_the_mail_exchanger() {
    let (dns, server, mx) = lab().await;
    dns.mx("example.com", 10, "mx.example.net").await;
    dns.address_of("mx.example.net", loopback(1)).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0");
    let relay = outcome.answer().relay.clone().unwrap();
    assert_eq!(
        (relay.host.as_str(), relay.address, relay.tls),
        ("mx.example.net", Some(server.address), None)
    );
    let taken = server.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].sender, "alice@sender.example");
    assert_eq!(taken[0].recipients, ["bob@example.com"]);
    assert_eq!(taken[0].content, "From: alice@sender.example\r\n\r\nHello\r\n.\r\nagain\r\n");
}

#[tokio::test]
async fn lower_preference_is_asked_first() {
    let dns = Dns::start().await.unwrap();
    let [first, second] = Server::start_all([Manners::default(), Manners::default()]).await;
    let mx = mx(&dns, options(first.address.port()));
    dns.mx("example.com", 20, "b.example.com").await.mx("example.com", 10, "a.example.com").await;
    dns.address_of("a.example.com", loopback(1)).await;
    dns.address_of("b.example.com", loopback(2)).await;
    for _ in 0..4 {
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(host(&outcome), "a.example.com");
    }
    assert_eq!((first.taken().len(), second.taken().len()), (4, 0));
}

#[tokio::test]
async fn a_domain_without_mx_is_its_own_exchanger() {
    let (dns, server, mx) = lab().await;
    dns.address_of("example.com", loopback(1)).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!((short(&outcome).as_str(), host(&outcome)), ("done 2.0.0", "example.com"));
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn an_alias_goes_where_its_canonical_name_goes() {
    let (dns, server, mx) = lab().await;
    dns.cname("alias.example", "example.com").await;
    dns.mail_domain("example.com", loopback(1)).await;
    dns.cname("plain.example", "host.example").await;
    dns.address_of("host.example", loopback(1)).await;
    let [by_mx, implicit] = deliver(&mx, ["a@alias.example", "b@plain.example"]).await;
    assert_eq!((short(&by_mx).as_str(), host(&by_mx)), ("done 2.0.0", "mx.example.com"));
    assert_eq!(short(&implicit), "done 2.0.0");
    assert_eq!(server.taken().len(), 2);
}

#[tokio::test]
async fn a_null_mx_takes_no_mail() {
    let (dns, server, mx) = lab().await;
    dns.null_mx("example.com").await.address_of("example.com", loopback(1)).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "failed 5.1.10");
    assert_eq!(outcome.answer().reply.code(), 556);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_dns_says_decides_between_never_and_later() {
    let (dns, _server, mx) = lab().await;
    dns.txt("no-data.example", "there is only this").await;
    dns.break_name("servfail.example", Fault::ServerFailure);
    dns.mx("no-host.example", 10, "nowhere.example").await;
    dns.mx("broken-host.example", 10, "servfail.example").await;
    let outcomes = deliver(
        &mx,
        [
            "a@nxdomain.example",
            "a@no-data.example",
            "a@servfail.example",
            "a@no-host.example",
            "a@broken-host.example",
        ],
    )
    .await;
    assert_eq!(
        outcomes.each_ref().map(short),
        ["failed 5.1.2", "failed 5.4.4", "deferred 4.4.3", "failed 5.4.4", "deferred 4.4.3"]
    );
    assert_eq!(host(&outcomes[3]), "nowhere.example");
}

#[tokio::test(start_paused = true)]
async fn a_silent_name_server_means_later() {
    let (dns, _server, mx) = lab().await;
    dns.break_name("example.com", Fault::Silence);
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "deferred 4.4.3");
}

#[tokio::test]
async fn a_host_that_cannot_be_found_is_passed_over() {
    let (dns, server, mx) = lab().await;
    dns.mx("example.com", 10, "nowhere.example").await.mx("example.com", 20, "b.example").await;
    dns.address_of("b.example", loopback(1)).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!((short(&outcome).as_str(), host(&outcome)), ("done 2.0.0", "b.example"));
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn u_labels_are_asked_for_as_a_labels() {
    let (dns, server, mx) = lab().await;
    dns.mail_domain("xn--bcher-kva.example", loopback(1)).await;
    let [outcome] = deliver(&mx, ["bob@bücher.example"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn address_literals_need_no_dns() {
    let (dns, server, mx) = lab().await;
    let [outcome] = deliver(&mx, ["bob@[127.0.0.1]"]).await;
    assert_eq!((short(&outcome).as_str(), host(&outcome)), ("done 2.0.0", "[127.0.0.1]"));
    assert_eq!(server.taken().len(), 1);
    assert!(dns.questions().is_empty());
}

#[tokio::test]
async fn each_destination_has_its_own_transaction_and_outcomes_keep_their_order() {
    let (dns, server, mx) = lab().await;
    dns.mail_domain("x.example", loopback(1)).await;
    dns.mail_domain("y.example", loopback(1)).await;
    let outcomes =
        deliver(&mx, ["a@x.example", "b@none.example", "c@y.example", "d@x.example"]).await;
    assert_eq!(
        outcomes.each_ref().map(short),
        ["done 2.0.0", "failed 5.1.2", "done 2.0.0", "done 2.0.0"]
    );
    let mut recipients: Vec<Vec<String>> =
        server.taken().into_iter().map(|taken| taken.recipients).collect();
    recipients.sort();
    assert_eq!(recipients, [vec!["a@x.example", "d@x.example"], vec!["c@y.example"]]);
}
