//! DELIVERBY (RFC 2852) with real daemons: a mail that is late comes back, or its sender is told.

use std::net::SocketAddr;

use hedwig_envelope::{Envelope, Reply, Status};
use hedwig_lab::{Program, Receiver, Result, World, loopback_address};
use hedwig_smtp::ServerOptions;

use crate::reports::{check, envelope, reports, send, the_report};

/// A world whose receiver keeps deadlines itself, and says "not now" of bob.
async fn world() -> Result<World> {
    let address = SocketAddr::from((loopback_address(), 0));
    let deliver_by = |options| ServerOptions { dsn: false, deliver_by: true, ..options };
    let receiver = Receiver::start_with(address, deliver_by).await?;
    receiver.script(|step| {
        let is_bob = step.recipient()? == "bob@126.com";
        is_bob.then(|| Reply::with_status(452, Status::transient(2, 2), "Over quota"))
    });
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    World::with_receiver(&program, &["126.com"], receiver, |options| options).await
}

fn within(by: &str) -> Envelope {
    let mut envelope = envelope(&[("bob@126.com", "DELAY,FAILURE", Some("rfc822;bob@126.com"))]);
    envelope.parameters.deliver_by = Some(by.parse().expect("BY"));
    envelope
}

#[tokio::test]
async fn a_mail_that_is_late_is_returned_when_its_sender_asked_for_that() -> Result<()> {
    let world = world().await?;
    let id = send(world.house.smtp(), &within("3;R")).await?;
    let status = world.house.postoffice.message_done(&id).await?;
    let report = the_report(&world.receiver.wait_for(1).await?).await?;
    check(
        &report["per_message"],
        &[("Original-Envelope-Id", "QQ314159"), ("Reporting-MTA", "dns; postoffice.lab.example")],
        &["Arrival-Date", "Received-From-MTA"],
    );
    let recipient = &report["per_recipient"][0];
    for (field, value) in [
        ("Original-Recipient", "rfc822; bob@126.com"),
        ("Final-Recipient", "rfc822; bob@126.com"),
        ("Action", "failed"),
        ("Status", "5.4.7"),
    ] {
        assert_eq!(recipient[field], value, "{report:#}");
    }
    let returned = report["returned"].as_str().expect("a mail");
    assert!(returned.contains("The body"), "a failure returns all: {returned}");
    let attempts = status["recipients"][0]["attempts"].as_array().expect("attempts");
    assert!(attempts.iter().any(|attempt| attempt["outcome"] == "deferred"), "{status:#}");
    assert_eq!(world.close().await?, 1, "the report and nothing else");
    Ok(())
}

#[tokio::test]
async fn of_a_mail_that_is_late_the_sender_is_told_and_delivery_goes_on() -> Result<()> {
    let world = world().await?;
    let id = send(world.house.smtp(), &within("2;N")).await?;
    let report = the_report(&world.receiver.wait_for(1).await?).await?;
    let recipient = &report["per_recipient"][0];
    for (field, value) in
        [("Final-Recipient", "rfc822; bob@126.com"), ("Action", "delayed"), ("Status", "4.4.7")]
    {
        assert_eq!(recipient[field], value, "{report:#}");
    }
    world.receiver.take_everything();
    let status = world.house.postoffice.message_done(&id).await?;
    assert_eq!(status["recipients"][0]["state"], "delivered", "{status:#}");
    let mails = world.receiver.wait_for(2).await?;
    assert_eq!(reports(&mails).len(), 1, "it was told once");
    let by = mails[1].envelope.parameters.deliver_by.expect("BY goes on");
    assert!(by.seconds <= 0, "the time that has passed is taken off: {by}");
    assert_eq!(world.close().await?, 2);
    Ok(())
}
