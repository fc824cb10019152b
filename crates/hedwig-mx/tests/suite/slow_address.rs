//! A host with two addresses, of which the first leads nowhere (RFC 8305).

use std::{io, net::Ipv6Addr, time::Duration};

use crate::support::{Dns, Manners, Server, deliver, loopback, mx, options, short};
use hedwig_mx::{Dialer, MxOptions};
use hedwig_smtp::BoxStream;
use tokio::net::TcpStream;
use tower::service_fn;

/// IPv6 swallows every packet; IPv4 works.
fn without_ipv6() -> Dialer {
    Dialer::new(service_fn(|address: std::net::SocketAddr| async move {
        if address.is_ipv6() {
            std::future::pending::<()>().await;
        }
        let stream = TcpStream::connect(address).await?;
        Ok::<BoxStream, io::Error>(Box::new(stream))
    }))
}

#[tokio::test]
async fn an_address_that_swallows_packets_does_not_hold_up_a_mail() {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    dns.mail_domain("example.com", Ipv6Addr::LOCALHOST).await;
    dns.address_of("mx.example.com", loopback(1)).await;
    let mx = mx(
        &dns,
        MxOptions {
            dialer: Some(without_ipv6()),
            // Were the first address waited for, this test would not end today.
            connect_time_max: Duration::from_secs(24 * 60 * 60),
            ..options(server.address.port())
        },
    );
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    let relay = outcome.answer().relay.clone().unwrap();
    assert_eq!(relay.address, Some(server.address));
    let [again] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&again), "done 2.0.0");
    assert_eq!(server.connections(), 1, "a connection that waits is better than a race");
}

#[tokio::test]
async fn while_we_have_no_way_out_a_host_without_an_address_fails_no_mail() {
    let dns = Dns::start().await.unwrap();
    for domain in ["example.com", "dangling.example"] {
        dns.mx(domain, 20, "dangling.example.com").await;
    }
    dns.mx("example.com", 10, "mx.example.com").await.mx("example.com", 30, "gone.example").await;
    dns.address_of("mx.example.com", loopback(1)).await;
    let no_network = Dialer::new(service_fn(|_: std::net::SocketAddr| async {
        Err::<BoxStream, io::Error>(io::ErrorKind::NetworkUnreachable.into())
    }));
    let mx = mx(&dns, MxOptions { dialer: Some(no_network), ..options(25) });
    let outcomes = deliver(&mx, ["bob@example.com", "bob@dangling.example"]).await;
    assert_eq!(outcomes.each_ref().map(short), ["deferred 4.4.1", "failed 5.4.4"]);
    assert!(outcomes[0].answer().unreached);
}

#[tokio::test]
async fn the_server_that_answers_first_and_does_not_want_us_is_not_the_last() {
    let (dns, manners) = (Dns::start().await.unwrap(), Manners::greeting("421 4.3.2 busy"));
    let [busy, good] = Server::start_all([manners, Manners::default()]).await;
    dns.mail_domain("example.com", loopback(1)).await;
    dns.address_of("mx.example.com", loopback(2)).await;
    let mx = mx(&dns, options(busy.address.port()));
    for _ in 0..4 {
        assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    }
    assert_eq!(good.taken().len(), 4);
}
