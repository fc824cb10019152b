use hedwig_lab::{MailServerOptions, Result, start_exim};

use crate::reports::{self, envelope, the_report};

use super::{DOMAIN, assert_all_arrived, assert_reported, body, reply, send, states, world};

#[tokio::test]
async fn exim_takes_mails_over_tls_and_in_chunks_on_one_connection() -> Result<()> {
    let (world, address) = world(|options| options).await?;
    let exim = start_exim(&MailServerOptions::new(address, DOMAIN)).await?;
    let mut sent = Vec::new();
    for number in 0..3 {
        let unknown = format!("nobody{number}");
        let (mail, status) = send(&world, &["bob", &unknown, "alice"], &body(number)).await?;
        assert_eq!(states(&status, Some("TLSv1.3")), ["delivered", "failed", "delivered"]);
        assert_eq!(reply(&status, 1), "550 5.1.1 No such mailbox here");
        sent.push(mail);
    }
    for mailbox in ["bob", "alice"] {
        assert_all_arrived(&exim.wait_for(mailbox, sent.len()).await?, &sent);
    }
    assert_reported(&world, &[("nobody0", "5.1.1")]).await?;
    assert_eq!(exim.logged("SMTP connection from"), 1, "{}", exim.log());
    let accepted: Vec<String> =
        exim.log().lines().filter(|l| l.contains(" <= ")).map(Into::into).collect();
    assert_eq!(accepted.len(), sent.len(), "one transaction for each mail: {accepted:#?}");
    for line in &accepted {
        // L stands for PIPELINING (a minus would follow if it were not used; a dot: no early one), K for CHUNKING.
        for used in [" P=esmtps L. ", " X=TLS1.3", " K "] {
            assert!(line.contains(used), "{used} is not in {line}");
        }
        assert!(line.ends_with(" for bob@example.com alice@example.com"), "{line}");
    }
    world.close().await?;
    Ok(())
}

/// Exim offers no DSN unless it is told to, so we report that the mail was passed on.
#[tokio::test]
async fn success_is_reported_by_us_where_an_exim_makes_no_reports() -> Result<()> {
    let (world, address) = world(|options| options).await?;
    let exim = start_exim(&MailServerOptions::new(address, DOMAIN)).await?;
    let bob = format!("bob@{DOMAIN}");
    reports::send(world.house.smtp(), &envelope(&[(bob.as_str(), "SUCCESS", None)])).await?;
    exim.wait_for("bob", 1).await?;
    let report = the_report(&world.receiver.wait_for(1).await?).await?;
    assert_eq!(report["per_message"]["Reporting-MTA"], "dns; postoffice.lab.example");
    let recipient = &report["per_recipient"][0];
    assert_eq!(recipient["Action"], "relayed", "{report:#}");
    assert_eq!(recipient["Remote-MTA"], format!("dns; mx.{DOMAIN}"));
    let code = recipient["Diagnostic-Code"].as_str().expect("a code");
    assert!(code.contains(" OK id="), "Exim's own words: {code}");
    assert_eq!(world.close().await?, 1);
    Ok(())
}
