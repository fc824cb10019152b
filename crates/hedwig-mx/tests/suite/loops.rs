//! Mail must not come back to us (RFC 5321 §5.1), whoever writes the zone.

use crate::support::{Dns, Manners, Server, deliver, host, loopback, mx, options, short};
use hedwig_mx::MxOptions;

async fn lab(change: impl FnOnce(&mut MxOptions)) -> (Dns, Server, hedwig_mx::Mx) {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    let mut options = options(server.address.port());
    change(&mut options);
    let mx = mx(&dns, options);
    (dns, server, mx)
}

#[tokio::test]
async fn what_leads_to_this_host_is_refused() {
    let (dns, server, mx) = lab(|options| options.allow_loopback = false).await;
    dns.mail_domain("loopback.example", loopback(1)).await;
    dns.mail_domain("loopback6.example", std::net::Ipv6Addr::LOCALHOST).await;
    dns.mail_domain("unspecified.example", [0, 0, 0, 0]).await;
    let mapped: std::net::Ipv6Addr = "::ffff:127.0.0.1".parse().unwrap();
    dns.mail_domain("mapped.example", mapped).await;
    dns.address_of("implicit.example", loopback(1)).await;
    let outcomes = deliver(
        &mx,
        [
            "a@loopback.example",
            "a@loopback6.example",
            "a@unspecified.example",
            "a@mapped.example",
            "a@implicit.example",
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
        ],
    )
    .await;
    assert_eq!(outcomes.each_ref().map(short), [const { "failed 5.4.6" }; 7]);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn our_name_ends_the_list_of_exchangers() {
    let (dns, server, mx) = lab(|options| options.own_names = vec!["WE.example".into()]).await;
    dns.mx("backup.example", 10, "down.example").await;
    dns.mx("backup.example", 20, "we.example").await;
    dns.mx("backup.example", 30, "third.example").await;
    dns.mx("ours.example", 10, "sender.example").await;
    for name in ["we.example", "third.example", "sender.example"] {
        dns.address_of(name, loopback(1)).await;
    }
    dns.address_of("down.example", loopback(99)).await;
    let [backup, ours] = deliver(&mx, ["a@backup.example", "a@ours.example"]).await;
    assert_eq!((short(&backup).as_str(), host(&backup)), ("deferred 4.4.1", "down.example"));
    assert_eq!(short(&ours), "failed 5.4.6");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn our_address_ends_the_list_of_exchangers() {
    let (dns, server, mx) = lab(|options| options.own_addresses = vec![loopback(1)]).await;
    dns.mx("backup.example", 10, "down.example").await;
    dns.mx("backup.example", 20, "alias-of-us.example").await;
    dns.mx("backup.example", 30, "third.example").await;
    dns.mx("ours.example", 10, "alias-of-us.example").await;
    dns.address_of("down.example", loopback(99)).await;
    dns.address_of("alias-of-us.example", loopback(1)).await;
    dns.address_of("third.example", loopback(1)).await;
    let [backup, ours] = deliver(&mx, ["a@backup.example", "a@ours.example"]).await;
    assert_eq!((short(&backup).as_str(), host(&backup)), ("deferred 4.4.1", "down.example"));
    assert_eq!(short(&ours), "failed 5.4.6");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_route_may_lead_to_this_host() {
    let (_dns, server, mx) = lab(|options| {
        options.allow_loopback = false;
        let route = format!("example.com=smtp://127.0.0.1:{}", options.mx_port);
        options.routes = crate::support::routes([route.as_str()]);
    })
    .await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0");
    assert_eq!(server.taken().len(), 1);
}
