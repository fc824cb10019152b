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
    assert_eq!(Some(&told.envelope.recipients[0].address), mail.envelope.sender.address());
    let text = String::from_utf8(told.content.to_bytes().to_vec()).unwrap();
    // Every server takes it that its recipient's address can be named to.
    let needs_utf8 = told.envelope.recipients[0].address.needs_utf8();
    assert_eq!(told.envelope.needs_utf8(), needs_utf8);
    assert!(needs_utf8 || (text.is_ascii() && told.envelope.parameters.body.is_none()), "{text}");
    assert!(text.split("\r\n").all(|line| line.len() <= 998), "{text}");
    assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']), "{text:?}");
    Some(text)
}

/// The header of the part that is returned, and what is returned.
fn returned(text: &str) -> (&str, &str) {
    let part = text.rsplit("\r\n--=_").nth(1).unwrap();
    part.split_once("\r\n\r\n").unwrap()
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
    mail.content = Content::from("Subject: a\0b\r\nX: c\n\td\r\n\r\none\rtwo\0\n");
    let text = report(&mail, Action::Failed).unwrap();
    let (about, part) = returned(&text);
    assert!(about.contains("Content-Type: message/rfc822\r\n"), "{about}");
    assert_eq!(part, "Subject: a?b\r\nX: c\r\n\td\r\n\r\none\r\ntwo?\r\n");
    mail.envelope.parameters.body = Some(Body::BinaryMime);
    let text = report(&mail, Action::Failed).unwrap();
    let (about, part) = returned(&text);
    assert!(about.contains("Content-Type: text/rfc822-headers\r\n"), "{about}");
    assert_eq!(part, "Subject: a?b\r\nX: c\r\n\td\r\n");
    // The bound falls between CR and LF.
    let folds = "X: abcd\r\n".to_owned() + &"\ta\r\n".repeat(RETURNED_BYTES_MAX / 4);
    mail.content = Content::new(folds.into());
    let cut = RETURNED_BYTES_MAX - 1;
    assert_eq!(&mail.content.to_bytes()[cut..cut + 2], b"\r\n");
    report(&mail, Action::Failed).unwrap();
}

#[test]
fn of_a_mail_that_is_not_7bit_lines_the_header_goes_back_quoted_where_it_must_be() {
    let mut mail = mail("sender@example.org", &["b@example.net"]);
    let long = "x".repeat(999);
    // Its first line has a space before it.
    let quoted = format!(" {}=\r\n", "x".repeat(74))
        + &format!("{}=\r\n", "x".repeat(75)).repeat(12)
        + &"x".repeat(25);
    for (content, encoding, content_type, expected) in [
        ("Subject: hi\r\n\r\nGrüße\r\n", "7bit", "", "Subject: hi\r\n"),
        (
            "Subject: Grüße\r\n\r\nhi\r\n",
            "quoted-printable",
            "; charset=utf-8",
            "Subject: Gr=C3=BC=C3=9Fe\r\n",
        ),
        (&format!("Subject: hi\r\n\r\n{long}\r\n"), "7bit", "", "Subject: hi\r\n"),
        (
            &format!("X:\r\n {long}\r\n\r\nhi\r\n"),
            "quoted-printable",
            "",
            &format!("X:\r\n{quoted}\r\n"),
        ),
    ] {
        mail.content = Content::new(content.to_owned().into());
        mail.envelope.parameters.body = Some(Body::EightBitMime);
        let text = report(&mail, Action::Failed).unwrap();
        let (about, part) = returned(&text);
        let content_type = format!("Content-Type: text/rfc822-headers{content_type}\r\n");
        assert!(about.contains(&content_type), "{about}");
        assert!(about.ends_with(&format!("Content-Transfer-Encoding: {encoding}")), "{about}");
        assert_eq!(part, expected);
    }
    // Octets of no known meaning.
    mail.content = Content::new(bytes::Bytes::from_static(b"Subject: \xff\r\n\r\n"));
    let text = report(&mail, Action::Failed).unwrap();
    assert_eq!(returned(&text).1, "Subject: =FF\r\n");
}

#[test]
fn what_a_server_said_beyond_ascii_is_quoted_in_the_text_and_marked_in_the_fields() {
    let mail = mail("sender@example.org", &["b@example.net"]);
    let reply = Reply::with_status(550, Status::permanent(1, 1), "无此用户 \u{fffd}");
    let outcome = Outcome::of_reply(reply, Some(Relay::of("mx.example.net")));
    let text = report_of(&mail, &[Told::new(0, Action::Failed, outcome.answer())]).unwrap();
    assert!(text.contains("\r\nDiagnostic-Code: smtp; 550 5.1.1 ???? ?\r\n"), "{text}");
    let words = text.split("\r\n--=_").nth(1).unwrap().replace("=\r\n", "");
    assert!(words.contains("charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"));
    assert!(words.contains("550 5.1.1 =E6=97=A0=E6=AD=A4=E7=94=A8=E6=88=B7 =EF=BF=BD\r\n"));
}

/// The sender's server need not have what the recipient's server needs.
#[test]
fn utf8_recipients_of_an_ascii_sender_are_told_of_in_ascii() {
    let mut mail = mail("sender@example.org", &[r#""用\\户 +"@例子.example"#]);
    mail.envelope.parameters.smtputf8 = true;
    mail.envelope.recipients[0].original = "utf-8;\\x{7528}户+3D@example.net".parse().ok();
    mail.content = Content::from("To: 用户@example.net\r\n\r\nThe body\r\n");
    let text = report(&mail, Action::Failed).unwrap();
    for line in [
        "Content-Type: message/delivery-status",
        r"Original-Recipient: utf-8; \x{7528}\x{6237}\x{3D}@example.net",
        r#"Final-Recipient: utf-8; "\x{7528}\x{5C}\x{5C}\x{6237}\x{20}\x{2B}"@\x{4F8B}\x{5B50}.example"#,
        "To: =E7=94=A8=E6=88=B7@example.net",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} is missing in\n{text}");
    }
}

#[test]
fn an_address_that_is_too_long_in_ascii_is_cut_in_its_field() {
    let address = format!("{}@example.net", "é".repeat(250));
    let mut mail = mail("sender@example.org", &[&address]);
    mail.envelope.recipients[0].original =
        Some(crate::OriginalRecipient { kind: "utf-8".into(), address: "+".repeat(400) + "é" });
    let text = report(&mail, Action::Failed).unwrap();
    for address in [r"\x{E9}".repeat(150), r"\x{2B}".repeat(150)] {
        assert!(text.contains(&format!("-Recipient: utf-8; {address}\r\n")), "{text}");
    }
}

#[test]
fn a_report_to_an_ascii_mailbox_at_an_international_domain_needs_no_smtputf8() {
    let text = report(&mail("sender@例子.广告", &["b@example.net"]), Action::Failed).unwrap();
    assert!(text.contains("\r\nTo: <sender@xn--fsqu00a.xn--4rr70v>\r\n"), "{text}");
}

#[test]
fn a_utf8_sender_gets_an_internationalised_report() {
    let mut mail = mail("发件人@example.org", &["用户@example.net"]);
    mail.content = Content::from("Subject: 你好\r\n\r\nThe body\r\n");
    let text = report(&mail, Action::Failed).unwrap();
    assert!(text.contains("\r\nTo: <发件人@example.org>\r\n"), "{text}");
    assert!(text.contains("Content-Type: message/global-delivery-status\r\n"), "{text}");
    assert!(text.contains("Final-Recipient: utf-8; 用户@example.net\r\n"), "{text}");
    let (about, part) = returned(&text);
    assert!(about.contains("Content-Type: message/global\r\n"), "{about}");
    assert_eq!(part, "Subject: 你好\r\n\r\nThe body\r\n");
    let long = "你".repeat(333);
    mail.content = Content::new(format!("Subject: {long}\r\n\r\nThe body\r\n").into());
    let text = report(&mail, Action::Failed).unwrap();
    let (about, _) = returned(&text);
    assert!(about.contains("Content-Type: message/global-headers\r\n"), "{about}");
    assert!(about.ends_with("quoted-printable"), "{about}");
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
