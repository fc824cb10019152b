//! mailman, as a real process, before clients that mean harm. Whatever they send, it ends no mail early, is not passed
//! on as it came, costs little, and keeps nobody else from being served.

mod bounds;
mod injection;
mod memory;
mod raw;
mod smuggling;

use hedwig_lab::{Client, Half, HouseOptions, Program, Result, SENDER, Submission, World};

/// The largest mail that mailman takes here, in bytes.
const SIZE_MAX: usize = 256 * 1024;

/// A house whose mailman refuses bare line ends, as one does that a network reaches.
async fn strict() -> Result<World> {
    start("refuse").await
}

/// A house whose mailman mends bare line ends, as one does for the programs of its host.
async fn lenient() -> Result<World> {
    start("normalise").await
}

async fn start(line_endings: &str) -> Result<World> {
    start_with(|options: HouseOptions| {
        let mailman = options.mailman.set(Half::Mailman, "smtp", "line_endings", line_endings).set(
            Half::Mailman,
            "smtp",
            "size_max",
            &SIZE_MAX.to_string(),
        );
        HouseOptions { mailman, ..options }
    })
    .await
}

async fn start_with(change: impl FnOnce(HouseOptions) -> HouseOptions) -> Result<World> {
    World::start(&Program::at(env!("CARGO_BIN_EXE_hedwig-lab")), &["example.com"], change).await
}

/// Fails unless an ordinary client is served now, and its mail arrives.
async fn assert_others_are_served(world: &World) -> Result<()> {
    let mail = Submission::new(SENDER, &["bystander@example.com"], "I was here all the time.\r\n");
    let before = arrived_for(world, "bystander@example.com");
    Client::MailSend.send(world.house.smtp(), &mail).await?;
    hedwig_lab::eventually("the mail of somebody else", async || {
        Ok((arrived_for(world, "bystander@example.com") > before).then_some(()))
    })
    .await
}

/// How many mails have arrived for a recipient.
fn arrived_for(world: &World, recipient: &str) -> usize {
    mails_for(world, recipient).len()
}

/// The contents of the mails that have arrived for a recipient.
fn mails_for(world: &World, recipient: &str) -> Vec<String> {
    let is_for = |mail: &hedwig_envelope::Mail| {
        mail.envelope.recipients.iter().any(|r| r.address.as_str() == recipient)
    };
    let mails = world.receiver.mails();
    let mails = mails.iter().filter(|mail| is_for(mail));
    mails.map(|mail| String::from_utf8_lossy(&mail.content.to_bytes()).into_owned()).collect()
}
