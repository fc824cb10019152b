//! From a program through `sendmail`, mailman and postoffice to a receiving server.

use std::{fs, net::SocketAddr};

use crate::halves::support::{House, Receiver, all_done, send, text};
use crate::sendmail_support::{Ended, Host, NOBODY};

/// Calls sendmail on a thread of its own: the daemons live on this one.
async fn sendmail(host: Host, arguments: &'static [&str], input: &'static str) -> (Host, Ended) {
    let call = move || {
        let ended = host.sendmail(arguments, input);
        (host, ended)
    };
    tokio::task::spawn_blocking(call).await.unwrap()
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn a_mail_goes_all_the_way_while_the_caller_waits() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(any()).await;
    let mailman = house.mailman(postoffice.address).await;
    let host = Host::new(house.spool("mailman"), mailman.address);
    let message = "To: Bob <bob@example.net>\nBcc: eve@example.net\n\nhello\n";
    let (host, ended) = sendmail(host, &["-ti", "-F", "Alice Doe", "-falice"], message).await;
    ended.with(0);
    let mut recipients = Vec::new();
    while recipients.len() < 2 {
        let mail = house.receiver.next().await;
        recipients.extend(mail.envelope.recipients.iter().map(|r| r.address.to_string()));
        let text = text(&mail);
        assert!(text.contains("From: Alice Doe <alice@example.org>\r\n"), "{text}");
        assert!(text.ends_with("To: Bob <bob@example.net>\r\n\r\nhello\r\n"), "{text}");
        assert!(text.contains("by mailman.example.org") && !text.contains("eve@"), "{text}");
    }
    recipients.sort();
    assert_eq!(recipients, ["bob@example.net", "eve@example.net"]);
    assert!(host.drops().is_empty(), "nothing was dropped");
    mailman.stop().await;
    postoffice.stop().await;
}

#[tokio::test]
async fn what_was_dropped_while_the_daemon_was_down_goes_on_when_it_starts() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(any()).await;
    let spool = house.spool("mailman");
    fs::create_dir(&spool).unwrap();
    let (host, ended) = sendmail(Host::new(spool, NOBODY), &["bob@example.net"], "hello\n").await;
    ended.with(0);
    assert_eq!(host.drops().len(), 1);
    let mailman = house.mailman(postoffice.address).await;
    let mail = house.receiver.next().await;
    let text = text(&mail);
    assert!(text.contains("by mailman.example.org (Hedwig) id "), "{text}");
    assert!(text.ends_with("\r\n\r\nhello\r\n"), "{text}");
    assert!(host.drops().is_empty());
    mailman.stop().await;
    postoffice.stop().await;
    assert!(house.receiver.is_idle());
    let left = |name| fs::read_dir(host.spool.join(name)).unwrap().count();
    assert_eq!((left("drop-taken"), left("drop-refused")), (0, 0));
}

#[tokio::test]
async fn a_nul_is_refused_at_once_whether_the_daemon_is_up_or_not() {
    let mut house = House::new().await;
    let mailman = house.mailman("127.0.0.1:9".parse().unwrap()).await;
    let message = "Subject: x\n\na\0b\n";
    for server in [mailman.address.to_string(), NOBODY.to_owned()] {
        let host = Host::new(house.spool("mailman"), server);
        let (host, ended) = sendmail(host, &["bob@example.net"], message).await;
        let ended = ended.with(65);
        assert!(ended.error.contains("line 3 of the message has a NUL"), "{ended:?}");
        assert!(host.drops().is_empty());
    }
    mailman.stop().await;
}

#[tokio::test]
async fn each_recipient_is_taken_refused_or_dropped_as_the_server_says() {
    let mut receiver = Receiver::start().await;
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path()).at(receiver.address);
    let arguments = &["bob@example.net", "later@example.net", "nobody@example.net"];
    let (host, ended) = sendmail(host, arguments, "hello\n").await;
    let ended = ended.with(67);
    assert!(ended.error.contains("nobody@example.net: 550 5.1.1 No such user"), "{ended:?}");
    let taken = receiver.next().await;
    assert_eq!(taken.envelope.recipients.len(), 1);
    assert_eq!(taken.envelope.recipients[0].address.as_str(), "bob@example.net");
    let dropped = host.drop();
    assert!(dropped.contains("later@") && !dropped.contains("bob@"), "{dropped}");
    assert!(!dropped.contains("nobody@"), "{dropped}");
}

/// What `-bs` answers at the end of a mail from this sender to these.
async fn talk(host: Host, sender: &'static str, recipients: &[&str]) -> String {
    let recipients: String =
        recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n")).collect();
    let dialogue = format!(
        "HELO here\r\nMAIL FROM:<{sender}>\r\n{recipients}DATA\r\nSubject: hi\r\n\r\nhello\r\n.\r\nQUIT\r\n"
    );
    let call = move || host.sendmail(&["-bs"], &dialogue).with(0).output;
    let output = tokio::task::spawn_blocking(call).await.unwrap();
    let (_, after_data) = output.split_once("\r\n354 ").unwrap();
    let (_, answer) = after_data.split_once("\r\n").unwrap();
    answer.split_once("221 ").unwrap().0.to_owned()
}

#[tokio::test]
async fn whoever_is_refused_behind_smtp_on_standard_input_is_reported_to_the_sender() {
    let mut receiver = Receiver::start().await;
    let directory = tempfile::tempdir().unwrap();
    let address = receiver.address;
    let host = || Host::new(directory.path().join("missing"), address);
    let to = ["bob@example.net", "nobody@example.net", "later@example.net"];
    // The one that is put off cannot be dropped either, for there is no spool.
    for (sender, told) in
        [("alice@example.net", "alice@example.net"), ("root@app", "root@example.org")]
    {
        let answer = talk(host(), sender, &to).await;
        assert!(answer.starts_with("250 2.0.0 "), "{answer}");
        let taken = receiver.next().await;
        assert_eq!(taken.envelope.recipients.len(), 1, "bob alone");
        let report = receiver.next().await;
        assert_eq!(report.envelope.sender, hedwig_envelope::ReversePath::Null);
        assert_eq!(report.envelope.recipients[0].address.as_str(), told);
        let text = text(&report);
        for part in [
            "Reporting-MTA: dns; host.example.org\r\n",
            "Final-Recipient: rfc822; nobody@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            "Final-Recipient: rfc822; later@example.net\r\nAction: failed\r\nStatus: 4.7.1\r\n",
            "\r\nhello\r\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("rfc822; bob@"), "{text}");
    }
}

#[tokio::test]
async fn where_no_report_can_be_left_the_reply_names_whoever_was_refused() {
    let mut receiver = Receiver::start().await;
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path()).at(receiver.address);
    let to = ["bob@example.net", "nobody@example.net"];
    let answer = talk(host, "nobody@example.org", &to).await;
    assert_eq!(
        answer,
        "554-5.3.0 Taken for others, but not for 1 of the recipients:\r\n\
         554 5.3.0 nobody@example.net: 550 5.1.1 No such user here\r\n"
    );
    receiver.next().await;
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn dsn_flags_reach_the_server() {
    let mut receiver = Receiver::start().await;
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path()).at(receiver.address);
    let arguments = &["-Nsuccess,failure", "-Rhdrs", "-VQQ1", "-f", "", "bob@example.net"];
    sendmail(host, arguments, "hello\n").await.1.with(0);
    let taken = receiver.next().await;
    assert_eq!(taken.envelope.sender, hedwig_envelope::ReversePath::Null);
    assert_eq!(taken.envelope.parameters.envid.as_deref(), Some("QQ1"));
    assert_eq!(taken.envelope.parameters.ret, Some(hedwig_envelope::Ret::Hdrs));
    let notify = taken.envelope.recipients[0].notify.unwrap();
    assert!(notify.success && notify.failure && !notify.delay);
}

#[tokio::test]
async fn a_local_programs_mail_over_smtp_is_completed() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(any()).await;
    let mailman = house.mailman(postoffice.address).await;
    let outcomes = send(mailman.address, &["bob@example.net"]).await;
    assert!(all_done(&outcomes));
    let text = text(&house.receiver.next().await);
    assert!(text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <"), "{text}");
    assert_eq!(text.matches("From: ").count(), 1, "{text}");
    mailman.stop().await;
    postoffice.stop().await;
}
