use super::*;
use crate::{Address, Outcome, Relay, Reply, Status};

fn mail(sender: &str, recipients: &[&str]) -> Mail {
    let now = Timestamp::from_second(1_795_000_000).unwrap();
    let recipients = recipients.iter().map(|r| r.parse::<Address>().unwrap());
    Mail {
        id: MailId::new(now, 7),
        envelope: Envelope::new(sender.parse::<ReversePath>().unwrap(), recipients),
        content: Content::from("Subject: hi\r\nFrom: a@b\r\n\r\nThe body\r\n"),
        origin: Origin::local(now),
    }
}

fn refusal() -> Outcome {
    let relay = Relay::of("mx.example.net");
    let reply = Reply::with_status(550, Status::permanent(1, 1), "No such user");
    Outcome::of_reply(reply, Some(relay))
}

fn report_of(mail: &Mail, recipients: &[Told<'_>]) -> Option<String> {
    let until = mail.origin.received_at + jiff::SignedDuration::from_hours(120);
    let report =
        Report { reporting_mta: "mail.example.org", mail, recipients, retry_until: Some(until) };
    let id = MailId::new(mail.origin.received_at, 8);
    let told = report.to_mail(id, mail.origin.received_at)?;
    assert_eq!(told.envelope.sender, ReversePath::Null);
    assert_eq!(told.envelope.recipients[0].address.as_str(), "sender@example.org");
    Some(String::from_utf8(told.content.to_bytes().to_vec()).unwrap())
}

fn report(mail: &Mail, action: Action) -> Option<String> {
    let outcome = refusal();
    report_of(mail, &[Told::new(0, action, outcome.answer())])
}

#[test]
fn a_failure_names_the_recipient_the_server_and_its_words() {
    let mut mail = mail("sender@example.org", &["b@example.net", "c@example.net"]);
    mail.envelope.parameters.envid = Some("QQ314".into());
    mail.envelope.recipients[0].original = "rfc822;B+40example.net".parse().ok();
    mail.origin.hello = Some("app.example.org".into());
    let text = report(&mail, Action::Failed).unwrap();
    for line in [
        "Original-Envelope-Id: QQ314",
        "Reporting-MTA: dns; mail.example.org",
        "Received-From-MTA: dns; app.example.org",
        "Original-Recipient: rfc822; B@example.net",
        "Final-Recipient: rfc822; b@example.net",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.example.net",
        "Diagnostic-Code: smtp; 550 5.1.1 No such user",
        &format!("Final-Log-ID: {}", mail.id),
        "    There is no such address.",
        "    Who can mend it: you.",
        "The body",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("c@example.net"));
    assert!(!text.contains("Will-Retry-Until"));
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
}

#[test]
fn a_delay_tells_until_when_it_is_tried() {
    let text = report(&mail("sender@example.org", &["b@example.net"]), Action::Delayed).unwrap();
    assert!(text.contains("\r\nWill-Retry-Until: Mon, 23 Nov 2026 11:06:40 +0000\r\n"), "{text}");
    assert!(text.contains("\r\nStatus: 4.1.1\r\n"), "{text}");
    assert!(!text.contains("The body"), "only a failure returns the mail whole");
}

#[test]
fn what_a_client_calls_itself_is_told_only_when_it_is_a_name() {
    let mut mail = mail("sender@example.org", &["b@example.net"]);
    mail.origin.hello = Some("x\r\nAction: delivered".into());
    let text = report(&mail, Action::Failed).unwrap();
    assert!(!text.contains("Received-From-MTA") && !text.contains("Action: delivered"), "{text}");
}

#[test]
fn nobody_is_told_of_a_mail_from_the_null_sender() {
    assert_eq!(report(&mail("", &["b@example.net"]), Action::Failed), None);
}

#[test]
fn only_those_are_told_who_asked() {
    let mut mail = mail("sender@example.org", &["b@example.net"]);
    assert_eq!(report(&mail, Action::Relayed), None);
    mail.envelope.recipients[0].notify = "SUCCESS".parse().ok();
    assert!(report(&mail, Action::Relayed).is_some());
    assert_eq!(report(&mail, Action::Failed), None);
}

#[test]
fn a_trace_is_told_unasked_but_not_to_those_who_want_to_hear_nothing() {
    let mut mail = mail("sender@example.org", &["b@example.net"]);
    let outcome = refusal();
    let trace = Told { unasked: true, ..Told::new(0, Action::Relayed, outcome.answer()) };
    assert!(report_of(&mail, &[trace]).is_some());
    mail.envelope.recipients[0].notify = Some(Notify::NEVER);
    assert_eq!(report_of(&mail, &[trace]), None);
}

#[test]
fn recipients_that_ended_together_share_a_report_and_the_worst_comes_first() {
    let mut mail = mail("sender@example.org", &["b@example.net", "c@example.net"]);
    mail.envelope.recipients[0].notify = "SUCCESS".parse().ok();
    let done = Outcome::of_reply(Reply::new(250, Some(Status::OK), "Taken"), None);
    let failed = refusal();
    let told = [
        Told::new(0, Action::Delivered, done.answer()),
        Told::new(1, Action::Failed, failed.answer()),
    ];
    let text = report_of(&mail, &told).unwrap();
    assert!(text.contains("Subject: Undelivered mail returned to sender\r\n"), "{text}");
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}"));
    assert!(place("rfc822; c@example.net\r\nAction: failed") < place("rfc822; b@example.net"));
    assert!(place("could not be delivered") < place("was delivered to the recipients"));
    assert_eq!(text.matches("\r\nFinal-Recipient: ").count(), 2);
}

#[test]
fn only_the_header_goes_back_when_that_was_asked() {
    let mut mail = mail("sender@example.org", &["b@example.net"]);
    mail.envelope.parameters.ret = Some(Ret::Hdrs);
    let text = report(&mail, Action::Failed).unwrap();
    assert!(text.contains("Content-Type: text/rfc822-headers\r\n"));
    assert!(text.contains("Subject: hi") && !text.contains("The body"));
}

/// A report goes to whatever server comes next, and each refuses some of these.
#[test]
fn what_is_returned_is_lines_whatever_the_mail_was() {
    let mut mail = mail("sender@example.org", &["b@example.net"]);
    let parts = |text: &str| -> [String; 2] {
        let whole = text.replace("\r\n", "\n");
        assert!(!whole.contains(['\r', '\0']), "{text:?}");
        assert!(!text.replace("\r\n", "").contains('\n'), "{text:?}");
        let (about, returned) = whole.rsplit_once("8bit\n\n").unwrap();
        [about, returned].map(str::to_owned)
    };
    mail.content = Content::from("Subject: a\0b\r\nX: c\n\td\r\n\r\none\rtwo\0\n");
    let [about, returned] = parts(&report(&mail, Action::Failed).unwrap());
    assert!(about.contains("Content-Type: message/rfc822\n"), "{about}");
    assert!(returned.starts_with("Subject: a?b\nX: c\n\td\n\none\ntwo?\n\n--"), "{returned}");
    mail.envelope.parameters.body = Some(Body::BinaryMime);
    let [about, returned] = parts(&report(&mail, Action::Failed).unwrap());
    assert!(about.contains("Content-Type: text/rfc822-headers\n"), "{about}");
    assert!(returned.starts_with("Subject: a?b\nX: c\n\td\n\n--"), "{returned}");
    // The bound falls between CR and LF.
    let folds = "X: abcd\r\n".to_owned() + &"\ta\r\n".repeat(RETURNED_BYTES_MAX / 4);
    mail.content = Content::new(folds.into());
    let cut = RETURNED_BYTES_MAX - 1;
    assert_eq!(&mail.content.to_bytes()[cut..cut + 2], b"\r\n");
    parts(&report(&mail, Action::Failed).unwrap());
}

#[test]
fn utf8_addresses_make_an_internationalised_report() {
    let mail = mail("sender@example.org", &["用户@example.net"]);
    let text = report(&mail, Action::Failed).unwrap();
    assert!(text.contains("Content-Type: message/global-delivery-status\r\n"));
    assert!(text.contains("Final-Recipient: utf-8; 用户@example.net\r\n"));
}

#[test]
fn a_success_report_never_carries_a_failures_status() {
    let mut mail = mail("sender@example.org", &["b@example.net"]);
    mail.envelope.recipients[0].notify = "SUCCESS".parse().ok();
    let text = report(&mail, Action::Delivered).unwrap();
    assert!(text.contains("\r\nStatus: 2.1.1\r\n"));
}

#[test]
fn the_last_attempt_was_when_it_was_though_the_report_is_written_later() {
    let mail = mail("sender@example.org", &["b@example.net"]);
    let outcome = refusal();
    let told = Told::new(0, Action::Failed, outcome.answer());
    let tried_at = Some(mail.origin.received_at - jiff::SignedDuration::from_hours(1));
    for (told, time) in [(told, "11:06:40"), (Told { tried_at, ..told }, "10:06:40")] {
        let text = report_of(&mail, &[told]).unwrap();
        let date = format!("Last-Attempt-Date: Wed, 18 Nov 2026 {time} +0000\r\n");
        assert!(text.contains(&date), "{date} is not in\n{text}");
    }
}
