//! Mails a second through client and server in one process, 4 KiB each: one caller, and 64 at once.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use hedwig_envelope::{
    Address, BoxError, Content, Envelope, Mail, MailId, MailStatus, Origin, Outcome, Receipt,
    Reply, Status, Timestamp,
};
use hedwig_transport::{Client, ClientOptions, MessagesOptions, messages, serve};
use tokio::{net::TcpListener, runtime::Runtime};
use tower::{ServiceExt, service_fn};

fn hop(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let client = runtime.block_on(start());
    let mail = mail();
    let mut group = criterion.benchmark_group("hop, 4 KiB");
    for callers in [1, 64] {
        group.throughput(Throughput::Elements(callers));
        group.bench_function(format!("{callers} callers"), |bencher| {
            bencher.to_async(&runtime).iter(|| {
                let calls = (0..callers).map(|_| client.clone().oneshot(numbered(&mail)));
                async { assert!(join_all(calls).await.iter().all(Result::is_ok)) }
            });
        });
    }
}

/// A server that takes everything, and a client for it.
async fn start() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let take = service_fn(|mail: Mail| async move {
        let outcome = Outcome::of_reply(Reply::with_status(250, Status::OK, "Ok"), None);
        Ok::<_, BoxError>(Receipt::uniform(mail.id, mail.envelope.recipients.len(), outcome))
    });
    let track = service_fn(|_: MailId| async { Ok::<Option<MailStatus>, BoxError>(None) });
    let options = MessagesOptions { open: true, ..MessagesOptions::default() };
    tokio::spawn(serve(listener, messages(take, track, options)).into_future());
    Client::new(ClientOptions { urls: vec![url], ..ClientOptions::default() }).expect("a client")
}

fn mail() -> Mail {
    let now = Timestamp::now();
    let sender: Address = "a@example.org".parse().expect("an address");
    let recipient: Address = "b@example.net".parse().expect("an address");
    let line = format!("{}\r\n", "x".repeat(62));
    Mail {
        id: MailId::new(now, 0),
        envelope: Envelope::new(sender, [recipient]),
        content: Content::new(format!("Subject: x\r\n\r\n{}", line.repeat(64)).into()),
        origin: Origin::local(now),
    }
}

fn numbered(mail: &Mail) -> Mail {
    Mail { id: MailId::new(mail.origin.received_at, fastrand::u128(..)), ..mail.clone() }
}

criterion_group!(benches, hop);
criterion_main!(benches);
