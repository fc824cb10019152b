//! Both daemons are killed again and again while mail comes in. Every mail that was answered with 250
//! arrives, and the hop between the two makes no mail two.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hedwig_envelope::Mail;
use hedwig_lab::{Client, Program, Result, SENDER, Submission, World, eventually};
use tokio::{sync::watch, task::JoinSet};

const SENDERS: usize = 4;
const ROUNDS: usize = 6;
const MAILS_A_ROUND: usize = 40;

/// The Message-IDs of the mails that were answered with 250.
#[derive(Clone, Default)]
struct Accepted(Arc<Mutex<BTreeSet<String>>>);

impl Accepted {
    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn all(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends one mail after the other until it is told to stop. What is not answered with 250 is let go.
async fn send(server: SocketAddr, accepted: Accepted, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let mail = Submission::new(SENDER, &["bob@126.com"], "x".repeat(70) + "\r\n");
        if Client::MailSend.send(server, &mail).await.is_ok() {
            let id = message_id(&mail.message);
            accepted.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        } else {
            // Nobody listens between a kill and the new start.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn message_id(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: "));
    id.expect("every mail has a Message-ID").to_owned()
}

/// The id under which the postoffice took a mail in: it is in the Received field it wrote.
fn id_of_the_hop(mail: &Mail) -> String {
    let message = mail.content.to_bytes();
    let text = String::from_utf8_lossy(&message);
    let (_, id) = text.split_once("with HTTP id ").expect("the postoffice's Received field");
    id.split_whitespace().next().expect("an id").to_owned()
}

/// Each mail that has arrived, with the ids under which the postoffice had taken it in.
fn arrived(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut arrived: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mail in world.receiver.mails() {
        let id = message_id(mail.content.message());
        arrived.entry(id).or_default().insert(id_of_the_hop(&mail));
    }
    arrived
}

async fn arrives_whatever_is_killed(mailman: bool, postoffice: bool) -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let mut world = World::start(&program, &["126.com"], |options| options).await?;
    let accepted = Accepted::default();
    let (stop, stopped) = watch::channel(false);
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(send(world.house.smtp(), accepted.clone(), stopped.clone()));
    }
    for round in 1..=ROUNDS {
        let enough = round * MAILS_A_ROUND;
        eventually("mails", async || Ok((accepted.count() >= enough).then_some(()))).await?;
        // The hands that kill do not wait for a good moment.
        if mailman {
            world.house.mailman.kill().await?;
        }
        if postoffice {
            world.house.postoffice.kill().await?;
            world.house.postoffice.start_again().await?;
        }
        if mailman {
            world.house.mailman.start_again().await?;
        }
    }
    stop.send_replace(true);
    senders.join_all().await;
    let wanted = accepted.all();
    eventually("every accepted mail to arrive", async || {
        let arrived = arrived(&world);
        Ok(wanted.iter().all(|id| arrived.contains_key(id)).then_some(()))
    })
    .await?;
    let arrived = arrived(&world);
    let twice: Vec<_> = arrived.iter().filter(|(_, hops)| hops.len() > 1).collect();
    assert!(twice.is_empty(), "the hop made two mails of one: {twice:#?}");
    let copies = world.close().await?;
    // A postoffice that is killed just after a server took a mail cannot know (RFC 1047).
    if !postoffice {
        assert_eq!(copies, arrived.len(), "copies of {} mails", arrived.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_mailman_that_is_killed_again_and_again_loses_nothing_and_repeats_nothing() -> Result<()>
{
    arrives_whatever_is_killed(true, false).await
}

#[tokio::test]
async fn a_postoffice_that_is_killed_again_and_again_loses_nothing() -> Result<()> {
    arrives_whatever_is_killed(false, true).await
}

#[tokio::test]
async fn both_killed_again_and_again_lose_nothing() -> Result<()> {
    arrives_whatever_is_killed(true, true).await
}
