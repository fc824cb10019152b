//! Mail that does not go where MX records say.

use std::fs;

use crate::support::{
    Dns, Manners, Server, deliver, host, loopback, mail, mx, options, outcomes, short,
};
use hedwig_mx::{MxOptions, Source};

async fn routed<const N: usize>(rules: [&str; N]) -> (hedwig_mx::Mx, Dns) {
    let dns = Dns::start().await.unwrap();
    let options = MxOptions { routes: crate::support::routes(rules), ..options(25) };
    let mx = mx(&dns, options);
    (mx, dns)
}

#[tokio::test]
async fn all_domains_of_a_smart_host_share_a_transaction() {
    let server = Server::start(Manners::default()).await;
    let rule = format!("*=smtp://relay.example:{}", server.address.port());
    let (mx, dns) = routed([rule.as_str()]).await;
    dns.address_of("relay.example", loopback(1)).await;
    let outcomes = deliver(&mx, ["a@x.example", "b@y.example"]).await;
    assert_eq!(outcomes.each_ref().map(short), ["done 2.0.0", "done 2.0.0"]);
    assert_eq!(host(&outcomes[0]), "relay.example");
    assert_eq!(server.taken()[0].recipients, ["a@x.example", "b@y.example"]);
}

#[tokio::test]
async fn connections_come_from_the_source_address() {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    let source = std::net::Ipv4Addr::new(127, 0, 0, 77);
    let sources = vec![Source::of(source.into())];
    let options = MxOptions { sources, ..options(server.address.port()) };
    assert_eq!(short(&deliver(&mx(&dns, options), ["a@[127.0.0.1]"]).await[0]), "done 2.0.0");
    assert_eq!(server.taken()[0].client, Some(source.into()));
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lmtp");
    let manners = Manners {
        recipients: vec![("nobody", "550 5.1.1 no such user".into())],
        contents: vec![("full", "452 4.2.2 mailbox full".into())],
        ..Manners::default()
    };
    let tcp = Server::start(manners.clone()).await;
    let unix = Server::start_unix(&socket, manners);
    let by_tcp = format!("tcp.example=lmtp://127.0.0.1:{}", tcp.address.port());
    let by_unix = format!("unix.example=lmtp+unix://{}", socket.display());
    let (mx, _dns) = routed([by_tcp.as_str(), by_unix.as_str()]).await;
    for (domain, server) in [("tcp.example", &tcp), ("unix.example", &unix)] {
        let recipients = ["a", "nobody", "full", "b"].map(|local| format!("{local}@{domain}"));
        let outcomes = deliver(&mx, recipients.each_ref().map(String::as_str)).await;
        assert_eq!(
            outcomes.each_ref().map(short),
            ["done 2.0.0", "failed 5.1.1", "deferred 4.2.2", "done 2.0.0"]
        );
        assert!(outcomes.iter().all(|outcome| outcome.answer().personal), "{outcomes:?}");
        assert_eq!((server.commands("LHLO"), server.taken().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_route_that_leads_nowhere_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let no_socket = format!("unix.example=lmtp+unix://{}/none", directory.path().display());
    let (mx, _dns) = routed(["name.example=smtp://no.such.example:25", no_socket.as_str()]).await;
    let outcomes = deliver(&mx, ["a@name.example", "a@unix.example"]).await;
    assert_eq!(outcomes.each_ref().map(short), ["deferred 4.4.4", "deferred 4.4.1"]);
}

#[tokio::test]
async fn some_routes_are_answers() {
    let (mx, dns) = routed(["gone.example=fail:5.1.6 moved away", "null.example=discard"]).await;
    let outcomes = deliver(&mx, ["a@gone.example", "a@null.example", "postmaster"]).await;
    assert_eq!(outcomes.each_ref().map(short), ["failed 5.1.6", "done 2.0.0", "failed 5.1.2"]);
    assert_eq!(outcomes[0].answer().reply.text(), "moved away");
    assert!(dns.questions().is_empty());
}

#[tokio::test]
async fn a_maildir_gets_each_mail_once() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = directory.path().join("mail");
    let rule = format!("*=maildir://{}", maildir.display());
    let (mx, _dns) = routed([rule.as_str()]).await;
    let outcomes_of_two = deliver(&mx, ["a@x.example", "b@y.example"]).await;
    assert_eq!(outcomes_of_two.each_ref().map(short), ["done 2.0.0", "done 2.0.0"]);
    // The same mail again, because nobody learnt of its success.
    assert_eq!(short(&deliver(&mx, ["a@x.example"]).await[0]), "done 2.0.0");
    let files: Vec<_> = fs::read_dir(maildir.join("new")).unwrap().map(|f| f.unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(
        fs::read_to_string(files[0].path()).unwrap(),
        "Return-Path: <alice@sender.example>\r\nFrom: alice@sender.example\r\n\r\nHello\r\n.\r\nagain\r\n"
    );
    assert_eq!(fs::read_dir(maildir.join("tmp")).unwrap().count(), 0);
    let mut other = mail(["a@x.example"]);
    other.id = hedwig_envelope::MailId::new(other.origin.received_at, 8);
    assert_eq!(short(&outcomes(&mx, other).await[0]), "done 2.0.0");
    assert_eq!(fs::read_dir(maildir.join("new")).unwrap().count(), 2);
}

#[tokio::test]
async fn a_maildir_that_cannot_be_written_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "in the way").unwrap();
    let rule = format!("*=maildir://{}/file", directory.path().display());
    let (mx, _dns) = routed([rule.as_str()]).await;
    assert_eq!(short(&deliver(&mx, ["a@x.example"]).await[0]), "deferred 4.3.0");
}
