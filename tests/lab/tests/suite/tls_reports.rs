//! The postoffice counts how TLS goes, and after the day it reports that to the domain that asks for it.

use std::{io::Write, path::Path, process::Stdio};

use hedwig_envelope::Timestamp;
use hedwig_lab::{Client, Half, Program, Result, SENDER, Submission, World, dkim};
use serde_json::{Value, json};

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

#[tokio::test]
async fn a_days_report_is_signed_and_sent_after_it_and_is_not_itself_counted() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let mut world = World::start(&program, &["126.com"], |mut options| {
        let set = |(key, value)| (Half::Postoffice, "tlsrpt", key, value);
        let settings =
            [("contact", FROM), ("organization", "Genee, Inc."), ("delay", "0s")].map(set);
        for (half, section, key, value) in settings {
            options.postoffice = options.postoffice.set(half, section, key, value);
        }
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

    world.house.postoffice.stop().await?;
    let state: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    assert_eq!(state["days"], json!({}), "the day is done, and its report begins no other");
    Ok(())
}
