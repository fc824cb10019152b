//! A report about any mail is itself a mail that every server takes, whatever the mail has in it: strict CRLF lines of
//! at most 998 octets without a NUL, in ASCII unless the address it goes to is UTF-8, from the null sender; and the
//! fields of its recipients are not the reported mail's to write.
#![no_main]

use hedwig_envelope::{
    Address, Body, Content, Envelope, Mail, MailId, Origin, Outcome, Recipient, Relay, Reply,
    ReversePath, Timestamp,
    dsn::{Action, Report, Told},
};
use libfuzzer_sys::fuzz_target;

// A line each: sender, recipient, ORCPT and the reply's code; then the reply's text, which is the mail's too.
fuzz_target!(|input: &str| {
    let mut lines = input.splitn(5, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (Ok(sender), Ok(address)) = (line().parse::<ReversePath>(), line().parse::<Address>())
    else {
        return;
    };
    let (original, code, said) = (line(), line().parse::<u16>().unwrap_or(550), line());
    let recipient = Recipient { original: original.parse().ok(), ..Recipient::from(address) };
    let now = Timestamp::UNIX_EPOCH;
    let mut envelope = Envelope::new(sender, [recipient]);
    envelope.parameters.smtputf8 = !said.is_ascii();
    envelope.parameters.body = (code % 2 == 1).then_some(Body::BinaryMime);
    let mail = Mail {
        id: MailId::new(now, 1),
        envelope,
        content: Content::new(format!("Subject: {said}\r\n\r\n{said}\r\n").into()),
        origin: Origin::local(now),
    };
    let relay = Relay::of("mx.example");
    let reply = Reply::new(200 + code % 400, None, said.to_owned());
    let outcome = Outcome::of_reply(reply, Some(relay));
    for action in [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed] {
        let report = Report {
            reporting_mta: "mail.example",
            mail: &mail,
            recipients: &[Told { unasked: true, ..Told::new(0, action, outcome.answer()) }],
            retry_until: Some(now),
        };
        let Some(report) = report.to_mail(MailId::new(now, 2), now) else { continue };
        assert_eq!(report.envelope.sender, ReversePath::Null);
        let bytes = report.content.to_bytes();
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
        assert!(text.split("\r\n").all(|line| line.len() <= 998), "a line is too long");
        let sender = &report.envelope.recipients[0].address;
        assert_eq!(report.envelope.needs_utf8(), sender.to_ascii().is_none());
        assert!(report.envelope.needs_utf8() || text.is_ascii());
        // Our three parts stand above what is returned, in which the mail may say what it likes.
        let boundary = format!("\r\n--=_{}\r\n", MailId::new(now, 2));
        let returned = text.splitn(4, &boundary).nth(3).expect("a part that is returned");
        let ours = &text[..text.len() - returned.len()];
        assert_eq!(ours.matches("\r\nFinal-Recipient: ").count(), 1);
        assert_eq!(ours.matches("\r\nReporting-MTA: ").count(), 1);
    }
});
