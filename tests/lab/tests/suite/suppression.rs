//! A recipient whose server says that there is no such user is not asked for again, until an operator says so.

use std::sync::{Arc, Mutex};

use hedwig_envelope::{Reply, Status};
use hedwig_lab::{Client, Program, Result, SENDER, Submission, World};

const NOBODY: &str = "nobody@126.com";

/// A receiver that refuses everybody like this, and whom it was asked for.
fn refuse(world: &World, status: Status, text: &'static str) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    world.receiver.script(move |step| {
        let recipient = step.recipient().filter(|recipient| recipient.ends_with("126.com"))?;
        seen.lock().expect("nobody panics").push(recipient.to_owned());
        Some(Reply::with_status(550, status, text))
    });
    asked
}

/// Sends a mail to nobody; returns what the postoffice says became of it.
async fn refusal(world: &World) -> Result<String> {
    let mail = Submission::new(SENDER, &[NOBODY], "Hello\r\n");
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    let id = reply.split_once("queued as ").expect("an id").1.trim().to_owned();
    let status = world.house.postoffice.message_done(&id).await?;
    Ok(status["recipients"][0].to_string())
}

#[tokio::test]
async fn who_does_not_exist_is_asked_for_once_until_an_operator_says_so() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let mut world = World::start(&program, &["126.com"], |options| options).await?;
    let asked = refuse(&world, Status::permanent(1, 1), "No such user here");
    let count = || asked.lock().expect("nobody panics").len();

    let first = refusal(&world).await?;
    assert!(first.contains("5.1.1") && count() == 1, "{first}");
    let listed = world.house.postoffice.suppression(&["list"]).await?;
    assert!(listed.contains("its server said 550 5.1.1 No such user here"), "{listed}");

    let second = refusal(&world).await?;
    assert!(second.contains("its server said 550 5.1.1") && count() == 1, "{second}");

    world.house.postoffice.kill().await?;
    world.house.postoffice.start_again().await?;
    refusal(&world).await?;
    assert_eq!(count(), 1, "it is remembered");

    world.house.postoffice.suppression(&["remove", NOBODY]).await?;
    refusal(&world).await?;
    assert_eq!(count(), 2);
    Ok(())
}

#[tokio::test]
async fn a_refusal_that_is_not_about_the_address_is_not_remembered() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com"], |options| options).await?;
    let asked = refuse(&world, Status::permanent(7, 1), "This looks like spam");
    refusal(&world).await?;
    refusal(&world).await?;
    assert_eq!(asked.lock().expect("nobody panics").len(), 2);
    assert_eq!(world.house.postoffice.suppression(&["list"]).await?, "Nobody is suppressed.\n");
    Ok(())
}
