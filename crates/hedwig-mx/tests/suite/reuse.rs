//! Many mails on one connection.

use std::time::Duration;

use crate::support::{
    Dns, Manners, Server,
    acts::{Act, At},
    deliver, loopback, mx, options, short,
};
use hedwig_mx::MxOptions;

async fn lab(
    manners: Manners,
    change: impl FnOnce(&mut MxOptions),
) -> (Server, hedwig_mx::Mx, Dns) {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(manners).await);
    dns.mail_domain("example.com", loopback(1)).await;
    let mut options = options(server.address.port());
    change(&mut options);
    let mx = mx(&dns, options);
    (server, mx, dns)
}

#[tokio::test]
async fn the_next_mail_finds_the_connection_waiting() {
    let (server, mx, _dns) = lab(Manners::default(), |_| {}).await;
    for _ in 0..5 {
        assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    }
    assert_eq!((server.connections(), server.taken().len()), (1, 5));
    assert_eq!((mx.idle_connections(), mx.reused_connections()), (1, 4));
}

#[tokio::test]
async fn domains_with_one_exchanger_share_its_connection() {
    let (server, mx, dns) = lab(Manners::default(), |_| {}).await;
    dns.mx("other.example", 5, "mx.example.com").await;
    assert_eq!(short(&deliver(&mx, ["a@example.com"]).await[0]), "done 2.0.0");
    assert_eq!(short(&deliver(&mx, ["b@other.example"]).await[0]), "done 2.0.0");
    assert_eq!(server.connections(), 1);
    assert!(mx.servers_of("example.com").is_some());
    assert_eq!(mx.servers_of("other.example"), mx.servers_of("example.com"));
    assert_eq!(mx.servers_of("unknown.example"), None);
}

#[tokio::test]
async fn a_refused_recipient_does_not_cost_the_connection() {
    let manners = Manners {
        recipients: vec![("nobody", "550 5.1.1 no such user".into())],
        ..Manners::default()
    };
    let (server, mx, _dns) = lab(manners, |_| {}).await;
    assert_eq!(short(&deliver(&mx, ["nobody@example.com"]).await[0]), "failed 5.1.1");
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_found_dead_is_replaced() {
    let goodbye = Some("421 4.4.2 enough".to_owned());
    let once = Manners { mails_max: 1, ..Manners::default() };
    for manners in [
        once.clone(),
        Manners { goodbye: goodbye.clone(), ..once.clone() },
        Manners { goodbye, waits_with_goodbye: true, ..once.clone() },
        Manners { waits_with_goodbye: true, ..once },
    ] {
        let (server, mx, _dns) = lab(manners, |_| {}).await;
        for _ in 0..3 {
            let [outcome] = deliver(&mx, ["bob@example.com"]).await;
            assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
        }
        assert_eq!((server.connections(), server.taken().len()), (3, 3));
    }
}

#[tokio::test]
async fn a_connection_serves_only_so_many_mails() {
    let (server, mx, _dns) =
        lab(Manners::default(), |options| options.mails_per_connection_max = 2).await;
    for _ in 0..4 {
        assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    }
    let connections: Vec<usize> = server.taken().iter().map(|taken| taken.connection).collect();
    assert_eq!(connections, [1, 1, 2, 2]);
}

#[tokio::test]
async fn a_waiting_connection_is_closed_in_time() {
    let (server, mx, _dns) =
        lab(Manners::default(), |options| options.idle_time_max = Duration::from_secs(30)).await;
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    assert_eq!(mx.idle_connections(), 1);
    pass(Duration::from_secs(31)).await;
    assert_eq!(mx.idle_connections(), 0);
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn closing_says_quit() {
    let (server, mx, _dns) = lab(Manners::default(), |_| {}).await;
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    mx.close().await;
    assert_eq!((mx.idle_connections(), server.commands("QUIT")), (0, 1));
}

#[tokio::test]
async fn who_is_slow_to_say_goodbye_holds_up_nobody_else() {
    let silent_in_the_end = Manners::at(At::Quit, Act::Ignore);
    let (_server, mx, dns) = lab(silent_in_the_end, |options| {
        options.idle_time_max = Duration::from_secs(30);
        options.time_limits.quit = Duration::from_secs(60 * 60);
    })
    .await;
    dns.mail_domain("example.net", loopback(1)).await;
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    pass(Duration::from_secs(10)).await;
    assert_eq!(short(&deliver(&mx, ["bob@example.net"]).await[0]), "done 2.0.0");
    assert_eq!(mx.idle_connections(), 2);
    pass(Duration::from_secs(21)).await;
    assert_eq!(mx.idle_connections(), 1);
    pass(Duration::from_secs(10)).await;
    assert_eq!(mx.idle_connections(), 0);
}

/// Lets time pass step by step, so that what falls due within it happens.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_sees_only_so_many_connections_at_once() {
    let (server, mx, _dns) =
        lab(Manners::default(), |options| options.connections_per_destination_max = 2).await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let mx = mx.clone();
            tokio::spawn(async move { short(&deliver(&mx, ["bob@example.com"]).await[0]) })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "done 2.0.0");
    }
    assert_eq!(server.taken().len(), 20);
    assert!(server.connections() <= 2, "{}", server.connections());
}
