//! Whoever sent a mail that cannot be delivered is told, once, in a form that other programs read.

use hedwig_envelope::{
    Address, Body, Content, Envelope, Mail, Outcome, Reply, ReversePath, Status,
};
use hedwig_lab::{
    Client, Postfix, PostfixOptions, Program, Result, SENDER, Submission, World, loopback_address,
    read_report,
};
use hedwig_smtp::{ClientOptions, client::Connection};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;

fn recipients(mail: &Mail) -> Vec<String> {
    mail.envelope.recipients.iter().map(|recipient| recipient.address.to_string()).collect()
}

#[tokio::test]
async fn of_three_recipients_two_get_the_mail_and_the_third_makes_one_bounce() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com", "example.net"], |options| options).await?;
    world.receiver.script(|step| {
        (step.recipient() == Some("nobody@126.com"))
            .then(|| Reply::with_status(550, Status::permanent(1, 1), "No such user here"))
    });
    let all = ["bob@126.com", "nobody@126.com", "eve@example.net"];
    let mail = Submission::new(SENDER, &all, "Hello\r\n");
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    let id = reply.split_once("queued as ").expect("an id").1.trim();
    let status = world.house.postoffice.message_done(id).await?;
    let states: Vec<_> = status["recipients"]
        .as_array()
        .expect("recipients")
        .iter()
        .map(|r| (r["address"].as_str().unwrap_or(""), r["state"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        states,
        [
            ("bob@126.com", "delivered"),
            ("nobody@126.com", "failed"),
            ("eve@example.net", "delivered")
        ]
    );

    let mails = world.receiver.wait_for(3).await?;
    let (reports, letters): (Vec<_>, Vec<_>) =
        mails.iter().partition(|mail| mail.envelope.sender == ReversePath::Null);
    let mut reached: Vec<_> = letters.iter().flat_map(|mail| recipients(mail)).collect();
    reached.sort();
    assert_eq!(reached, ["bob@126.com", "eve@example.net"]);
    let [report] = reports.as_slice() else { panic!("{} reports", reports.len()) };
    assert_eq!(recipients(report), [SENDER]);
    check_report(&read_report(&report.content.to_bytes()).await?, &mail);
    assert_eq!(world.close().await?, 3, "nothing came twice");
    Ok(())
}

/// What is returned of it are lines, or no server would take the report.
#[tokio::test]
async fn the_failure_of_a_binary_mail_is_told_whatever_its_header_has_in_it() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com"], |options| options).await?;
    world.receiver.script(|step| {
        (step.recipient() == Some("nobody@126.com"))
            .then(|| Reply::with_status(550, Status::permanent(1, 1), "No such user here"))
    });
    let to: Address = "nobody@126.com".parse()?;
    let mut envelope = Envelope::new(SENDER.parse::<ReversePath>()?, [to]);
    envelope.parameters.body = Some(Body::BinaryMime);
    let content =
        Content::from("From: sender@geneegroup.com\r\nSubject: a\0b\nX: c\r\td\r\n\r\n\0\n");
    let options = ClientOptions { hello_name: "app.lab.example".into(), ..Default::default() };
    let stream = TcpStream::connect(world.house.smtp()).await?;
    let mut connection = Connection::greet(stream, options).await?;
    let outcomes = connection.send(&envelope, &content).await?;
    assert!(matches!(outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");

    let mails = world.receiver.wait_for(1).await?;
    assert_eq!(mails[0].envelope.sender, ReversePath::Null);
    assert_eq!(recipients(&mails[0]), [SENDER]);
    let text = String::from_utf8(mails[0].content.to_bytes().into())?;
    assert!(text.contains("\r\nSubject: a?b\r\nX: c\r\n\td\r\n"), "{text}");
    Ok(())
}

/// What the recipient's server needs, the sender's need not have.
#[tokio::test]
async fn a_server_without_8bitmime_and_smtputf8_takes_the_report_of_a_mail_that_needs_both()
-> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com"], |options| options).await?;
    world.receiver.script(|step| {
        step.recipient()
            .map(|_| Reply::with_status(550, Status::permanent(1, 1), "No such user here"))
    });
    let listen = SocketAddr::from((loopback_address(), world.receiver.address().port()));
    let old = Postfix::start(&PostfixOptions {
        hostname: "mx.old.example".into(),
        listen,
        domains: vec!["old.example".into()],
        main_cf: vec![
            "smtpd_discard_ehlo_keywords = 8bitmime, smtputf8, chunking".into(),
            "strict_7bit_headers = yes".into(),
            "strict_8bitmime_body = yes".into(),
        ],
        ..PostfixOptions::default()
    })
    .await?;
    world.dns.mail_domain("old.example", listen.ip()).await;

    let to: Address = "用户@126.com".parse()?;
    let mut envelope = Envelope::new("sender@old.example".parse::<ReversePath>()?, [to]);
    envelope.parameters.smtputf8 = true;
    envelope.parameters.body = Some(Body::EightBitMime);
    let content = Content::from(
        "From: sender@old.example\r\nTo: 用户@126.com\r\nSubject: 你好\r\n\r\n你好\r\n",
    );
    let options = ClientOptions { hello_name: "app.lab.example".into(), ..Default::default() };
    let stream = TcpStream::connect(world.house.smtp()).await?;
    let mut connection = Connection::greet(stream, options).await?;
    let outcomes = connection.send(&envelope, &content).await?;
    assert!(matches!(outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");

    let messages = old.wait_for(1).await?;
    let report = read_report(&messages[0]).await?;
    assert_eq!(report["defects"], Value::Array(vec![]), "{report:#}");
    assert_eq!(report["parts"][1], "message/delivery-status", "{report:#}");
    let told = &report["per_recipient"][0];
    assert_eq!(told["Final-Recipient"], r"utf-8; \x{7528}\x{6237}@126.com", "{report:#}");
    for line in ["<用户@126.com>", "550 5.1.1 No such user here"] {
        assert!(report["text"].as_str().unwrap_or("").contains(line), "{report:#}");
    }
    let returned = report["returned"].as_str().unwrap_or("");
    assert!(returned.contains("Subject: 你好"), "{returned}");
    assert_eq!(world.close().await?, 0);
    Ok(())
}

#[track_caller]
fn check_report(report: &Value, mail: &Submission) {
    assert_eq!(report["type"], "multipart/report");
    assert_eq!(report["report_type"], "delivery-status");
    assert_eq!(report["defects"], Value::Array(vec![]), "{report:#}");
    let parts = report["parts"].as_array().expect("parts");
    assert_eq!(parts[..2], ["text/plain", "message/delivery-status"]);
    assert!(
        ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"]
            .contains(&parts[2].as_str().unwrap_or("")),
        "{parts:?}"
    );
    assert!(report["auto_submitted"].as_str().unwrap_or("").starts_with("auto-replied"));
    assert!(report["to"].as_str().unwrap_or("").contains(SENDER));
    let reporting = report["per_message"]["Reporting-MTA"].as_str().unwrap_or("");
    assert!(
        reporting.starts_with("dns;") && reporting.contains("postoffice.lab.example"),
        "{reporting}"
    );
    let [recipient] = &report["per_recipient"].as_array().expect("recipients")[..] else {
        panic!("not one recipient: {report:#}")
    };
    assert_eq!(recipient["Action"], "failed");
    assert_eq!(recipient["Status"], "5.1.1");
    let field = |name: &str| recipient[name].as_str().unwrap_or("").to_owned();
    assert!(field("Final-Recipient").ends_with("nobody@126.com"), "{recipient}");
    assert!(field("Diagnostic-Code").contains("550 5.1.1 No such user here"), "{recipient}");
    assert!(field("Remote-MTA").contains("mx.126.com"), "{recipient}");
    assert!(report["text"].as_str().unwrap_or("").contains("nobody@126.com"));
    let message_id = String::from_utf8_lossy(&mail.message);
    let message_id =
        message_id.lines().find(|line| line.starts_with("Message-ID:")).expect("an id").to_owned();
    assert!(report["returned"].as_str().unwrap_or("").contains(&message_id[12..]), "{report:#}");
}

#[tokio::test]
async fn a_bounce_that_cannot_be_delivered_makes_no_further_bounce() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com"], |options| options).await?;
    world.receiver.script(|step| {
        step.recipient()
            .map(|_| Reply::with_status(550, Status::permanent(1, 1), "No such user here"))
    });
    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n");
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    let id = reply.split_once("queued as ").expect("an id").1.trim();
    world.house.postoffice.message_done(id).await?;
    let all = hedwig_lab::eventually("both mails to fail", async || {
        let all = world.house.postoffice.queue(&["list", "--json", "--state", "failed"]).await?;
        Ok((all.lines().count() >= 2).then_some(all))
    })
    .await?;
    assert_eq!(all.lines().count(), 2, "{all}");
    assert_eq!(world.close().await?, 0);
    Ok(())
}
