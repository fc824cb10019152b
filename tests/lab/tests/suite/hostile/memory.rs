//! What many clients at once cost mailman: a hundred mebibytes at the most, whatever they do.

use hedwig_lab::{BoxError, Half, HouseOptions, Result, World};
use tokio::task::JoinSet;

use crate::hostile::{arrived_for, assert_others_are_served, raw::Raw, start_with};

const MEMORY_BYTES_MAX: u64 = 100 << 20;

/// A house whose mailman takes large mails, and as many connections from this host as there are.
async fn roomy() -> Result<World> {
    start_with(|options: HouseOptions| {
        let mailman = options.mailman.set(Half::Mailman, "smtp", "connections_per_client", "2000");
        HouseOptions { mailman, ..options }
    })
    .await
}

fn assert_memory_was_bounded(world: &mut World) -> Result<()> {
    let bytes = world.house.mailman.process().peak_memory_bytes()?;
    assert!(bytes < MEMORY_BYTES_MAX, "mailman had {} MiB", bytes >> 20);
    println!("mailman had {} MiB at the most", bytes >> 20);
    Ok(())
}

#[tokio::test]
async fn a_thousand_connections_that_trickle_cost_little() -> Result<()> {
    let mut world = roomy().await?;
    let mut connections = Vec::new();
    for count in 0..1000 {
        let recipient = format!("trickle{count}@example.com");
        connections.push(Raw::in_data(world.house.smtp(), &recipient).await?);
    }
    for byte in "Subject: drops\r\n\r\nslow".bytes() {
        for raw in &mut connections {
            raw.send([byte]).await;
        }
    }
    assert_others_are_served(&world).await?;
    for raw in &mut connections {
        raw.send("\r\n.\r\n").await;
    }
    for raw in &mut connections {
        raw.expect(250).await?;
    }
    assert_memory_was_bounded(&mut world)
}

/// Half a mebibyte each, which is as much as all may have together, for a build without optimisation reads slowly. Who
/// waits too long for memory is told to come again, and nobody is told what is not true.
#[tokio::test]
async fn two_hundred_large_mails_at_once_share_a_bounded_memory() -> Result<()> {
    let mut world = roomy().await?;
    let server = world.house.smtp();
    let mut senders = JoinSet::new();
    for count in 0..200 {
        senders.spawn(async move {
            let recipient = format!("large{count}@example.com");
            let mut raw = Raw::in_data(server, &recipient).await?;
            raw.send("Subject: large\r\n\r\n").await;
            for _ in 0..8 {
                raw.send("x".repeat(62).repeat(1024) + "\r\n").await;
            }
            raw.send("\r\n.\r\n").await;
            Ok::<_, BoxError>((recipient, raw.reply().await?))
        });
    }
    assert_others_are_served(&world).await?;
    let mut taken = Vec::new();
    for sent in senders.join_all().await {
        match sent? {
            (recipient, Some(reply)) if reply.starts_with("250 ") => taken.push(recipient),
            (_, Some(reply)) if reply.starts_with("452 4.3.1") => {}
            (recipient, reply) => panic!("{recipient} is told {reply:?}"),
        }
    }
    assert!(!taken.is_empty(), "large mails are taken, too");
    assert_memory_was_bounded(&mut world)?;
    hedwig_lab::eventually("all that were taken, and no other", async || {
        let arrived =
            (0..200).filter(|n| arrived_for(&world, &format!("large{n}@example.com")) == 1);
        Ok((arrived.count() == taken.len()).then_some(()))
    })
    .await
}
