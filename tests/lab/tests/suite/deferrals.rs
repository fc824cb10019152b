//! A server that says "not now" is asked again, and an operator sees meanwhile why a mail waits.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hedwig_envelope::{Reply, Status, Timestamp};
use hedwig_lab::{Client, Half, Program, Result, SENDER, Submission, World};

fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_hedwig-lab"))
}

fn not_now() -> Reply {
    Reply::with_status(450, Status::transient(2, 2), "Mailbox full, come back later")
}

fn id_in(reply: &str) -> String {
    reply.split_once("queued as ").expect("an id").1.trim().to_owned()
}

#[tokio::test]
async fn a_recipient_that_is_deferred_twice_is_delivered_at_the_third_try() -> Result<()> {
    let world = World::start(&program(), &["126.com"], |options| options).await?;
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    world.receiver.script(move |step| {
        step.recipient()?;
        (counter.fetch_add(1, Ordering::SeqCst) < 2).then(not_now)
    });
    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n");
    let id = id_in(&Client::MailSend.send(world.house.smtp(), &mail).await?);
    let status = world.house.postoffice.message_done(&id).await?;
    let recipient = &status["recipients"][0];
    assert_eq!(recipient["state"], "delivered", "{status:#}");
    let outcomes: Vec<_> = recipient["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .map(|a| a["outcome"].as_str())
        .collect();
    assert_eq!(outcomes, [Some("deferred"), Some("deferred"), Some("done")], "{status:#}");
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    assert_eq!(world.close().await?, 1);
    Ok(())
}

#[tokio::test]
async fn an_operator_sees_why_a_mail_waits_and_until_when_and_can_send_it_off() -> Result<()> {
    let world = World::start(&program(), &["126.com"], |mut options| {
        options.postoffice = options.postoffice.set(Half::Postoffice, "delivery", "retry", "1h");
        options
    })
    .await?;
    world.receiver.script(|step| step.recipient().map(|_| not_now()));
    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n");
    let id = id_in(&Client::MailSend.send(world.house.smtp(), &mail).await?);
    let postoffice = &world.house.postoffice;
    let status =
        postoffice.message_when(&id, |s| s["recipients"][0]["state"] == "deferred").await?;

    let recipient = &status["recipients"][0];
    assert_eq!(recipient["address"], "bob@126.com");
    assert_eq!(recipient["status"], "4.2.2");
    let attempt = &recipient["attempts"][0];
    assert_eq!(attempt["reply"], "450 4.2.2 Mailbox full, come back later");
    assert_eq!(attempt["diagnosis"], "mailbox-full");
    assert_eq!(attempt["host"], "mx.126.com");
    assert_eq!(attempt["address"], world.receiver.address().to_string());
    let next_due: Timestamp = recipient["next_due"].as_str().expect("next_due").parse()?;
    let wait = next_due.as_second() - Timestamp::now().as_second();
    assert!((1800..=2 * 3600).contains(&wait), "next due in {wait} s");

    let list = postoffice.queue(&["list"]).await?;
    for wanted in [id.as_str(), "deferred", "bob@126.com", "Mailbox full, come back later"] {
        assert!(list.contains(wanted), "no {wanted:?} in:\n{list}");
    }
    let shown = postoffice.queue(&["show", &id]).await?;
    let told = "mailbox-full: The mailbox is full. To be mended by: the recipient";
    assert!(shown.contains(told), "{shown}");
    let metrics = postoffice.metrics("http").await?;
    assert!(metrics.contains("hedwig_diagnoses_total{diagnosis=\"mailbox-full\"} 1"), "{metrics}");
    let [listed] = &postoffice.queue_list().await?[..] else { panic!("not one mail") };
    assert_eq!(listed["recipients"][0]["next_due"], recipient["next_due"]);

    world.receiver.take_everything();
    postoffice.queue(&["retry", &id]).await?;
    let status = postoffice.message_done(&id).await?;
    assert_eq!(status["recipients"][0]["state"], "delivered");
    assert_eq!(world.close().await?, 1);
    Ok(())
}
