//! Whatever a client may make a server keep or wait for has an end, with a reply that says so.

use hedwig_lab::Result;

use crate::hostile::{arrived_for, assert_others_are_served, raw::Raw, strict};

/// So many connections are taken from one address (`ServerOptions::connections_per_address_max`).
const CONNECTIONS_PER_ADDRESS_MAX: usize = 100;

#[tokio::test]
async fn an_endless_line_is_refused_once_and_nothing_of_it_is_a_command() -> Result<()> {
    let world = strict().await?;
    let mut raw = Raw::greeted(world.house.smtp()).await?;
    raw.say(&format!("MAIL FROM:<{}", "a".repeat(1 << 20)), 500).await?;
    assert_others_are_served(&world).await?;
    raw.send("\r\nQUIT\r\n").await;
    assert_eq!(raw.codes_to_the_end().await?, [221]);
    Ok(())
}

#[tokio::test]
async fn parameters_without_end_are_refused() -> Result<()> {
    let world = strict().await?;
    let many = format!("MAIL FROM:<a@geneegroup.com>{}\r\n", " X=Y".repeat(900));
    let long = format!("MAIL FROM:<a@geneegroup.com> ENVID={}\r\n", "e".repeat(3000));
    let twice = "MAIL FROM:<a@geneegroup.com> SIZE=1 SIZE=2\r\n".to_owned();
    let local = format!("RCPT TO:<{}@example.com>\r\n", "l".repeat(3000));
    for (name, line) in [("many", many), ("long", long), ("twice", twice), ("local", local)] {
        let mut raw = Raw::greeted(world.house.smtp()).await?;
        if line.starts_with("RCPT") {
            raw.say("MAIL FROM:<a@geneegroup.com>\r\n", 250).await?;
        }
        let reply = raw.say(&line, 5).await.map_err(|error| format!("{name}: {error}"))?;
        assert!(reply.len() < 600, "{name}: the reply is as long as what it refuses: {reply}");
        raw.say("NOOP\r\n", 250).await?;
    }
    assert_others_are_served(&world).await
}

#[tokio::test]
async fn recipients_have_an_end_and_those_before_it_get_their_mail() -> Result<()> {
    let world = strict().await?;
    let mut raw = Raw::greeted(world.house.smtp()).await?;
    raw.say("MAIL FROM:<mallory@geneegroup.com>\r\n", 250).await?;
    let mut taken = 0;
    let refusal = loop {
        raw.send(format!("RCPT TO:<r{taken}@example.com>\r\n")).await;
        match raw.reply().await? {
            Some(reply) if reply.starts_with("250") => taken += 1,
            other => break other,
        }
        assert!(taken <= 100_000, "there is no end");
    };
    assert!(refusal.is_some_and(|reply| reply.starts_with("452 4.5.3")));
    // RFC 5321 §4.5.3.1.8: at least a hundred.
    assert!(taken >= 100, "{taken}");
    assert_others_are_served(&world).await?;
    raw.say("DATA\r\n", 354).await?;
    raw.say("Subject: many\r\n\r\n.\r\n", 250).await?;
    hedwig_lab::eventually("the last recipient's mail", async || {
        let last = format!("r{}@example.com", taken - 1);
        Ok((arrived_for(&world, &last) == 1).then_some(()))
    })
    .await
}

#[tokio::test]
async fn errors_and_idle_commands_have_an_end() -> Result<()> {
    let world = strict().await?;
    for line in ["WHAT\r\n", "NOOP\r\n", "RSET\r\n", "RCPT TO:<nobody>\r\n", "EHLO again\r\n"] {
        let mut raw = Raw::greeted(world.house.smtp()).await?;
        raw.send(line.repeat(1000)).await;
        assert_others_are_served(&world).await?;
        let codes = raw.codes_to_the_end().await?;
        assert_eq!(codes.last(), Some(&421), "{line:?}: {codes:?}");
        assert!(codes.len() < 300, "{line:?}: {}", codes.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_from_one_address_is_turned_away_and_others_are_let_in() -> Result<()> {
    let world = strict().await?;
    let server = world.house.smtp();
    let mut flood = Vec::new();
    for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
        let mut raw = Raw::connect(server).await?;
        raw.expect(220).await?;
        flood.push(raw);
    }
    let mut refused = Raw::connect(server).await?;
    let reply = refused.expect(421).await?;
    assert!(reply.contains("Too many connections"), "{reply}");
    assert_eq!(refused.reply().await?, None);

    let mut elsewhere = Raw::from("127.0.0.2", server).await?;
    elsewhere.expect(220).await?;
    elsewhere.say("EHLO elsewhere.example\r\n", 250).await?;
    elsewhere.say("MAIL FROM:<a@geneegroup.com>\r\n", 250).await?;
    elsewhere.say("RCPT TO:<bob@example.com>\r\n", 250).await?;
    elsewhere.say("DATA\r\n", 354).await?;
    elsewhere.say("Subject: elsewhere\r\n\r\n.\r\n", 250).await?;

    drop(flood);
    hedwig_lab::eventually("room again", async || {
        let mut raw = Raw::connect(server).await?;
        Ok(raw.expect(220).await.is_ok().then_some(()))
    })
    .await
}

/// Each says a little and then nothing more, at another place of the dialogue.
#[tokio::test]
async fn clients_that_stop_in_the_middle_hold_nobody_up() -> Result<()> {
    let world = strict().await?;
    let server = world.house.smtp();
    let mut stuck = Vec::new();
    for text in ["", "EH", "EHLO a", "EHLO a\r\nMAIL", "EHLO a\r\nMAIL FROM:<a@geneegroup.com>\r\n"]
    {
        let mut raw = Raw::connect(server).await?;
        raw.send(text).await;
        stuck.push(raw);
    }
    let mut content = Raw::in_data(server, "bob@example.com").await?;
    content.send("Subject: half\r\n\r\nhal").await;
    stuck.push(content);
    let mut chunk = Raw::greeted(server).await?;
    chunk.say("MAIL FROM:<a@geneegroup.com>\r\n", 250).await?;
    chunk.say("RCPT TO:<bob@example.com>\r\n", 250).await?;
    chunk.send("BDAT 1000 LAST\r\nhalf").await;
    stuck.push(chunk);
    assert_others_are_served(&world).await?;
    // Who hangs up in the middle of a mail has sent none.
    drop(stuck);
    assert_others_are_served(&world).await?;
    assert_eq!(arrived_for(&world, "bob@example.com"), 0);
    Ok(())
}
