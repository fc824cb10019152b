//! The journey of one mail: a client, mailman, the postoffice, and the recipient's server, all on
//! loopback. It ends with 0 only if the mail arrived once, unchanged, and well signed.

mod checks;
mod report;

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use hedwig_lab::{
    Client, Dns, House, HouseOptions, LabError, Program, Receiver, Result, Submission, dkim,
    program::run_as_daemon,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{checks::Arrived, report::Report};

const SENDER: &str = "sender@geneegroup.com";
const SENDER_DOMAIN: &str = "geneegroup.com";
const RECIPIENT: &str = "bob@126.com";
const RECIPIENT_DOMAIN: &str = "126.com";
const BODY: &str = "Dear Bob,\r\n\r\n\
    this mail went from a client to mailman by SMTP, from mailman to the postoffice by HTTP,\r\n\
    and from the postoffice to you by SMTP again, signed twice on its way.\r\n\
    .A dot at the beginning of a line came along, and so did Grüße and 你好.\r\n\r\n\
    Yours, Hedwig\r\n";

fn main() -> ExitCode {
    // The two daemons are this program again, as processes of their own.
    if let Some(exit) = run_as_daemon() {
        return exit;
    }
    let mut report = Report::new();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report.stopped(&error.into()),
    };
    match runtime.block_on(journey(&mut report)) {
        Ok(()) => report.end(),
        Err(error) => report.stopped(&error),
    }
}

async fn journey(report: &mut Report) -> Result<()> {
    report.title("The journey of one mail");
    let keys = TempDir::with_prefix("hedwig-journey-")?;
    let dns = write_zone(&keys, report).await?;
    let receiver = Receiver::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    report.step("receiver", format!("listens for SMTP at {}", receiver.address()));
    let house = open_house(&dns, &receiver, &keys, report).await?;

    let mail = Submission::new(SENDER, &[RECIPIENT], BODY);
    report
        .step("client", format!("sends {} bytes, <{SENDER}> to <{RECIPIENT}>", mail.message.len()));
    let reply = Client::MailSend.send(house.smtp(), &mail).await?;
    report.step("mailman", format!("says {reply}"));
    let id = id_in(&reply)?;
    let received = receiver.wait_for(1).await?;
    let received = received.iter().map(|mail| mail.content.to_bytes().to_vec()).collect();
    let status = house.postoffice.message_done(&id).await?;
    report.step("postoffice", format!("keeps it as {id}: it answered 202 when that was on disk"));
    tell_attempts(&status, report);
    let arrived = Arrived { mail, status, received, dns };
    arrived.tell(report);
    close_house(house, report).await?;
    arrived.check(&receiver, report).await
}

/// The name server: who takes the recipient's mail, and which keys the sender's domain signs with.
async fn write_zone(keys: &TempDir, report: &mut Report) -> Result<Dns> {
    let dns = Dns::start().await?;
    dns.mail_domain(RECIPIENT_DOMAIN, Ipv4Addr::LOCALHOST).await;
    dkim::publish_keys(keys.path(), SENDER_DOMAIN, &dns).await?;
    report.step("dns", format!("answers at {}", dns.address()));
    report.detail(format!("{RECIPIENT_DOMAIN} MX 10 mx.{RECIPIENT_DOMAIN}"));
    report.detail(format!("mx.{RECIPIENT_DOMAIN} A {}", Ipv4Addr::LOCALHOST));
    for (selector, kind) in [(dkim::RSA_SELECTOR, "rsa"), (dkim::ED25519_SELECTOR, "ed25519")] {
        report
            .detail(format!("{selector}._domainkey.{SENDER_DOMAIN} TXT v=DKIM1; k={kind}; p=..."));
    }
    Ok(dns)
}

async fn open_house(
    dns: &Dns,
    receiver: &Receiver,
    keys: &TempDir,
    report: &mut Report,
) -> Result<House> {
    let mut options = HouseOptions::new(dns.address(), receiver.address().port());
    options.dkim_keys = Some(keys.path().to_owned());
    let mut house = House::start(&Program::this()?, options).await?;
    let (mailman, postoffice) = (house.mailman.process().id()?, house.postoffice.process().id()?);
    let http = house.postoffice.address("http");
    report.step("postoffice", format!("listens for HTTP at {http}, process {postoffice}"));
    report.step("mailman", format!("listens for SMTP at {}, process {mailman}", house.smtp()));
    Ok(house)
}

async fn close_house(mut house: House, report: &mut Report) -> Result<()> {
    house.mailman.stop().await?;
    house.postoffice.stop().await?;
    report.step("daemons", "stopped when they were asked to");
    Ok(())
}

/// The id in a reply such as `250 2.0.0 Ok: queued as ID`.
fn id_in(reply: &str) -> Result<String> {
    let id = reply.split_once("queued as ").and_then(|(_, rest)| rest.split_whitespace().next());
    id.map(str::to_owned).ok_or_else(|| LabError::new(format!("no id in {reply:?}")).into())
}

fn tell_attempts(status: &Value, report: &mut Report) {
    for recipient in status["recipients"].as_array().into_iter().flatten() {
        for attempt in recipient["attempts"].as_array().into_iter().flatten() {
            let text = |field: &str| attempt[field].as_str().unwrap_or("?").to_owned();
            report
                .step("postoffice", format!("delivers to {} at {}", text("host"), text("address")));
            report.step("receiver", format!("says {}", text("reply")));
        }
    }
}
