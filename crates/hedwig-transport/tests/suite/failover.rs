//! Several postoffices, and what a failure at one means for the next question.

use std::time::Duration;

use crate::common::{
    Desk, Running, Script, accepted, app, client, client_options, mail, start, start_with,
};
use hedwig_envelope::{Refusal, RefusalKind};
use hedwig_transport::{Client, ClientOptions, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

async fn send(client: &Client, number: u128) -> Result<hedwig_envelope::Receipt, Refusal> {
    let result = client.clone().oneshot(mail(number)).await;
    result.map_err(|error| *error.downcast::<Refusal>().unwrap())
}

/// A server that is gone, and its address with it.
async fn gone() -> String {
    let server = start(app(&Desk::default())).await;
    let url = server.url();
    server.stop().await;
    url
}

fn options(urls: Vec<String>) -> ClientOptions {
    ClientOptions {
        urls,
        down_min: Duration::from_secs(3600),
        down_max: Duration::from_secs(3600),
        ..client_options(&[])
    }
}

/// A client of these, the first of them preferred.
fn client_of(servers: &[Running]) -> Client {
    Client::new(options(servers.iter().map(Running::url).collect())).unwrap()
}

#[tokio::test]
async fn when_the_first_cannot_be_reached_the_next_is_asked() {
    let desk = Desk::default();
    let server = start(app(&desk)).await;
    let client = Client::new(options(vec![gone().await, server.url()])).unwrap();
    for number in 1..=3 {
        assert!(send(&client, number).await.unwrap().is_done());
    }
    assert_eq!(desk.count(), 3);
    server.stop().await;
}

#[tokio::test]
async fn the_first_is_preferred_for_as_long_as_it_answers() {
    let (first, second) = (Desk::default(), Desk::default());
    let servers = [start(app(&first)).await, start(app(&second)).await];
    let client = client_of(&servers);
    for number in 1..=3 {
        send(&client, number).await.unwrap();
    }
    assert_eq!((first.count(), second.count()), (3, 0));
}

#[tokio::test]
async fn one_that_says_not_now_is_left_alone_for_a_while() {
    for status in [401, 403, 429, 503] {
        let first = Script::default().answer(status, "{}");
        let second = Desk::default();
        let servers = [first.start().await, start(app(&second)).await];
        let client = client_of(&servers);
        for number in 1..=3 {
            send(&client, number).await.unwrap();
        }
        assert_eq!((first.count(), second.count()), (1, 3), "{status}");
    }
}

#[tokio::test]
async fn when_its_pause_is_over_the_first_is_asked_again() {
    let first = Script::default().answer(503, "{}").answer(202, accepted(&[&mail(2)]));
    let second = Desk::default();
    let servers = [first.start().await, start(app(&second)).await];
    let urls = servers.iter().map(Running::url).collect();
    let zero = Duration::ZERO;
    let options = ClientOptions { down_min: zero, down_max: zero, ..options(urls) };
    let client = Client::new(options).unwrap();
    send(&client, 1).await.unwrap();
    send(&client, 2).await.unwrap();
    assert_eq!((first.count(), second.count()), (2, 1));
}

#[tokio::test]
async fn when_nobody_else_is_left_the_one_that_failed_is_asked_again() {
    let script = Script::default().answer(503, "{}").answer(202, accepted(&[&mail(2)]));
    let server = script.start().await;
    let client = Client::new(options(vec![server.url()])).unwrap();
    let refusal = send(&client, 1).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable);
    assert!(send(&client, 2).await.unwrap().is_done());
    server.stop().await;
}

#[tokio::test]
async fn retry_after_comes_up_to_the_caller() {
    let mut answer = http::Response::new(hedwig_transport::full("{}"));
    *answer.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
    answer.headers_mut().insert("retry-after", "120".parse().unwrap());
    let server = Script::default().answer_with(answer).start().await;
    let refusal = send(&client(&server), 1).await.unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(120)));
    server.stop().await;
}

#[tokio::test]
async fn a_mail_that_the_first_may_have_taken_is_offered_to_nobody_else() {
    // 500 tells nothing of what happened before it.
    let first = Script::default().answer(500, "oops").answer(202, accepted(&[&mail(1)]));
    let second = Desk::default();
    let servers = [first.start().await, start(app(&second)).await];
    let client = client_of(&servers);
    send(&client, 1).await.unwrap_err();
    assert!(send(&client, 2).await.unwrap().is_done(), "other mails go elsewhere");
    assert!(send(&client, 1).await.unwrap().is_done());
    assert_eq!((first.count(), second.count()), (2, 1));
}

#[tokio::test]
async fn a_mail_whose_postoffice_dies_over_it_is_offered_to_nobody_else() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dying = format!("http://{}", listener.local_addr().unwrap());
    let death = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 64]).await;
    });
    let second = Desk::default();
    let server = start(app(&second)).await;
    let client = Client::new(options(vec![dying, server.url()])).unwrap();
    send(&client, 1).await.unwrap_err();
    death.await.unwrap();
    send(&client, 1).await.unwrap_err();
    assert_eq!(second.count(), 0);
    assert!(send(&client, 2).await.unwrap().is_done());
    server.stop().await;
}

#[tokio::test]
async fn a_mail_that_is_under_way_to_one_is_offered_to_nobody_else() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let second = Desk::default();
    let server = start(app(&second)).await;
    let client = Client::new(options(vec![silent, server.url()])).unwrap();
    let first_call = tokio::spawn(client.clone().oneshot(mail(1)));
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut [0; 64]).await.unwrap();
    first_call.abort();
    // Nobody else can reach it now, and the request that did is still unanswered.
    drop(listener);
    send(&client, 1).await.unwrap_err();
    assert_eq!(second.count(), 0);
    assert!(send(&client, 2).await.unwrap().is_done(), "other mails go elsewhere");
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_mail_that_was_taken_while_nobody_listened_is_offered_to_nobody_else() {
    let (first, second) = (Desk::default(), Desk::default());
    let servers = [start(app(&first)).await, start(app(&second)).await];
    let client = client_of(&servers);
    let mut held_back = first.hold_back();
    let first_call = tokio::spawn(client.clone().oneshot(mail(1)));
    held_back.has_come().await;
    first_call.abort();
    held_back.let_go();
    let [first_server, second_server] = servers;
    first_server.stop().await;
    send(&client, 1).await.unwrap_err();
    assert_eq!((first.count(), second.count()), (1, 0));
    second_server.stop().await;
}

#[tokio::test]
async fn after_a_request_that_broke_off_not_now_says_nothing_of_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaking = format!("http://{}", listener.local_addr().unwrap());
    let breaks_once = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        drop(stream);
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        let answer = b"HTTP/1.1 503 x\r\nContent-Type: application/problem+json\r\n\
            Content-Length: 2\r\nConnection: close\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    let second = Desk::default();
    let server = start(app(&second)).await;
    let client = Client::new(options(vec![breaking, server.url()])).unwrap();
    send(&client, 1).await.unwrap_err();
    assert_eq!(second.count(), 0);
    breaks_once.abort();
    server.stop().await;
}

#[tokio::test]
async fn what_stands_before_a_postoffice_may_say_503_of_a_mail_that_was_taken() {
    let first = Script::default().answer_as("text/plain", 503, "upstream reset");
    let second = Desk::default();
    let servers = [first.start().await, start(app(&second)).await];
    let client = client_of(&servers);
    send(&client, 1).await.unwrap_err();
    assert!(send(&client, 2).await.unwrap().is_done(), "other mails go elsewhere");
    assert_eq!((first.count(), second.count()), (1, 1));
}

#[tokio::test]
async fn after_its_hold_such_a_mail_goes_elsewhere_too() {
    let first = Script::default().answer(500, "oops");
    let second = Desk::default();
    let servers = [first.start().await, start(app(&second)).await];
    let urls = servers.iter().map(Running::url).collect();
    let options = ClientOptions { ambiguous_hold: Duration::ZERO, ..options(urls) };
    let client = Client::new(options).unwrap();
    send(&client, 1).await.unwrap_err();
    assert!(send(&client, 1).await.unwrap().is_done());
    assert_eq!((first.count(), second.count()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let options = ServerOptions {
        header_read_timeout: Duration::from_millis(10),
        ..ServerOptions::default()
    };
    let desk = Desk::default();
    let server = start_with(app(&desk), options, None).await;
    let client = client(&server);
    for number in 0..20 {
        assert!(send(&client, number).await.unwrap().is_done());
        tokio::time::sleep(Duration::from_millis(u64::try_from(number).unwrap())).await;
    }
    assert_eq!(desk.count(), 20);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let desk = Desk::default();
    desk.plan(|_| Box::pin(std::future::pending()));
    let server = start(app(&desk)).await;
    let options =
        ClientOptions { timeout: Duration::from_millis(50), ..client_options(&[&server]) };
    let refusal = send(&Client::new(options).unwrap(), 1).await.unwrap_err();
    assert!(refusal.reply.text().contains("no answer in time"), "{refusal}");
}

#[tokio::test]
async fn a_host_that_takes_no_connection_is_named() {
    let client = Client::new(options(vec![gone().await])).unwrap();
    let refusal = send(&client, 1).await.unwrap_err();
    assert!(refusal.reply.text().starts_with("postoffice 127.0.0.1: cannot connect"), "{refusal}");
}

#[test]
fn what_is_no_url_is_refused_with_the_reason_and_without_its_password() {
    for (url, shown) in [
        ("postoffice.example", "http://"),
        ("ftp://postoffice.example", "http://"),
        ("http://user:hunter2@postoffice.example", "token"),
        ("https://x/?y=z", "query"),
        ("unix:relative", "must begin with /"),
        ("http://", "URL"),
    ] {
        let error = Client::new(options(vec![url.to_owned()])).err().unwrap().to_string();
        assert!(error.contains(shown) && !error.contains("hunter2"), "{error}");
    }
    assert!(Client::new(options(vec![])).is_err());
}
