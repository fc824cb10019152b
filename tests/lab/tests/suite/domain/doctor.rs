//! A domain that is set up as `init` says is found well; and what is wrong with the host is told.

use std::fs;

use hedwig_envelope::Reply;
use hedwig_lab::{Dns, Fault, Result, Step};
use hedwig_smtp::Question;
use hickory_server::proto::rr::RecordType;

use super::site::{ADDRESS, Clock, Complaint, DOMAIN, HOST, OTHER, Site};

/// The one thing that is wrong.
#[track_caller]
pub(super) fn the_only(complaints: Vec<Complaint>) -> Complaint {
    match <[Complaint; 1]>::try_from(complaints) {
        Ok([complaint]) => complaint,
        Err(others) => panic!("one thing is wrong, and this is found: {others:#?}"),
    }
}

/// Fails unless one thing is wrong, this.
#[track_caller]
pub(super) fn assert_only(
    complaints: Vec<Complaint>,
    level: &str,
    check: &str,
    found: &str,
    advice: &str,
) {
    let complaint = the_only(complaints);
    assert_eq!(
        (complaint.level.as_str(), complaint.check.as_str()),
        (level, check),
        "{complaint:#?}"
    );
    assert!(complaint.found.contains(found), "{found} is not in {complaint:#?}");
    assert!(complaint.advice.contains(advice), "{advice} is not in {complaint:#?}");
}

#[tokio::test]
async fn a_domain_that_is_set_up_well_is_found_well() -> Result<()> {
    let site = Site::start().await?;
    let said = site.doctor(&[]).await?;
    assert_eq!((said.code, said.error.as_str()), (0, ""), "{}", said.out);
    let port = site.receiver.address().port();
    let [ed25519, rsa] = <[String; 2]>::try_from(site.selectors()?).expect("two keys");
    let expected = [
        "ok    settings: right".to_owned(),
        "ok    spool: ".to_owned(),
        // Its own disk is the test's host's, which may be nearly full.
        String::new(),
        "ok    daemon: it answers".to_owned(),
        "ok    name server: it answers, and passes DNSSEC on".to_owned(),
        "ok    clock: right to within 2 s".to_owned(),
        format!("ok    name {HOST}: it leads to {ADDRESS}"),
        format!("ok    reverse {ADDRESS}: its name {HOST} leads back to it"),
        format!(
            "ok    port {port} from {ADDRESS}: {OTHER} ({}) says hello",
            site.receiver.address()
        ),
        format!("ok    spf {HOST}: pass for {ADDRESS}"),
        format!("ok    mx {DOMAIN}: {HOST}"),
        format!("ok    spf {DOMAIN}: pass for {ADDRESS}"),
        format!(
            "ok    dkim {ed25519}._domainkey.{DOMAIN}: the key that signs (ed25519) is published"
        ),
        format!("ok    dkim {rsa}._domainkey.{DOMAIN}: the key that signs (rsa) is published"),
        format!(
            "ok    dmarc {DOMAIN}: policy none, our signatures are aligned, reports go to mailto:postmaster@{DOMAIN}"
        ),
        format!("ok    mta-sts {DOMAIN}: policy "),
        format!("ok    tlsrpt {DOMAIN}: reports go to mailto:postmaster@{DOMAIN}"),
    ];
    let lines: Vec<&str> = said.out.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), expected.len() + 1, "{}", said.out);
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.starts_with(expected), "{line}\nis not\n{expected}");
    }
    assert!(lines[2].contains("disk: ") && lines[16].ends_with(DOMAIN), "{}", said.out);
    assert!(said.out.ends_with(", 0 failed\n"), "{}", said.out);
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_closed_and_a_server_that_refuses_are_told_apart() -> Result<()> {
    let site = Site::start().await?;
    let check = format!("port {} from {}", site.receiver.address().port(), ADDRESS);
    site.receiver.script(|step| match step {
        Step::Question(Question::Connect { .. }) => Some(Reply::new(554, None, "listed")),
        _ => None,
    });
    assert_only(site.complaints(&[]).await?, "warn", &check, "554", "block lists");
    site.dns.remove(OTHER, RecordType::A).await.address_of(OTHER, [127, 255, 255, 254]).await;
    assert_only(site.complaints(&[]).await?, "fail", &check, "no way to", "smart host");
    site.dns.remove(OTHER, RecordType::A).await;
    assert_only(site.complaints(&[]).await?, "fail", &check, OTHER, "--port25-host");
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_wrong_or_cannot_be_compared_is_told() -> Result<()> {
    let mut site = Site::start().await?;
    site.set_clock(Clock::start(90).await?);
    assert_only(site.complaints(&[]).await?, "fail", "clock", "s behind", "time service");
    site.set_clock(Clock::start(5).await?);
    assert_only(site.complaints(&[]).await?, "warn", "clock", "s behind", "time service");
    let mut silent = Clock::start(0).await?;
    silent.stop();
    site.set_clock(silent);
    assert_only(site.complaints(&[]).await?, "warn", "clock", "cannot be compared", "timedatectl");
    Ok(())
}

#[tokio::test]
async fn the_daemon_its_spool_and_its_disk_are_looked_at() -> Result<()> {
    let mut site = Site::start().await?;
    site.daemon.stop().await?;
    assert_only(site.complaints(&[]).await?, "warn", "daemon", "none has the spool", "systemctl");
    let spool = site.daemon.spool();
    let (format, reserve) = (spool.join("format"), spool.join("reserve"));
    fs::remove_file(reserve)?;
    let complaints = site.complaints(&[]).await?;
    let disk = complaints.iter().find(|complaint| complaint.check == "disk").expect("the disk");
    assert!(disk.level == "fail" && disk.found.contains("the reserve is given up"), "{disk:?}");
    fs::write(format, r#"{"format":99,"spool":"x"}"#)?;
    let complaints = site.complaints(&[]).await?;
    let spool = complaints.iter().find(|complaint| complaint.check == "spool").expect("the spool");
    assert!(spool.level == "fail" && spool.advice.contains("version of Hedwig"), "{spool:?}");
    Ok(())
}

#[tokio::test]
async fn without_a_name_server_nothing_else_is_asked() -> Result<()> {
    let site = Site::start().await?;
    // One where nobody is, and one that hears everything and says nothing.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let silent = std::net::UdpSocket::bind("127.0.0.1:0")?;
    for name_server in [nobody, silent.local_addr()?] {
        let complaints = site.complaints_at(name_server).await?;
        let checks = complaints.iter().map(|complaint| complaint.check.as_str());
        assert_eq!(checks.collect::<Vec<_>>(), ["name server", "the rest"], "{complaints:#?}");
        assert!(complaints[0].advice.contains("[dns] server"), "{complaints:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_server_that_passes_no_signatures_is_told_and_the_rest_is_asked_all_the_same()
-> Result<()> {
    let site = Site::start().await?;
    let plain = Dns::start().await?;
    for (name, data) in super::site::records_of(&site.zone) {
        plain.add(&name.to_utf8(), data).await;
    }
    plain.address_of(OTHER, site.receiver.address().ip()).await;
    plain.address_of("mta-sts.example.org", [127, 0, 0, 1]).await;
    let complaints = site.complaints_at(plain.address()).await?;
    assert_only(complaints, "warn", "name server", "does not pass DNSSEC on", "unbound");
    plain.break_name(&format!("_dmarc.{DOMAIN}"), Fault::ServerFailure);
    let complaints = site.complaints_at(plain.address()).await?;
    let dmarc = complaints.iter().find(|complaint| complaint.check == "dmarc example.org");
    assert!(dmarc.is_some_and(|dmarc| dmarc.level == "fail"), "{complaints:#?}");
    Ok(())
}

#[tokio::test]
async fn behind_a_smart_host_nobody_sees_our_addresses() -> Result<()> {
    let site = Site::start().await?;
    let complaints = site.complaints(&["--route", "*=smtp://relay.example.net:587"]).await?;
    let found: Vec<(&str, &str)> =
        complaints.iter().map(|c| (c.level.as_str(), c.check.as_str())).collect();
    assert_eq!(found, [("warn", "addresses"), ("warn", "spf example.org")], "{complaints:#?}");
    assert!(complaints[0].found.contains("smtp://relay.example.net:587"), "{complaints:#?}");
    Ok(())
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_told_before_anything_is_asked() -> Result<()> {
    let site = Site::start().await?;
    let mut command = site.doctor_command(&[]);
    command.env("HEDWIG_POSTOFFICE_MX_TLS", "strict");
    let said = super::site::said(command).await?;
    assert_eq!((said.code, said.out.as_str()), (78, ""), "{said:?}");
    assert!(said.error.contains("[mx] tls"), "{said:?}");
    let said = site.doctor(&["a/b"]).await?;
    assert!(said.code == 64 && said.error.contains("is no domain name"), "{said:?}");
    Ok(())
}
