//! What an outcome tells of the conversation that led to it.

use crate::support::{Dns, Manners, Server, deliver, loopback, mx, options, short};
use hedwig_envelope::Outcome;

fn said(outcome: &Outcome) -> &[String] {
    &outcome.answer().conversation.as_ref().expect("a conversation").lines
}

/// Whether lines that begin like this are there, in this order.
fn assert_said(outcome: &Outcome, wanted: &[&str]) {
    let mut lines = said(outcome).iter();
    let missing = wanted.iter().find(|wanted| !lines.any(|line| line.starts_with(**wanted)));
    assert_eq!(missing, None, "in this order in {:#?}", said(outcome));
}

#[tokio::test]
async fn what_was_deferred_tells_of_every_host_that_was_tried_and_what_was_done_tells_nothing() {
    let dns = Dns::start().await.unwrap();
    let full = Manners {
        recipients: vec![("full", "452 4.2.2 mailbox full".into())],
        ..Manners::default()
    };
    let [busy, open] = Server::start_all([Manners::greeting("421 4.3.2 too busy"), full]).await;
    dns.mx("example.com", 10, "a.example.com").await.mx("example.com", 20, "b.example.com").await;
    dns.address_of("a.example.com", loopback(1)).await;
    dns.address_of("b.example.com", loopback(2)).await;
    let mx = mx(&dns, options(busy.address.port()));
    let [bob, full] = deliver(&mx, ["bob@example.com", "full@example.com"]).await;
    assert_eq!((short(&bob), bob.answer().conversation.clone()), ("done 2.0.0".into(), None));
    assert_eq!(short(&full), "deferred 4.2.2");
    assert_said(
        &full,
        &[
            &format!("* smtp to a.example.com [{}]; TLS: opportunistic", busy.address),
            "< 421 4.3.2 too busy",
            &format!("* smtp to b.example.com [{}]; TLS: opportunistic", open.address),
            "< 220 server.example ESMTP",
            "> EHLO sender.example",
            "> MAIL FROM:<alice@sender.example>",
            "> RCPT TO:<full@example.com>",
            "< 452 4.2.2 mailbox full",
        ],
    );
    assert!(!said(&full).iter().any(|line| line.contains("Hello")), "no content is in it");

    let [again] = deliver(&mx, ["full@example.com"]).await;
    assert_said(&again, &["* over a connection that carried 1 before", "> MAIL ", "< 452 4.2.2 "]);
    assert!(!said(&again).iter().any(|line| line.contains("EHLO")), "that was another mail's");
}

#[tokio::test]
async fn a_server_that_hangs_up_and_one_that_is_not_there_are_told_in_our_words() {
    let dns = Dns::start().await.unwrap();
    let manners = Manners { mail: String::new(), ..Manners::default() };
    let server = Server::start(manners).await;
    dns.mail_domain("rude.example", loopback(1)).await;
    dns.mail_domain("down.example", loopback(9)).await;
    let mx = mx(&dns, options(server.address.port()));
    let [rude, down] = deliver(&mx, ["bob@rude.example", "bob@down.example"]).await;
    assert_said(&rude, &["> MAIL FROM:", "* in MAIL: the connection was closed"]);
    assert_said(&down, &["* 451 4.4.1 No connection to mx.down.example (127.0.0.9:"]);
}
