//! What was answered with 250 is delivered, and once, whatever is stopped or killed when.

use hedwig_lab::{
    Client, Fault, Program, Result, SENDER, Submission, World, eventually,
    message::assert_unchanged,
};

async fn world() -> Result<World> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    World::start(&program, &["126.com"], |options| options).await
}

fn mail() -> Submission {
    Submission::new(SENDER, &["bob@126.com"], "Hello\r\n")
}

/// Waits for the one mail, stops everything, and makes sure that there was no second.
async fn arrives_once(world: World, mail: &Submission) -> Result<()> {
    let received = world.receiver.wait_for(1).await?;
    assert_unchanged(&received[0].content.to_bytes(), &mail.message);
    for daemon in [&world.house.mailman, &world.house.postoffice] {
        eventually("an empty queue", async || {
            Ok(daemon.queue_list().await?.iter().all(is_done).then_some(()))
        })
        .await?;
    }
    assert_eq!(world.close().await?, 1, "copies");
    Ok(())
}

fn is_done(status: &serde_json::Value) -> bool {
    let recipients = status["recipients"].as_array().expect("recipients");
    recipients.iter().all(|recipient| recipient["state"] == "delivered")
}

#[tokio::test]
async fn while_the_postoffice_is_away_mailman_takes_mail_and_keeps_it() -> Result<()> {
    let mut world = world().await?;
    world.house.postoffice.stop().await?;
    let mail = mail();
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(world.house.mailman.queue_list().await?.len(), 1);
    assert!(world.receiver.mails().is_empty());
    world.house.postoffice.start_again().await?;
    arrives_once(world, &mail).await
}

#[tokio::test]
async fn a_mail_that_mailman_keeps_survives_kill_9() -> Result<()> {
    let mut world = world().await?;
    world.house.postoffice.stop().await?;
    let mail = mail();
    Client::MailSend.send(world.house.smtp(), &mail).await?;
    world.house.mailman.kill().await?;
    world.house.postoffice.start_again().await?;
    world.house.mailman.start_again().await?;
    arrives_once(world, &mail).await
}

#[tokio::test]
async fn both_killed_right_after_the_250_lose_nothing() -> Result<()> {
    let mut world = world().await?;
    // No answer from DNS: the mail cannot leave before the kill.
    world.dns.break_name("126.com", Fault::Silence);
    let mail = mail();
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    assert!(reply.starts_with("250 "), "{reply}");
    tokio::try_join!(world.house.mailman.kill(), world.house.postoffice.kill())?;
    assert!(world.receiver.mails().is_empty());
    world.dns.mend_name("126.com");
    world.house.postoffice.start_again().await?;
    world.house.mailman.start_again().await?;
    arrives_once(world, &mail).await
}

#[tokio::test]
async fn a_stop_by_sigterm_loses_nothing() -> Result<()> {
    let mut world = world().await?;
    world.dns.break_name("126.com", Fault::ServerFailure);
    let mail = mail();
    Client::MailSend.send(world.house.smtp(), &mail).await?;
    world.house.mailman.stop().await?;
    world.house.postoffice.stop().await?;
    world.dns.mend_name("126.com");
    world.house.postoffice.start_again().await?;
    world.house.mailman.start_again().await?;
    arrives_once(world, &mail).await
}
