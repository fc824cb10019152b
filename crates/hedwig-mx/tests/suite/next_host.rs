//! When the next host is tried, and when it must not be.

use crate::support::{
    Dns, Manners, Server,
    acts::{Act, At},
    deliver, host, loopback, mx, options, short,
};

/// `example.com` with the exchangers `a`, `b` at the addresses of these servers, in this order.
async fn two(first: Manners, second: Manners) -> ([Server; 2], hedwig_mx::Mx, Dns) {
    let dns = Dns::start().await.unwrap();
    let servers = Server::start_all([first, second]).await;
    dns.mx("example.com", 10, "a.example.com").await.mx("example.com", 20, "b.example.com").await;
    dns.address_of("a.example.com", loopback(1)).await;
    dns.address_of("b.example.com", loopback(2)).await;
    let mx = mx(&dns, options(servers[0].address.port()));
    (servers, mx, dns)
}

#[tokio::test]
async fn a_host_that_does_not_want_to_talk_is_passed_over() {
    for manners in [
        Manners::greeting("421 4.3.2 too busy"),
        Manners::greeting("554 5.3.2 not for you"),
        Manners::greeting(""),
        Manners::greeting("nonsense"),
        Manners { hello: Some("451 4.3.0 later".into()), ..Manners::default() },
        Manners { hello: Some(String::new()), ..Manners::default() },
        Manners { mail: String::new(), ..Manners::default() },
        Manners { mail: "421 4.3.2 going down".into(), ..Manners::default() },
        Manners { data: String::new(), ..Manners::default() },
        Manners { data: "421 4.3.2 going down".into(), ..Manners::default() },
    ] {
        let greeting = manners.greeting.clone();
        let ([first, second], mx, _dns) = two(manners, Manners::default()).await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(
            (short(&outcome).as_str(), host(&outcome)),
            ("done 2.0.0", "b.example.com"),
            "{greeting}: {outcome:?}"
        );
        assert_eq!((first.connections() > 0, second.taken().len()), (true, 1));
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_passed_over() {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    dns.mx("example.com", 10, "a.example.com").await;
    dns.address_of("a.example.com", std::net::Ipv6Addr::LOCALHOST).await;
    dns.address_of("a.example.com", loopback(1)).await;
    let mx = mx(&dns, options(server.address.port()));
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
}

#[tokio::test]
async fn without_another_host_the_reason_is_told() {
    let dns = Dns::start().await.unwrap();
    let [busy, blocked] = Server::start_all([
        Manners::greeting("421 4.3.2 too busy"),
        Manners::greeting("554 5.7.1 we know you"),
    ])
    .await;
    let mx = mx(&dns, options(busy.address.port()));
    dns.mail_domain("busy.example", loopback(1)).await;
    dns.mail_domain("blocked.example", loopback(2)).await;
    dns.mail_domain("down.example", loopback(3)).await;
    dns.mx("both.example", 10, "mx.busy.example").await;
    dns.mx("both.example", 20, "mx.blocked.example").await;
    let outcomes =
        deliver(&mx, ["a@busy.example", "a@blocked.example", "a@down.example", "a@both.example"])
            .await;
    assert_eq!(
        outcomes.each_ref().map(short),
        ["deferred 4.3.2", "failed 5.7.1", "deferred 4.4.1", "deferred 4.3.2"]
    );
    assert_eq!(outcomes[0].answer().reply.text(), "too busy");
    assert_eq!(outcomes[2].answer().relay.as_ref().unwrap().host, "mx.down.example");
    assert!(blocked.taken().is_empty());
}

#[tokio::test]
async fn while_one_host_answers_the_destination_is_not_at_fault_for_another_that_is_down() {
    for (manners, at_fault) in [
        (Manners { mail: "421 4.3.2 not this one".into(), ..Manners::default() }, false),
        (Manners { data: String::new(), ..Manners::default() }, false),
        (Manners::greeting("421 4.3.2 too busy"), true),
    ] {
        let ([alive, second], mx, _dns) = two(manners, Manners::default()).await;
        second.stop().await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert!(short(&outcome).starts_with("deferred"), "{outcome:?}");
        assert_eq!(outcome.answer().unreached, at_fault, "{outcome:?}");
        assert!(alive.connections() > 0);
    }
}

#[tokio::test]
async fn each_recipient_has_its_own_outcome() {
    let manners = Manners {
        recipients: vec![
            ("nobody", "550 5.1.1 no such user".into()),
            ("full", "452 4.2.2 mailbox full".into()),
        ],
        ..Manners::default()
    };
    let ([first, second], mx, _dns) = two(manners, Manners::default()).await;
    let recipients = ["a@example.com", "nobody@example.com", "full@example.com", "b@example.com"];
    let outcomes = deliver(&mx, recipients).await;
    assert_eq!(
        outcomes.each_ref().map(short),
        ["done 2.0.0", "failed 5.1.1", "deferred 4.2.2", "done 2.0.0"]
    );
    assert!(outcomes.iter().all(|outcome| host(outcome) == "a.example.com"));
    let said_of_one = outcomes.each_ref().map(|outcome| outcome.answer().personal);
    assert_eq!(said_of_one, [false, true, true, false], "the content's reply is for both");
    assert_eq!(first.taken()[0].recipients, ["a@example.com", "b@example.com"]);
    assert_eq!(second.connections(), 0);
}

#[tokio::test]
async fn who_was_refused_for_good_is_not_offered_to_the_next_host() {
    let manners = Manners {
        recipients: vec![("nobody", "550 5.1.1 no such user".into())],
        data: String::new(),
        ..Manners::default()
    };
    let ([_first, second], mx, _dns) = two(manners, Manners::default()).await;
    let outcomes = deliver(&mx, ["a@example.com", "nobody@example.com"]).await;
    assert_eq!(outcomes.each_ref().map(short), ["done 2.0.0", "failed 5.1.1"]);
    assert_eq!(second.taken()[0].recipients, ["a@example.com"]);
}

#[tokio::test]
async fn a_content_that_breaks_off_is_offered_to_the_next_host() {
    let manners = Manners::at(At::Content, Act::Close);
    let ([first, second], mx, _dns) = two(manners, Manners::default()).await;
    let mut mail = crate::support::mail(["bob@example.com"]);
    // More than all buffers on the way hold: its end cannot have been sent when the server hangs up.
    let line = format!("{}\r\n", "x".repeat(998));
    mail.content = hedwig_envelope::Content::new(line.repeat(32 * 1024).into());
    let outcomes = crate::support::outcomes(&mx, mail).await;
    assert_eq!(short(&outcomes[0]), "done 2.0.0", "{:?}", outcomes[0]);
    assert_eq!((first.taken().len(), second.taken().len()), (0, 1));
}

#[tokio::test]
async fn after_the_final_dot_no_other_host_is_tried() {
    let manners = Manners { content: String::new(), ..Manners::default() };
    let ([first, second], mx, _dns) = two(manners, Manners::default()).await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert!(short(&outcome).starts_with("deferred"), "{outcome:?}");
    assert!(outcome.answer().ambiguous);
    assert_eq!((first.taken().len(), second.connections()), (1, 0));
}

#[tokio::test]
async fn a_final_no_is_final() {
    for (reply, verdict) in
        [("554 5.6.0 spam", "failed 5.6.0"), ("451 4.7.1 grey", "deferred 4.7.1")]
    {
        let manners = Manners { content: reply.into(), ..Manners::default() };
        let ([_first, second], mx, _dns) = two(manners, Manners::default()).await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(short(&outcome), verdict);
        assert!(!outcome.answer().ambiguous && !outcome.answer().personal);
        assert_eq!(second.connections(), 0);
    }
}

#[tokio::test]
async fn the_number_of_hosts_and_addresses_is_bounded() {
    let (dns, server) =
        (Dns::start().await.unwrap(), Server::start(Manners::greeting("421 4.3.2 busy")).await);
    for host in 0..30 {
        let name = format!("h{host}.example.com");
        dns.mx("example.com", host, &name).await.address_of(&name, loopback(1)).await;
    }
    let limits = [(3, 10, 3), (30, 4, 4)];
    for (hosts_max, addresses_max, connections) in limits {
        let before = server.connections();
        let options =
            hedwig_mx::MxOptions { hosts_max, addresses_max, ..options(server.address.port()) };
        let [outcome] = deliver(&mx(&dns, options), ["bob@example.com"]).await;
        assert_eq!(short(&outcome), "deferred 4.3.2");
        assert_eq!(server.connections() - before, connections);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_never_greets_costs_its_time_limit_and_no_more() {
    // Listens, and never says a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dns = Dns::start().await.unwrap();
    let route = format!("example.com=smtp://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let options =
        hedwig_mx::MxOptions { routes: crate::support::routes([route.as_str()]), ..options(25) };
    let start = tokio::time::Instant::now();
    let [outcome] = deliver(&mx(&dns, options), ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "deferred 4.4.2", "{outcome:?}");
    assert_eq!(start.elapsed().as_secs() / 60, 5);
}
