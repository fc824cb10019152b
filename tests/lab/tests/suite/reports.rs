//! Reports of success, of delay and of time that ran out: each field against the envelope that caused it.

use std::net::SocketAddr;

use hedwig_envelope::{
    Content, Envelope, Mail, MailParameters, Reply, ReversePath, Status, Timestamp,
};
use hedwig_lab::{
    Half, HouseOptions, Program, Receiver, Result, SENDER, Step, World, loopback_address,
    read_report,
};
use hedwig_smtp::{ClientOptions, client::Connection};
use serde_json::Value;
use tokio::net::TcpStream;

const MESSAGE: &str = "From: sender@geneegroup.com\r\nTo: bob@126.com\r\nSubject: Hello\r\n\
    Message-ID: <unmistakable@geneegroup.com>\r\n\r\nThe body\r\n";

/// An envelope as MAIL and RCPT would make it.
pub(crate) fn envelope(recipients: &[(&str, &str, Option<&str>)]) -> Envelope {
    let recipient =
        |(address, notify, original): &(&str, &str, Option<&str>)| hedwig_envelope::Recipient {
            address: address.parse().expect("an address"),
            notify: Some(notify.parse().expect("NOTIFY")),
            original: original.map(|original| original.parse().expect("ORCPT")),
        };
    Envelope {
        sender: SENDER.parse().expect("a sender"),
        parameters: MailParameters { envid: Some("QQ314159".into()), ..MailParameters::default() },
        recipients: recipients.iter().map(recipient).collect(),
    }
}

/// Sends over SMTP, all parameters included; the id under which the postoffice has it.
pub(crate) async fn send(server: SocketAddr, envelope: &Envelope) -> Result<String> {
    let options = ClientOptions { hello_name: "app.lab.example".into(), ..Default::default() };
    let stream = TcpStream::connect(server).await?;
    let mut connection = Connection::greet(stream, options).await?;
    let outcomes = connection.send(envelope, &Content::from(MESSAGE)).await?;
    connection.quit().await;
    let reply = outcomes[0].answer().reply.text().to_owned();
    Ok(reply.split_once("queued as ").expect("an id").1.trim().to_owned())
}

/// A world whose receiver makes no reports of its own.
async fn world(change: impl FnOnce(HouseOptions) -> HouseOptions) -> Result<World> {
    world_of(&["126.com"], change).await
}

async fn world_of(
    domains: &[&str],
    change: impl FnOnce(HouseOptions) -> HouseOptions,
) -> Result<World> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    World::with_receiver(&program, domains, without_dsn().await?, change).await
}

/// With these settings of the postoffice's `[delivery]`.
fn delivering(mut options: HouseOptions, settings: &[(&str, &str)]) -> HouseOptions {
    for (name, value) in settings {
        options.postoffice = options.postoffice.set(Half::Postoffice, "delivery", name, value);
    }
    options
}

/// Knows nobody whose name begins with "no".
fn nobody_of_that_name(step: &Step<'_>) -> Option<Reply> {
    let recipient = step.recipient().filter(|recipient| recipient.starts_with("no"))?;
    let text = format!("No such user {recipient}");
    Some(Reply::with_status(550, Status::permanent(1, 1), text))
}

async fn without_dsn() -> Result<Receiver> {
    let address = SocketAddr::from((loopback_address(), 0));
    Receiver::start_with(address, |options| hedwig_smtp::ServerOptions { dsn: false, ..options })
        .await
}

pub(crate) fn reports(mails: &[Mail]) -> Vec<&Mail> {
    mails.iter().filter(|mail| mail.envelope.sender == ReversePath::Null).collect()
}

/// The only report among the mails, as Python reads it.
pub(crate) async fn the_report(mails: &[Mail]) -> Result<Value> {
    let [report] = reports(mails)[..] else { panic!("{} reports", reports(mails).len()) };
    assert_eq!(report.envelope.recipients[0].address.as_str(), SENDER);
    let report = read_report(&report.content.to_bytes()).await?;
    assert_eq!(report["defects"], Value::Array(vec![]), "{report:#}");
    assert_eq!(report["type"], "multipart/report", "{report:#}");
    assert_eq!(report["auto_submitted"], "auto-replied");
    assert_eq!(report["to"], SENDER);
    Ok(report)
}

/// Looks whether a group of fields has these values, and no field besides them and these.
#[track_caller]
pub(crate) fn check(fields: &Value, expected: &[(&str, &str)], besides: &[&str]) {
    for (name, value) in expected {
        assert_eq!(fields[name], *value, "{name} in {fields:#}");
    }
    let fields = fields.as_object().expect("fields");
    for name in fields.keys() {
        let name = name.strip_suffix("-Seconds").unwrap_or(name);
        let is_known = besides.contains(&name) || expected.iter().any(|(known, _)| *known == name);
        assert!(is_known, "{name} was not expected in {fields:#?}");
    }
}

#[tokio::test]
async fn success_is_reported_where_the_next_server_makes_no_reports() -> Result<()> {
    let world = world(|options| options).await?;
    let envelope = envelope(&[
        ("bob@126.com", "SUCCESS,FAILURE", Some("rfc822;Bob+2BSmith@126.com")),
        ("eve@126.com", "FAILURE,DELAY", None),
        ("mallory@126.com", "NEVER", None),
    ]);
    let before = Timestamp::now().as_second();
    let id = send(world.house.smtp(), &envelope).await?;
    let report = the_report(&world.receiver.wait_for(2).await?).await?;

    assert_eq!(report["subject"], "Mail passed on");
    check(
        &report["per_message"],
        &[("Original-Envelope-Id", "QQ314159"), ("Reporting-MTA", "dns; postoffice.lab.example")],
        &["Arrival-Date", "Received-From-MTA"],
    );
    let arrival = report["per_message"]["Arrival-Date-Seconds"].as_i64().expect("a time");
    assert!((before..=Timestamp::now().as_second()).contains(&arrival), "{report:#}");
    let recipients = report["per_recipient"].as_array().expect("recipients");
    assert_eq!(recipients.len(), 1, "only bob's sender asked: {report:#}");
    check(
        &recipients[0],
        &[
            ("Original-Recipient", "rfc822; Bob+Smith@126.com"),
            ("Final-Recipient", "rfc822; bob@126.com"),
            ("Action", "relayed"),
            ("Status", "2.0.0"),
            ("Remote-MTA", "dns; mx.126.com"),
            ("Final-Log-ID", &id),
        ],
        &["Diagnostic-Code", "Last-Attempt-Date"],
    );
    let code = recipients[0]["Diagnostic-Code"].as_str().expect("a code");
    assert!(code.starts_with("smtp; 250 2.0.0 Ok"), "{code}");
    let tried = recipients[0]["Last-Attempt-Date-Seconds"].as_i64().expect("a time");
    assert!(tried >= arrival, "{report:#}");
    let returned = report["returned"].as_str().expect("a header");
    assert!(returned.contains("<unmistakable@geneegroup.com>"), "{returned}");
    assert!(!returned.contains("The body"), "a success returns the header only: {returned}");
    assert_eq!(world.close().await?, 2, "one mail and one report");
    Ok(())
}

#[tokio::test]
async fn success_is_left_to_a_server_that_offers_dsn() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com"], |options| options).await?;
    let envelope = envelope(&[("bob@126.com", "SUCCESS", Some("rfc822;b@126.com"))]);
    let id = send(world.house.smtp(), &envelope).await?;
    world.house.postoffice.message_done(&id).await?;
    let mails = world.receiver.wait_for(1).await?;
    let passed = &mails[0].envelope;
    assert_eq!(passed.parameters.envid.as_deref(), Some("QQ314159"));
    assert_eq!(passed.recipients, envelope.recipients, "it was told what the sender asked for");
    assert_eq!(world.close().await?, 1, "and nobody reported in its place");
    Ok(())
}

#[tokio::test]
async fn delivery_into_a_maildir_is_reported_as_delivered() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let route = format!("local.example=maildir://{}", directory.path().display());
    let world = world(|mut options| {
        options.postoffice = options.postoffice.arguments(["--route".to_owned(), route]);
        options
    })
    .await?;
    send(world.house.smtp(), &envelope(&[("bob@local.example", "SUCCESS", None)])).await?;
    let report = the_report(&world.receiver.wait_for(1).await?).await?;
    let recipient = &report["per_recipient"][0];
    check(
        recipient,
        &[
            ("Final-Recipient", "rfc822; bob@local.example"),
            ("Action", "delivered"),
            ("Status", "2.0.0"),
            ("Diagnostic-Code", "x-hedwig; 250 2.0.0 Written to the Maildir"),
        ],
        &["Last-Attempt-Date", "Final-Log-ID"],
    );
    assert_eq!(std::fs::read_dir(directory.path().join("new"))?.count(), 1);
    world.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_delay_is_told_once_and_then_that_time_ran_out() -> Result<()> {
    let settings = [("delay_warning", "1s"), ("expiry", "4s")];
    let world = world(|options| delivering(options, &settings)).await?;
    world.receiver.script(|step| {
        let refused = step.recipient()? == "bob@126.com";
        refused.then(|| Reply::with_status(452, Status::transient(2, 2), "Over quota"))
    });
    let id = send(world.house.smtp(), &envelope(&[("bob@126.com", "DELAY,FAILURE", None)])).await?;
    let delayed = the_report(&world.receiver.wait_for(1).await?).await?;
    let mails = world.receiver.wait_for(2).await?;
    let failed = the_report(&mails[1..]).await?;

    assert_eq!(delayed["subject"], "Delayed mail, still being tried");
    let common = [
        ("Final-Recipient", "rfc822; bob@126.com"),
        ("Status", "4.2.2"),
        ("Remote-MTA", "dns; mx.126.com"),
        ("Diagnostic-Code", "smtp; 452 4.2.2 Over quota"),
        ("Final-Log-ID", &id),
    ];
    let recipient = &delayed["per_recipient"][0];
    let with = |action| [&common[..], &[("Action", action)]].concat();
    check(recipient, &with("delayed"), &["Last-Attempt-Date", "Will-Retry-Until"]);
    let arrival = delayed["per_message"]["Arrival-Date-Seconds"].as_i64().expect("a time");
    assert_eq!(recipient["Will-Retry-Until-Seconds"].as_i64(), Some(arrival + 4), "{delayed:#}");
    let text = delayed["text"].as_str().expect("a text");
    for line in ["    The mailbox is full.", "    Who can mend it: the recipient."] {
        assert!(text.lines().any(|found| found.trim_end() == line), "{line} is not in\n{text}");
    }
    assert!(!delayed["returned"].as_str().expect("a header").contains("The body"));

    assert_eq!(failed["subject"], "Undelivered mail returned to sender");
    check(&failed["per_recipient"][0], &with("failed"), &["Last-Attempt-Date"]);
    assert_eq!(failed["per_message"]["Arrival-Date-Seconds"], arrival);
    assert!(failed["returned"].as_str().expect("a mail").contains("The body"));
    assert_eq!(world.close().await?, 2, "a delay is told once");
    Ok(())
}

/// What is reported to this sender of a mail to a UTF-8 address that nobody has.
async fn report_of_a_utf8_address(sender: &str) -> Result<Value> {
    let world = world(|options| options).await?;
    world.receiver.script(|step| {
        let unknown = step.recipient()? == "用户@126.com";
        unknown.then(|| Reply::with_status(550, Status::permanent(1, 1), "No such user"))
    });
    let mut envelope = envelope(&[("用户@126.com", "FAILURE", Some("utf-8;用户@126.com"))]);
    envelope.sender = sender.parse()?;
    envelope.parameters.smtputf8 = true;
    envelope.parameters.ret = Some(hedwig_envelope::Ret::Hdrs);
    send(world.house.smtp(), &envelope).await?;
    let mails = world.receiver.wait_for(1).await?;
    assert_eq!(mails[0].envelope.recipients[0].address.as_str(), sender);
    assert_eq!(mails[0].envelope.parameters.smtputf8, !sender.is_ascii());
    let report = read_report(&mails[0].content.to_bytes()).await?;
    assert_eq!(report["defects"], Value::Array(vec![]), "{report:#}");
    assert!(!report["returned"].as_str().expect("a header").contains("The body"), "RET=HDRS");
    world.close().await?;
    Ok(report)
}

#[tokio::test]
async fn a_failed_utf8_address_is_reported_in_utf8_to_a_utf8_sender() -> Result<()> {
    let report = report_of_a_utf8_address("发件人@geneegroup.com").await?;
    let parts = ["text/plain", "message/global-delivery-status", "message/global-headers"];
    assert_eq!(report["parts"], Value::from(parts.to_vec()));
    check(
        &report["per_recipient"][0],
        &[
            ("Original-Recipient", "utf-8; 用户@126.com"),
            ("Final-Recipient", "utf-8; 用户@126.com"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 No such user"),
        ],
        &["Remote-MTA", "Last-Attempt-Date", "Final-Log-ID"],
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_utf8_address_is_reported_in_ascii_to_an_ascii_sender() -> Result<()> {
    let report = report_of_a_utf8_address(SENDER).await?;
    let parts = ["text/plain", "message/delivery-status", "text/rfc822-headers"];
    assert_eq!(report["parts"], Value::from(parts.to_vec()));
    check(
        &report["per_recipient"][0],
        &[
            ("Original-Recipient", r"utf-8; \x{7528}\x{6237}@126.com"),
            ("Final-Recipient", r"utf-8; \x{7528}\x{6237}@126.com"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 No such user"),
        ],
        &["Remote-MTA", "Last-Attempt-Date", "Final-Log-ID"],
    );
    for (part, line) in [("text", "<用户@126.com>"), ("returned", "for <用户@126.com>")] {
        assert!(report[part].as_str().expect("a text").contains(line), "{report:#}");
    }
    Ok(())
}

#[tokio::test]
async fn of_what_ended_together_there_is_one_report_for_all() -> Result<()> {
    let world = world(|options| options).await?;
    world.receiver.script(nobody_of_that_name);
    let recipients: Vec<_> = ["no1@126.com", "yes@126.com", "no2@126.com", "no3@126.com"]
        .map(|address| (address, if address == "no3@126.com" { "NEVER" } else { "FAILURE" }, None))
        .to_vec();
    let id = send(world.house.smtp(), &envelope(&recipients)).await?;
    world.house.postoffice.message_done(&id).await?;
    let mails = world.receiver.wait_for(2).await?;
    let report = the_report(&mails).await?;
    let told = report["per_recipient"].as_array().expect("recipients");
    let told: Vec<_> = told.iter().map(|fields| fields["Final-Recipient"].as_str()).collect();
    assert_eq!(told, [Some("rfc822; no1@126.com"), Some("rfc822; no2@126.com")]);
    assert_eq!(world.close().await?, 2);
    Ok(())
}

#[tokio::test]
async fn one_report_tells_of_recipients_at_different_domains() -> Result<()> {
    let domains = ["126.com", "163.com", "qq.com"];
    let world = world_of(&domains, |options| options).await?;
    world.receiver.script(nobody_of_that_name);
    let recipients: Vec<_> =
        ["no1@126.com", "yes@163.com", "no2@qq.com", "no3@163.com", "no4@qq.com"]
            .map(|address| {
                (address, if address == "no4@qq.com" { "NEVER" } else { "FAILURE" }, None)
            })
            .to_vec();
    let before = Timestamp::now().as_second();
    let id = send(world.house.smtp(), &envelope(&recipients)).await?;
    world.house.postoffice.message_done(&id).await?;
    let report = the_report(&world.receiver.wait_for(2).await?).await?;
    assert_eq!(report["subject"], "Undelivered mail returned to sender");
    assert_eq!(report["per_message"]["Original-Envelope-Id"], "QQ314159");
    let told = report["per_recipient"].as_array().expect("recipients");
    for (fields, (user, domain)) in
        told.iter().zip([("no1", "126.com"), ("no2", "qq.com"), ("no3", "163.com")])
    {
        let recipient = format!("rfc822; {user}@{domain}");
        let code = format!("smtp; 550 5.1.1 No such user {user}@{domain}");
        let expected = [
            ("Final-Recipient", &*recipient),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", &format!("dns; mx.{domain}")),
            ("Diagnostic-Code", &code),
            ("Final-Log-ID", &id),
        ];
        check(fields, &expected, &["Last-Attempt-Date"]);
        let tried = fields["Last-Attempt-Date-Seconds"].as_i64().expect("a time");
        assert!((before..=Timestamp::now().as_second()).contains(&tried), "{report:#}");
    }
    assert_eq!(told.len(), 3, "{report:#}");
    assert!(report["returned"].as_str().expect("a mail").contains("The body"));
    assert_eq!(world.close().await?, 2, "one mail and one report");
    Ok(())
}

#[tokio::test]
async fn what_ends_later_at_another_domain_is_told_later() -> Result<()> {
    let settings = [("reports_gathered", "1s"), ("expiry", "6s")];
    let change = |options| delivering(options, &settings);
    let world = world_of(&["126.com", "163.com"], change).await?;
    world.receiver.script(|step| {
        let (code, status) = match step.recipient()? {
            "bob@126.com" => (550, Status::permanent(1, 1)),
            "bob@163.com" => (452, Status::transient(2, 2)),
            _ => return None,
        };
        Some(Reply::with_status(code, status, "No"))
    });
    let both = envelope(&[("bob@126.com", "FAILURE", None), ("bob@163.com", "FAILURE", None)]);
    let id = send(world.house.smtp(), &both).await?;
    let first = the_report(&world.receiver.wait_for(1).await?).await?;
    assert_eq!(first["per_recipient"][0]["Final-Recipient"], "rfc822; bob@126.com");
    world.house.postoffice.message_done(&id).await?;
    let second = the_report(&world.receiver.wait_for(2).await?[1..]).await?;
    assert_eq!(second["per_recipient"][0]["Final-Recipient"], "rfc822; bob@163.com");
    for report in [first, second] {
        assert_eq!(report["per_recipient"].as_array().expect("recipients").len(), 1);
    }
    assert_eq!(world.close().await?, 2, "each was told once");
    Ok(())
}
