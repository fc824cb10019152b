//! The postoffice counts how TLS goes, and after the day it reports that to the domain that asks for it.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use hedwig_envelope::Timestamp;
use hedwig_lab::{
    Client, Daemon, DaemonOptions, Half, PolicyWeb, Postfix, PostfixOptions, Process, Program,
    Receiver, Result, SENDER, Submission, World, dkim, loopback_address, write_certificate,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const FROM: &str = "reports@geneegroup.com";

/// Makes what was counted until now yesterday's.
fn let_a_day_pass(file: &Path) -> Result<String> {
    let mut state: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let days = state["days"].as_object_mut().expect("days");
    let (_, counts) = days.clone().into_iter().next().expect("something was counted");
    let yesterday = Timestamp::from_second(Timestamp::now().as_second() - 86_400)?;
    let yesterday = yesterday.strftime("%Y-%m-%d").to_string();
    days.clear();
    days.insert(yesterday.clone(), counts);
    std::fs::write(file, state.to_string())?;
    Ok(yesterday)
}

fn read_by_python(message: &[u8]) -> Result<Value> {
    let script =
        include_str!("../../../../crates/hedwig-mx/tests/suite/support/read_tls_report.py");
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().expect("a pipe").write_all(message)?;
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(message));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn reporting(mut postoffice: DaemonOptions) -> DaemonOptions {
    for (key, value) in [("contact", FROM), ("organization", "Genee, Inc."), ("delay", "0s")] {
        postoffice = postoffice.set(Half::Postoffice, "tlsrpt", key, value);
    }
    postoffice
}

/// Stops the postoffice when it has noted that the day's reports left: they may be there before that.
async fn stop_after_the_day(postoffice: &mut Daemon) -> Result<()> {
    let is_noted = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "TLS reports").then_some(())
    };
    postoffice.process().find_in_log(is_noted).await?;
    postoffice.stop().await
}

#[tokio::test]
async fn a_days_report_is_signed_and_sent_after_it_and_is_not_itself_counted() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let mut world = World::start(&program, &["126.com"], |mut options| {
        options.postoffice = reporting(options.postoffice);
        options
    })
    .await?;
    world.dns.txt("_smtp._tls.126.com", "v=TLSRPTv1; rua=mailto:tls@126.com").await;
    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n");
    Client::MailSend.send(world.house.smtp(), &mail).await?;
    world.receiver.wait_for(1).await?;

    world.house.postoffice.stop().await?;
    let file = world.house.postoffice.spool().join("tls-reports.json");
    let yesterday = let_a_day_pass(&file)?;
    world.house.postoffice.start_again().await?;
    let mails = world.receiver.wait_for(2).await?;
    let report = &mails[1];
    assert_eq!(report.envelope.sender.to_string(), FROM);
    assert_eq!(report.envelope.recipients[0].address.as_str(), "tls@126.com");
    let message = report.content.to_bytes();
    let signatures = dkim::verify(&message, world.dns.address()).await?;
    assert!(!signatures.is_empty() && signatures.iter().all(|s| s.valid), "{signatures:?}");
    let read = read_by_python(&message)?;
    assert_eq!(read["defects"], json!([]));
    assert_eq!((&read["report_type"], &read["domain"]), (&"tlsrpt".into(), &"126.com".into()));
    assert_eq!(read["tls_required"], "No");
    let told = &read["report"];
    assert_eq!(told["organization-name"], "Genee, Inc.");
    assert_eq!(told["date-range"]["start-datetime"], format!("{yesterday}T00:00:00Z"));
    let policy = &told["policies"][0];
    assert_eq!(policy["policy"]["policy-type"], "no-policy-found");
    assert_eq!(policy["policy"]["policy-domain"], "126.com");
    assert_eq!(policy["summary"]["total-failure-session-count"], 1);
    let failures = policy["failure-details"].as_array().expect("failures");
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["result-type"], "starttls-not-supported");
    assert_eq!(failures[0]["receiving-ip"], world.receiver.address().ip().to_string());

    stop_after_the_day(&mut world.house.postoffice).await?;
    let state: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    assert_eq!(state["days"], json!({}), "the day is done, and its report begins no other");
    Ok(())
}

/// A web server for reports, which tells what came; with the file of its certificate.
async fn start_report_server(name: &str, directory: &Path) -> Result<(Process, u16, PathBuf)> {
    write_certificate(directory, name)?;
    let (certificate, both) = (directory.join("certificate.pem"), directory.join("both.pem"));
    fs::write(
        &both,
        fs::read_to_string(&certificate)? + &fs::read_to_string(directory.join("key.pem"))?,
    )?;
    let script = include_str!("../../../../crates/hedwig-mx/tests/suite/support/report_server.py");
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).arg(&both).arg("201");
    let mut server = Process::spawn("python3", command)?;
    let port = server.find_in_log(|line| line.parse().ok()).await?;
    Ok((server, port, certificate))
}

const RIGHT: &str = "right.example";
/// Its exchanger shows the certificate of the other's.
const WRONG: &str = "wrong.example";

/// A web server with the domain's policy, at the port that all of them have, and so at an address of its own.
async fn start_policy(domain: &str, mode: &str) -> Result<PolicyWeb> {
    let web = PolicyWeb::start(domain, SocketAddr::new(loopback_address(), 443)).await?;
    web.show(&format!("version: STSv1\nmode: {mode}\nmx: mx.{domain}\nmax_age: 86400\n"))?;
    Ok(web)
}

#[tokio::test]
async fn sessions_under_mta_sts_are_counted_as_successes_and_failures_and_posted_over_https()
-> Result<()> {
    let directory = TempDir::with_prefix("lab-reports-")?;
    let receiver = Receiver::start_at(SocketAddr::new(loopback_address(), 0)).await?;
    let listen = SocketAddr::new(loopback_address(), receiver.address().port());
    let postfix = Postfix::start(&PostfixOptions {
        hostname: format!("mx.{RIGHT}"),
        listen,
        domains: vec![RIGHT.to_owned(), WRONG.to_owned()],
        tls: true,
        ..PostfixOptions::default()
    })
    .await?;
    let (right, wrong) =
        (start_policy(RIGHT, "enforce").await?, start_policy(WRONG, "testing").await?);
    let (mut reports, port, of_reports) =
        start_report_server("reports.lab.example", directory.path()).await?;
    let trusted = [right.certificate(), wrong.certificate(), postfix.certificate(), of_reports];
    let trusted = trusted.map(fs::read_to_string).into_iter().collect::<Result<String, _>>()?;
    let authorities = directory.path().join("authorities.pem");
    fs::write(&authorities, trusted)?;

    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let mut world = World::with_receiver(&program, &[], receiver, |mut options| {
        let file = authorities.display().to_string();
        options.postoffice =
            reporting(options.postoffice).set(Half::Postoffice, "mx", "authorities", &file);
        options
    })
    .await?;
    world.dns.address_of("reports.lab.example", [127, 0, 0, 1]).await;
    for (domain, web) in [(RIGHT, &right), (WRONG, &wrong)] {
        world.dns.mail_domain(domain, postfix.address().ip()).await;
        world.dns.txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=1;").await;
        world.dns.address_of(&format!("mta-sts.{domain}"), web.address().ip()).await;
        let rua = format!("v=TLSRPTv1; rua=https://reports.lab.example:{port}/{domain}");
        world.dns.txt(&format!("_smtp._tls.{domain}"), &rua).await;
        let mail = Submission::new(SENDER, &[&format!("bob@{domain}")], "Hello\r\n");
        Client::MailSend.send(world.house.smtp(), &mail).await?;
    }
    postfix.wait_for(2).await?;
    world.house.postoffice.stop().await?;
    let file = world.house.postoffice.spool().join("tls-reports.json");
    let_a_day_pass(&file)?;
    world.house.postoffice.start_again().await?;

    for (domain, mode, summary, failure) in [
        (RIGHT, "enforce", (1, 0), Value::Null),
        (WRONG, "testing", (0, 1), json!("certificate-host-mismatch")),
    ] {
        let is_of_domain = |line: &str| {
            let posted: Value = serde_json::from_str(line).ok()?;
            (posted["path"] == format!("/{domain}")).then_some(posted)
        };
        let posted = reports.find_in_log(is_of_domain).await?;
        assert_eq!(posted["type"], "application/tlsrpt+gzip");
        assert_eq!(posted["report"]["organization-name"], "Genee, Inc.");
        let [told] = &posted["report"]["policies"].as_array().expect("policies")[..] else {
            panic!("not one policy in {posted:#}")
        };
        assert_eq!(told["policy"]["policy-type"], "sts", "{posted:#}");
        assert_eq!(told["policy"]["policy-domain"], domain);
        assert_eq!(told["policy"]["policy-string"][1], format!("mode: {mode}"));
        assert_eq!(told["summary"]["total-successful-session-count"], summary.0, "{posted:#}");
        assert_eq!(told["summary"]["total-failure-session-count"], summary.1, "{posted:#}");
        assert_eq!(told["failure-details"][0]["result-type"], failure, "{posted:#}");
    }
    stop_after_the_day(&mut world.house.postoffice).await?;
    let state: Value = serde_json::from_slice(&fs::read(&file)?)?;
    assert_eq!(state["days"], json!({}), "both reports left");
    Ok(())
}
