//! A content ends at CRLF.CRLF and nowhere else, and what looks like an end never gets out as it came: another server
//! might take it for one, and what follows for a second mail (SMTP smuggling).

use hedwig_lab::{Result, World};

use crate::hostile::{
    SIZE_MAX, arrived_for, assert_others_are_served, lenient, mails_for, raw::Raw, strict,
};

/// What some server somewhere takes for the end of a content.
const LOOKALIKES: [&str; 15] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r.\n",
    "\n.\r",
    "\r\n.\r\r\n",
    "\r\r\n.\n",
    "\n\n.\n\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\0\n.\n\0",
    "\r\n\r.\r\n",
];

/// What a strict server says to a content with this in it: only whole line ends, and no NUL (RFC 5321 §2.3.8, §4.5.2).
fn verdict(lookalike: &str) -> u16 {
    if lookalike.replace("\r\n", "").contains(['\r', '\n', '\0']) { 554 } else { 250 }
}

/// A second mail, for a server that thinks that the first one is over.
const SMUGGLED: &str = "MAIL FROM:<admin@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n\
    Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n";

/// What DATA is followed by: one mail whose middle looks like its end.
fn content_with(lookalike: &str) -> String {
    format!("Subject: first\r\n\r\nfirst{lookalike}{SMUGGLED}QUIT\r\n")
}

async fn assert_nothing_was_smuggled(world: &World, name: &str) -> Result<()> {
    assert_others_are_served(world).await?;
    assert_eq!(arrived_for(world, "victim@example.com"), 0, "{name}");
    Ok(())
}

#[tokio::test]
async fn what_looks_like_an_end_is_refused_where_a_network_comes_in() -> Result<()> {
    let world = strict().await?;
    for lookalike in LOOKALIKES {
        let name = lookalike.escape_debug().to_string();
        let mut raw = Raw::in_data(world.house.smtp(), "bob@example.com").await?;
        raw.send(content_with(lookalike)).await;
        // One reply to the content, and one to QUIT: nothing in between was a command.
        let codes = raw.codes_to_the_end().await?;
        assert_eq!(codes, [verdict(lookalike), 221], "{name}");
        assert_nothing_was_smuggled(&world, &name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_looks_like_an_end_is_made_harmless_where_local_programs_come_in() -> Result<()> {
    let world = lenient().await?;
    // A line end is meant by whoever sends one that is not whole; a NUL is not text at all.
    let (binary, mendable): (Vec<_>, Vec<_>) =
        LOOKALIKES.into_iter().partition(|lookalike| lookalike.contains('\0'));
    for lookalike in binary {
        let mut raw = Raw::in_data(world.house.smtp(), "bob@example.com").await?;
        raw.send(content_with(lookalike)).await;
        assert_eq!(raw.codes_to_the_end().await?, [554, 221], "{}", lookalike.escape_debug());
    }
    for (count, lookalike) in mendable.into_iter().enumerate() {
        let name = lookalike.escape_debug().to_string();
        let mut raw = Raw::in_data(world.house.smtp(), "bob@example.com").await?;
        raw.send(content_with(lookalike)).await;
        assert_eq!(raw.codes_to_the_end().await?, [250, 221], "{name}");
        // It arrives whole, what was to be smuggled in it, at a server that bears no bare line end.
        let mails = hedwig_lab::eventually("the mail", async || {
            let mails = mails_for(&world, "bob@example.com");
            Ok((mails.len() > count).then_some(mails))
        });
        let mails = mails.await?;
        assert!(mails.iter().all(|mail| mail.contains("RCPT TO:<victim@example.com>")), "{name}");
        assert_nothing_was_smuggled(&world, &name).await?;
    }
    Ok(())
}

/// Nobody could be told later: the postoffice takes neither such a mail nor a report that returns it.
#[tokio::test]
async fn a_nul_is_refused_at_once_while_the_postoffice_is_away() -> Result<()> {
    for mut world in [strict().await?, lenient().await?] {
        world.house.postoffice.stop().await?;
        let mut raw = Raw::in_data(world.house.smtp(), "bob@example.com").await?;
        let reply = raw.say("Subject: a\0b\r\n\r\n.\r\n", 554).await?;
        assert!(reply.starts_with("554 5.6.0 "), "{reply}");
        raw.say("MAIL FROM:<mallory@geneegroup.com>\r\n", 250).await?;
        raw.say("RCPT TO:<bob@example.com>\r\n", 250).await?;
        raw.say("BDAT 6 LAST\r\n\r\na\0\r\n", 554).await?;
        assert!(world.house.mailman.queue_list().await?.is_empty());
        // A binary mail may have one, and goes on.
        raw.say("MAIL FROM:<mallory@geneegroup.com> BODY=BINARYMIME\r\n", 250).await?;
        raw.say("RCPT TO:<bob@example.com>\r\n", 250).await?;
        raw.say("BDAT 6 LAST\r\n\r\na\0\r\n", 250).await?;
        assert_eq!(world.house.mailman.queue_list().await?.len(), 1);
        world.house.postoffice.start_again().await?;
        world.receiver.wait_for(1).await?;
        assert!(mails_for(&world, "bob@example.com")[0].ends_with("\r\n\r\na\0\r\n"));
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_smuggled_behind_a_content_that_is_too_large() -> Result<()> {
    for world in [strict().await?, lenient().await?] {
        for lookalike in LOOKALIKES {
            let name = lookalike.escape_debug().to_string();
            let mut raw = Raw::in_data(world.house.smtp(), "bob@example.com").await?;
            raw.send("Subject: large\r\n\r\n").await;
            raw.send("x".repeat(70).repeat(SIZE_MAX / 70 + 2)).await;
            raw.send(format!("{lookalike}{SMUGGLED}QUIT\r\n")).await;
            assert_eq!(raw.codes_to_the_end().await?, [552, 221], "{name}");
            assert_nothing_was_smuggled(&world, &name).await?;
        }
        assert_eq!(arrived_for(&world, "bob@example.com"), 0);
    }
    Ok(())
}

#[tokio::test]
async fn chunks_are_counted_and_not_read() -> Result<()> {
    let world = strict().await?;
    for lookalike in LOOKALIKES {
        let name = lookalike.escape_debug().to_string();
        let mut raw = Raw::greeted(world.house.smtp()).await?;
        raw.say("MAIL FROM:<mallory@geneegroup.com>\r\n", 250).await?;
        raw.say("RCPT TO:<bob@example.com>\r\n", 250).await?;
        let content = format!("Subject: first\r\n\r\nfirst{lookalike}{SMUGGLED}");
        let (first, last) = content.split_at(content.len() / 2);
        raw.send(format!("BDAT {}\r\n{first}", first.len())).await;
        raw.send(format!("BDAT {} LAST\r\n{last}QUIT\r\n", last.len())).await;
        assert_eq!(raw.codes_to_the_end().await?, [250, verdict(lookalike), 221], "{name}");
        assert_nothing_was_smuggled(&world, &name).await?;
    }
    Ok(())
}

/// Where a refused chunk ends, commands go on; where that is not known, nothing does.
#[tokio::test]
async fn a_refused_chunk_is_not_read_as_commands() -> Result<()> {
    let world = strict().await?;
    let large = SIZE_MAX + 1;
    let rows: [(&str, String, &[u16]); 7] = [
        ("a chunk without a mail", format!("BDAT {} LAST\r\n{SMUGGLED}", SMUGGLED.len()), &[503]),
        ("a chunk that is too large", format!("BDAT {large}\r\n{}", "x".repeat(large)), &[503]),
        ("a size that is no number", format!("BDAT x\r\n{SMUGGLED}"), &[501]),
        ("a size below zero", format!("BDAT -1 LAST\r\n{SMUGGLED}"), &[501]),
        ("no size", format!("BDAT\r\n{SMUGGLED}"), &[501]),
        (
            "a size beyond all numbers",
            format!("BDAT {} LAST\r\n{SMUGGLED}", "9".repeat(40)),
            &[501],
        ),
        ("a size with a word behind it", format!("BDAT 3 LASTS\r\n{SMUGGLED}"), &[501]),
    ];
    for (name, text, expected) in rows {
        let mut raw = Raw::greeted(world.house.smtp()).await?;
        raw.send(format!("{text}QUIT\r\n")).await;
        let codes = raw.codes_to_the_end().await?;
        let ended_there = codes == expected;
        let went_on_behind_it = codes == [expected, &[221]].concat();
        assert!(ended_there || went_on_behind_it, "{name}: {codes:?}");
        assert_nothing_was_smuggled(&world, name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn commands_end_in_crlf_alone() -> Result<()> {
    let world = strict().await?;
    let rows: [(&str, &str, &[u16]); 4] = [
        ("LF", "NOOP\nMAIL FROM:<a@geneegroup.com>\r\nQUIT\r\n", &[500, 221]),
        ("CR", "NOOP\rMAIL FROM:<a@geneegroup.com>\r\nQUIT\r\n", &[501, 221]),
        ("NUL", "NOOP\0\r\nQUIT\r\n", &[501, 221]),
        ("an LF in an address", "MAIL FROM:<a\nRSET\n@geneegroup.com>\r\nQUIT\r\n", &[500, 221]),
    ];
    for (name, text, expected) in rows {
        let mut raw = Raw::greeted(world.house.smtp()).await?;
        raw.send(text).await;
        let codes = raw.codes_to_the_end().await?;
        let same = codes.len() == expected.len()
            && codes.iter().zip(expected).all(|(code, expected)| code / 100 == expected / 100);
        assert!(same, "{name}: {codes:?}");
        assert_nothing_was_smuggled(&world, name).await?;
    }
    Ok(())
}
