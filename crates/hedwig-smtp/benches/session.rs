//! What a command and a whole mail cost without a socket.

use std::{hint::black_box, sync::Arc, time::Instant};

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hedwig_envelope::{Reply, Status};
use hedwig_smtp::{
    Command, ServerOptions, Session as _,
    server::{Event, Session},
};

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    for (name, line) in [
        ("MAIL", "MAIL FROM:<alice@example.org> SIZE=4096 BODY=8BITMIME"),
        ("RCPT", "RCPT TO:<bob@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;bob@example.net"),
        ("EHLO", "EHLO client.example.org"),
        ("DATA", "DATA"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Command::parse(black_box(line.as_bytes())));
        });
    }
}

fn transactions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transaction");
    for (name, size) in [("4 KiB", 4096), ("1 MiB", 1024 * 1024)] {
        let content = message(size);
        group.throughput(Throughput::Bytes(content.len() as u64));
        let data = format!("DATA\r\n{content}.\r\n");
        let chunk = format!("BDAT {} LAST\r\n{content}", content.len());
        for (how, rest) in [("DATA", data), ("BDAT", chunk)] {
            let begin = "MAIL FROM:<alice@example.org> SIZE=4096\r\nRCPT TO:<bob@example.net>\r\n";
            let input = format!("{begin}{rest}");
            group.bench_function(format!("{how} {name}"), |bencher| {
                let (mut session, now) = greeted();
                bencher.iter_batched(
                    || BytesMut::from(input.as_bytes()),
                    |mut input| take_mail(&mut session, &mut input, now),
                    BatchSize::LargeInput,
                );
            });
        }
    }
}

/// Lines as mails have them.
fn message(size: usize) -> String {
    let line = format!("{}\r\n", "x".repeat(70));
    line.repeat(size / line.len())
}

fn greeted() -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(ServerOptions::default()), None, false, now);
    let mut input = BytesMut::from("EHLO client.example.org\r\n");
    answer(&mut session, &mut input, now);
    (session, now)
}

fn take_mail(session: &mut Session, input: &mut BytesMut, now: Instant) {
    assert!(answer(session, input, now), "the mail has come");
}

/// Answers all that is asked; whether a mail came.
fn answer(session: &mut Session, input: &mut BytesMut, now: Instant) -> bool {
    let taken = Reply::with_status(250, Status::OK, "Ok: queued");
    let mut output = BytesMut::new();
    let mut has_mail = false;
    session.receive(input, now);
    while let Some(event) = session.poll_event() {
        match event {
            Event::Question(question) => session.reply(&question.yes()),
            Event::Mail { content, .. } => {
                black_box(content);
                has_mail = true;
                session.reply(&taken)
            }
            other => panic!("{other:?}"),
        }
        .expect("the session asked");
        session.receive(input, now);
    }
    while session.poll_transmit(&mut output) {}
    black_box(output);
    has_mail
}

criterion_group!(benches, commands, transactions);
criterion_main!(benches);
