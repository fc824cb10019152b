//! What contents on their way in may keep in memory, in virtual time.

use std::{future::IntoFuture, time::Duration};

use crate::support::{Dialogue, Inbox, Pipes};
use hedwig_smtp::{ServerOptions, policy::allow_all, serve};
use tokio::{
    task::{JoinSet, yield_now},
    time::Instant,
};

const TOO_SLOW: &str = "421 4.4.2 Others wait, and the message comes too slowly, closing";
const MIB: usize = 1024 * 1024;

/// A server for contents up to 4 MiB that has memory for two of them, and a little for small ones.
fn server() -> (Pipes, Inbox) {
    server_with(ServerOptions::default())
}

/// A server that sends no slow client away, and lets whoever waits for memory wait for 20 seconds.
fn patient_server() -> (Pipes, Inbox) {
    let content_wait_max = Duration::from_secs(20);
    server_with(ServerOptions { content_rate_min: 0, content_wait_max, ..Default::default() })
}

fn server_with(options: ServerOptions) -> (Pipes, Inbox) {
    let (pipes, listener) = Pipes::new();
    let inbox = Inbox::default();
    let options = ServerOptions {
        content_bytes_max: 4 * MIB as u64,
        content_memory_bytes: 11 * MIB as u64,
        ..options
    };
    let serve = serve(listener, allow_all(), inbox.service()).options(options);
    tokio::spawn(serve.into_future());
    (pipes, inbox)
}

/// A dialogue in which the content is next.
async fn begun(pipes: &Pipes, mail: &str) -> Dialogue {
    let mut dialogue = pipes.connect().await;
    for line in ["EHLO client.example", mail, "RCPT TO:<b@example.net>", "DATA"] {
        let reply = dialogue.say(line).await;
        assert!(reply.starts_with(['2', '3']), "{line}: {reply}");
    }
    dialogue
}

/// The MAIL command of the largest mail that is taken, which says how large it is.
fn announced() -> String {
    format!("MAIL FROM:<a@example.org> SIZE={}", 4 * MIB)
}

/// Two clients who have sent so much of their content, and hold all the memory there is for large ones.
async fn hold_memory(pipes: &Pipes, sent_bytes: usize) -> Vec<Dialogue> {
    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut dialogue = begun(pipes, &announced()).await;
        dialogue.write(&lines(sent_bytes)).await;
        holders.push(dialogue);
    }
    holders
}

fn lines(bytes: usize) -> String {
    let line = "x".repeat(62) + "\r\n";
    line.repeat(bytes / line.len())
}

#[tokio::test(start_paused = true)]
async fn many_large_mails_at_once_all_arrive_one_after_the_other() {
    let (pipes, inbox) = server();
    let content = lines(3 * MIB);
    let mut clients = JoinSet::new();
    for number in 0..30 {
        let mail = match number % 2 {
            0 => "MAIL FROM:<a@example.org>".to_owned(),
            _ => format!("MAIL FROM:<a@example.org> SIZE={}", content.len()),
        };
        let mut dialogue = begun(&pipes, &mail).await;
        let content = content.clone();
        clients.spawn(async move {
            dialogue.write(&content).await;
            dialogue.say(".").await
        });
    }
    let mut taken = 0;
    while let Some(reply) = clients.join_next().await {
        let reply = reply.unwrap();
        // Who said nothing of its size, and holds what others wait for, may be sent away.
        assert!(reply.starts_with("250 ") || reply.starts_with("452 4.3.1"), "{reply}");
        taken += usize::from(reply.starts_with("250 "));
    }
    assert!(taken >= 15, "all that were announced, and {taken} were taken");
    assert_eq!(inbox.take().len(), taken);
}

#[tokio::test(start_paused = true)]
async fn mails_that_are_larger_than_they_said_do_not_block_each_other() {
    let (pipes, inbox) = patient_server();
    let said = 3 * MIB / 2;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mail = format!("MAIL FROM:<a@example.org> SIZE={said}");
        let mut dialogue = begun(&pipes, &mail).await;
        dialogue.write(&lines(said)).await;
        clients.push(dialogue);
    }
    let mut rest = JoinSet::new();
    for mut dialogue in clients {
        rest.spawn(async move {
            dialogue.write(&lines(130_000)).await;
            dialogue.say(".").await
        });
    }
    for reply in rest.join_all().await {
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert_eq!(inbox.take().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_large_mail_that_is_larger_than_it_said_does_not_give_way_to_small_ones() {
    let (pipes, inbox) = patient_server();
    let mail = format!("MAIL FROM:<a@example.org> SIZE={}", 2 * MIB);
    let mut larger = begun(&pipes, &mail).await;
    larger.write(&lines(2 * MIB)).await;
    let mut holders = hold_memory(&pipes, 2 * MIB).await;
    let mut waiting = JoinSet::new();
    for _ in 0..5 {
        let mut small = begun(&pipes, "MAIL FROM:<a@example.org> SIZE=900000").await;
        waiting.spawn(async move {
            small.write(&lines(850_000)).await;
            small.read_reply().await
        });
    }
    let larger = tokio::spawn(async move {
        larger.write(&lines(130_000)).await;
        larger.say(".").await
    });
    for _ in 0..1000 {
        yield_now().await;
    }
    for holder in &mut holders {
        assert!(holder.say(".").await.starts_with("250 "));
    }
    let reply = larger.await.unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(inbox.take().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_memory_is_told_452_in_the_end_and_may_go_on() {
    let (pipes, inbox) = patient_server();
    let mut holders = hold_memory(&pipes, 3 * MIB).await;
    let begin = Instant::now();
    let mut third = begun(&pipes, &announced()).await;
    third.write(&lines(3 * MIB)).await;
    let reply = third.say(".").await;
    assert_eq!(reply, "452 4.3.1 Too many large messages at once, try again later");
    assert_eq!(begin.elapsed().as_secs(), 20);
    assert!(third.say("NOOP").await.starts_with("250 "));
    for holder in &mut holders {
        assert!(holder.say(".").await.starts_with("250 "));
    }
    assert_eq!(inbox.take().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_left_in_peace_until_others_wait_for_its_memory() {
    let (pipes, inbox) = server();
    let mut slow = hold_memory(&pipes, 2 * MIB).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    for dialogue in &mut slow {
        dialogue.write("still here\r\n").await;
    }
    let mut quick = begun(&pipes, &announced()).await;
    quick.write(&lines(3 * MIB)).await;
    assert!(quick.say(".").await.starts_with("250 "));
    let mut told = 0;
    for dialogue in &mut slow {
        let reply = dialogue.say(".").await;
        told += usize::from(reply == TOO_SLOW);
        assert!(reply == TOO_SLOW || reply.starts_with("250 "), "{reply}");
    }
    assert_eq!(told, 1, "one had to go");
    assert_eq!(inbox.take().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn small_mails_pass_by_large_ones_that_fill_the_memory() {
    let (pipes, inbox) = server();
    let mut holders = Vec::new();
    for _ in 0..8 {
        let mut dialogue = begun(&pipes, "MAIL FROM:<a@example.org>").await;
        let part = lines(3 * MIB);
        holders.push(tokio::spawn(async move {
            dialogue.write(&part).await;
            dialogue
        }));
    }
    for _ in 0..1000 {
        yield_now().await;
    }
    for size in [100, 10_000, 200_000] {
        let mut dialogue = begun(&pipes, "MAIL FROM:<a@example.org>").await;
        dialogue.write(&lines(size)).await;
        assert!(dialogue.say(".").await.starts_with("250 "), "{size}");
    }
    assert_eq!(inbox.take().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn chunks_wait_for_memory_like_any_content() {
    let (pipes, inbox) = patient_server();
    let mut holders = hold_memory(&pipes, 3 * MIB).await;
    let mut third = pipes.connect().await;
    for line in ["EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>"] {
        assert!(third.say(line).await.starts_with("250 "));
    }
    let part = lines(MIB);
    for _ in 0..2 {
        third.write(&format!("BDAT {}\r\n{part}", part.len())).await;
    }
    assert!(third.read_reply().await.starts_with("250 2.0.0 1048576 bytes"));
    assert!(third.read_reply().await.starts_with("452 4.3.1"));
    third.write(&format!("BDAT {} LAST\r\n{part}", part.len())).await;
    assert!(third.read_reply().await.starts_with("503 5.5.1"), "its mail is forgotten");
    drop(holders.pop());
    for line in ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>"] {
        assert!(third.say(line).await.starts_with("250 "));
    }
    third.write(&format!("BDAT {}\r\n{part}BDAT {} LAST\r\n{part}", part.len(), part.len())).await;
    assert!(third.read_reply().await.starts_with("250 2.0.0 1048576 bytes"));
    assert!(third.read_reply().await.starts_with("250 2.0.0 Ok: queued"));
    assert_eq!(inbox.take()[0].content.len(), 2 * MIB);
}
