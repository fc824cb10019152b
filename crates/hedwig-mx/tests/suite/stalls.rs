//! Servers that fall silent, at each station. How long that is borne (RFC 5321 §4.5.3.2) is tested beside the
//! session itself; here the clock is turned past every limit.

use crate::support::{
    Dns, Manners, Server,
    acts::{Act, At},
    deliver, host, loopback, mx, options, short,
};

#[tokio::test]
async fn a_server_that_falls_silent_is_left_for_later() {
    for (station, ambiguous) in [
        (At::Connect, false),
        (At::Hello, false),
        (At::Mail, false),
        (At::Recipient, false),
        (At::Data, false),
        (At::Dot, true),
    ] {
        let dns = Dns::start().await.unwrap();
        let silent = Server::start(Manners::at(station, Act::Stall)).await;
        dns.mail_domain("example.com", loopback(1)).await;
        let mx = mx(&dns, options(silent.address.port()));
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(short(&outcome), "deferred 4.4.2", "{station:?}: {outcome:?}");
        assert_eq!(outcome.answer().ambiguous, ambiguous, "{station:?}");
    }
}

#[tokio::test]
async fn a_host_that_falls_silent_before_the_end_is_passed_over_and_after_it_is_not() {
    for (station, last) in [
        (At::Connect, "good.example"),
        (At::Hello, "good.example"),
        (At::Mail, "good.example"),
        (At::Recipient, "good.example"),
        (At::Data, "good.example"),
        (At::Dot, "silent.example"),
    ] {
        let dns = Dns::start().await.unwrap();
        let manners = [Manners::at(station, Act::Stall), Manners::default()];
        let [silent, good] = Server::start_all(manners).await;
        dns.mx("example.com", 10, "silent.example")
            .await
            .mx("example.com", 20, "good.example")
            .await;
        dns.address_of("silent.example", loopback(1)).await;
        dns.address_of("good.example", loopback(2)).await;
        let mx = mx(&dns, options(silent.address.port()));
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(host(&outcome), last, "{station:?}: {outcome:?}");
        assert_eq!(good.taken().len(), usize::from(last == "good.example"), "{station:?}");
    }
}
