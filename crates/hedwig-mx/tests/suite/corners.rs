//! Corners of finding a server, and addresses that not every server can read.

use crate::support::{
    Dns, Manners, Server, deliver, host, loopback, mail, mx, options, outcomes, routes, short,
};
use hedwig_envelope::{
    Content, MailId, ReversePath,
    dsn::{Action, Report, Told},
};
use hedwig_lab::eventually;
use hedwig_mx::MxOptions;
use hickory_resolver::proto::rr::RecordType;

/// RFC 2181 §10.3 forbids such a record, RFC 5321 §5.1 leaves open what becomes of it: it is followed.
#[tokio::test]
async fn a_mail_exchanger_that_is_an_alias_is_reached_all_the_same() {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    dns.mx("example.com", 10, "alias.example").await;
    dns.cname("alias.example", "middle.example").await;
    dns.cname("middle.example", "host.example").await;
    dns.address_of("host.example", loopback(1)).await;
    let mx = mx(&dns, options(server.address.port()));
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!((short(&outcome).as_str(), host(&outcome)), ("done 2.0.0", "alias.example"));
}

#[tokio::test]
async fn an_alias_that_leads_in_a_circle_is_no_host() {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    dns.mx("example.com", 10, "a.example").await;
    dns.cname("a.example", "b.example").await;
    dns.cname("b.example", "a.example").await;
    let mx = mx(&dns, options(server.address.port()));
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert!(
        short(&outcome).contains(" 5.4.4") || short(&outcome).contains(" 4.4.3"),
        "{outcome:?}"
    );
    assert_eq!(server.connections(), 0);
}

/// The laboratory's records live for a second.
#[tokio::test]
async fn an_answer_of_dns_is_used_again_while_it_lives_and_no_longer() {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    dns.mail_domain("example.com", loopback(1)).await;
    let mx = mx(&dns, options(server.address.port()));
    let asked = || dns.questions().iter().filter(|(_, kind)| *kind == RecordType::MX).count();
    let mut mails = 0;
    let waited = eventually("more mails than questions, and a second question", async || {
        assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
        mails += 1;
        Ok((asked() >= 2 && mails > asked()).then_some(()))
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn a_route_to_mx_is_the_exception_from_a_wider_one() {
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(Manners::default()).await);
    dns.mail_domain("example.com", loopback(1)).await;
    let routes = routes(["*=discard", "example.com=mx"]);
    let mx = mx(&dns, MxOptions { routes, ..options(server.address.port()) });
    let [by_mx, discarded] = deliver(&mx, ["a@example.com", "b@other.example"]).await;
    assert_eq!((short(&by_mx).as_str(), host(&by_mx)), ("done 2.0.0", "mx.example.com"));
    assert_eq!((short(&discarded).as_str(), host(&discarded)), ("done 2.0.0", ""));
    assert_eq!(server.taken()[0].recipients, ["a@example.com"]);
}

#[tokio::test]
async fn a_mailbox_beyond_ascii_goes_only_to_a_server_that_can_read_it() {
    for (offer, expected, mails) in [("250-SMTPUTF8\r\n", "done 2.0.0", 1), ("", "failed 5.6.7", 0)]
    {
        let hello = Some(format!("250-server.example\r\n{offer}250 8BITMIME"));
        let manners = Manners { hello, ..Manners::default() };
        let (dns, server) = (Dns::start().await.unwrap(), Server::start(manners).await);
        dns.mail_domain("example.com", loopback(1)).await;
        let mx = mx(&dns, options(server.address.port()));
        let [outcome] = deliver(&mx, ["bücher@example.com"]).await;
        assert_eq!(short(&outcome), expected, "{outcome:?}");
        let lines = server.command_lines("MAIL");
        assert_eq!(lines.len(), mails);
        assert!(lines.iter().all(|line| line.contains(" SMTPUTF8")), "{lines:?}");
    }
}

/// Nobody would ever be told, for a report is from the null sender.
#[tokio::test]
async fn a_report_goes_to_a_server_without_any_extension_whatever_mail_it_is_about() {
    let manners = Manners { hello: Some("250 server.example".into()), ..Manners::default() };
    let (dns, server) = (Dns::start().await.unwrap(), Server::start(manners).await);
    dns.mail_domain("example.com", loopback(1)).await;
    dns.mail_domain("xn--bcher-kva.example", loopback(1)).await;
    let mx = mx(&dns, options(server.address.port()));
    let mut mail = mail(["bücher@example.com"]);
    mail.envelope.parameters.smtputf8 = true;
    let long = "ü".repeat(1000);
    mail.content = Content::new(format!("Subject: {long}\r\n\r\n{long}\r\n").into());
    for sender in ["alice@example.com", "alice@bücher.example"] {
        mail.envelope.sender = sender.parse::<ReversePath>().unwrap();
        let [refused] = outcomes(&mx, mail.clone()).await.try_into().unwrap();
        assert_eq!(short(&refused), "failed 5.6.3", "{refused:?}");
        let told = [Told::new(0, Action::Failed, refused.answer())];
        let report = Report {
            reporting_mta: "h.example",
            mail: &mail,
            recipients: &told,
            retry_until: None,
        };
        let now = mail.origin.received_at;
        let report = report.to_mail(MailId::new(now, 8), now).unwrap();
        let [outcome] = outcomes(&mx, report).await.try_into().unwrap();
        assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    }
    let taken = server.taken();
    assert_eq!(taken[1].recipients, ["alice@xn--bcher-kva.example"]);
    for mail in taken {
        assert!(mail.content.is_ascii() && mail.content.lines().all(|line| line.len() <= 998));
    }
}
