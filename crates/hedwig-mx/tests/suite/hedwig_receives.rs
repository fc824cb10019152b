//! Our own server as the receiver: CHUNKING, pipelining, many mails at once.

use crate::support::{Dns, loopback, mail, mx, options, outcomes, short};
use hedwig_envelope::{Content, Reply, Status};
use hedwig_lab::{Receiver, Step};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_mails_go_over_few_connections_and_arrive_as_they_were() {
    let (dns, receiver) = (Dns::start().await.unwrap(), Receiver::start().await.unwrap());
    dns.mail_domain("example.com", loopback(1)).await;
    receiver.script(|step| {
        let refused = step.recipient()?.starts_with("nobody");
        let reply = Reply::with_status(550, Status::permanent(1, 1), "no such user");
        (refused && matches!(step, Step::Question(_))).then_some(reply)
    });
    let mx = mx(&dns, options(receiver.address().port()));
    let body = "From: alice@sender.example\r\n\r\n.\r\n..\r\n8-bit: \u{fc}\r\n \r\n\r\n";
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let mx = mx.clone();
            let mut mail = mail(["a@example.com", "nobody@example.com", "b@example.com"]);
            mail.content = Content::new(format!("Subject: {number}\r\n{body}").into());
            tokio::spawn(async move { outcomes(&mx, mail).await.iter().map(short).collect() })
        })
        .collect();
    for task in tasks {
        let words: Vec<String> = task.await.unwrap();
        assert_eq!(words, ["done 2.0.0", "failed 5.1.1", "done 2.0.0"]);
    }
    let taken = receiver.wait_for(40).await.unwrap();
    let mut contents: Vec<String> = taken
        .iter()
        .map(|mail| String::from_utf8(mail.content.to_bytes().to_vec()).unwrap())
        .collect();
    contents.sort();
    let mut sent: Vec<String> = (0..40).map(|n| format!("Subject: {n}\r\n{body}")).collect();
    sent.sort();
    assert_eq!(contents, sent);
    assert!(taken.iter().all(|mail| mail.envelope.recipients.len() == 2));
    assert!(mx.reused_connections() >= 20, "{}", mx.reused_connections());
}
