//! LMTP servers that count wrongly (RFC 2033 §4.2): who was not named may have got the mail, or not.

use crate::support::{
    Dns, Manners, Server,
    acts::{Act, At},
    deliver, mx, options, routes, short,
};

async fn outcomes_of(manners: Manners) -> ([String; 3], usize) {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(manners).await);
    let route = format!("*=lmtp://127.0.0.1:{}", server.address.port());
    let options = hedwig_mx::MxOptions { routes: routes([route.as_str()]), ..options(25) };
    let mx = mx(&dns, options);
    let outcomes = deliver(&mx, ["a@example.com", "b@example.com", "c@example.com"]).await;
    let told = outcomes.each_ref().map(|outcome| {
        format!("{}{}", short(outcome), if outcome.answer().ambiguous { "?" } else { "" })
    });
    // A second mail goes well whatever the first has left behind, for a server out of step is left.
    let again = deliver(&mx, ["a@example.com", "b@example.com", "c@example.com"]).await;
    assert_eq!(again.each_ref().map(short), outcomes.each_ref().map(short));
    (told, server.connections())
}

#[tokio::test]
async fn one_reply_for_each_recipient_is_right() {
    let taken = "250 2.0.0 taken\r\n452 4.2.2 full\r\n550 5.2.1 gone";
    let (told, connections) = outcomes_of(Manners::at(At::Dot, Act::say(taken))).await;
    assert_eq!(told, ["done 2.0.0", "deferred 4.2.2", "failed 5.2.1"]);
    assert_eq!(connections, 1, "the server is in step");
}

#[tokio::test]
async fn a_recipient_that_was_refused_gets_no_further_reply() {
    let manners = Manners {
        recipients: vec![("b@", "550 5.1.1 no such user".into())],
        contents: vec![("c@", "452 4.2.2 full".into())],
        ..Manners::default()
    };
    let (told, _) = outcomes_of(manners).await;
    assert_eq!(told, ["done 2.0.0", "failed 5.1.1", "deferred 4.2.2"]);
}

#[tokio::test]
async fn replies_that_are_missing_leave_their_recipients_in_doubt() {
    let (told, connections) =
        outcomes_of(Manners::at(At::Dot, Act::say_and_end("250 2.0.0 taken"))).await;
    assert_eq!(told, ["done 2.0.0", "deferred 4.4.2?", "deferred 4.4.2?"]);
    assert_eq!(connections, 2);
}

#[tokio::test]
async fn one_reply_too_many_costs_the_connection_and_no_mail() {
    let four = ["250 2.0.0 taken"; 4].join("\r\n");
    let (told, connections) = outcomes_of(Manners::at(At::Dot, Act::say(&four))).await;
    assert_eq!(told, ["done 2.0.0"; 3]);
    assert_eq!(connections, 2, "what comes next could not be told apart");
}
