//! The addresses of ours that mail comes from.

use std::{collections::HashMap, net::IpAddr};

use crate::support::{Dns, Manners, Server, deliver, loopback, mx, options, short};
use hedwig_mx::{Mx, MxOptions, Source};

async fn lab<const N: usize>(sources: [&str; N]) -> (Server, Mx, Dns) {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    dns.mail_domain("example.com", loopback(1)).await;
    let sources = sources.map(|text| text.parse::<Source>().unwrap()).to_vec();
    let mx = mx(&dns, MxOptions { sources, ..options(server.address.port()) });
    (server, mx, dns)
}

/// How many mails came from each address.
fn by_client(server: &Server) -> HashMap<IpAddr, usize> {
    let mut clients = HashMap::new();
    for mail in server.taken() {
        *clients.entry(mail.client.unwrap()).or_default() += 1;
    }
    clients
}

#[tokio::test]
async fn mails_come_from_each_source_by_its_weight_and_the_pool_keeps_them_apart() {
    let (server, mx, _dns) = lab(["127.0.0.71 weight=3", "127.0.0.72", "::1 weight=99"]).await;
    fastrand::seed(7);
    for _ in 0..80 {
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
        let source = outcome.answer().relay.as_ref().unwrap().source;
        assert_eq!(source, server.taken().last().unwrap().client, "the outcome tells it");
    }
    let clients = by_client(&server);
    let (heavy, light) = (clients[&loopback(71)], clients[&loopback(72)]);
    assert_eq!(heavy + light, 80);
    assert!((50..=70).contains(&heavy), "{heavy} of 80");
    assert_eq!((server.connections(), mx.idle_connections()), (2, 2), "one for each source");
}

#[tokio::test]
async fn each_source_says_hello_by_its_name() {
    let (server, mx, _dns) =
        lab(["127.0.0.71 hello=a.sender.example", "127.0.0.72 hello=b.sender.example"]).await;
    fastrand::seed(7);
    while by_client(&server).len() < 2 {
        assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
        assert!(server.taken().len() < 100, "one of them is never chosen");
    }
    for name in ["a.sender.example", "b.sender.example"] {
        assert_eq!(server.commands(&format!("EHLO {name}").to_uppercase()), 1);
    }
}

#[tokio::test]
async fn a_source_of_the_other_family_is_no_hindrance_and_one_that_is_not_ours_is() {
    let (server, mx, _dns) = lab(["::1 hello=six.sender.example"]).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(outcome.answer().relay.as_ref().unwrap().source, None);
    assert_eq!(server.commands("EHLO SENDER.EXAMPLE"), 1);

    let (server, mx, _dns) = lab(["192.0.2.1"]).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "deferred 4.4.1", "{outcome:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn no_more_mails_leave_a_source_at_once_than_it_may() {
    let (server, mx, _dns) = lab(["127.0.0.71 max=2"]).await;
    let mails = (0..12).map(|_| deliver(&mx, ["bob@example.com"]));
    for [outcome] in futures_util::future::join_all(mails).await {
        assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    }
    assert!(server.connections() <= 2, "{} connections", server.connections());
}
