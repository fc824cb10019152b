//! Values to try.

use bytes::Bytes;
use hedwig_envelope::{
    Address, Body, ByMode, DeliverBy, Envelope, Hold, IdempotencyKey, MailParameters, Notify,
    OriginalRecipient, Priority, Recipient, Reply, Ret, ReversePath, Status, Timestamp,
};
use hedwig_smtp::Command;
use proptest::{collection::vec, option, prelude::*};

pub(crate) fn plain_address() -> impl Strategy<Value = Address> {
    "[a-zA-Z0-9!#$%&'*+/=?^_{|}~-]{1,12}(\\.[a-z0-9]{1,5})?@[a-z0-9]{1,9}(\\.[a-z]{2,5}){1,2}"
        .prop_map(|text| text.parse().unwrap())
}

fn address() -> impl Strategy<Value = Address> {
    let quoted = "\"([a-z @>.,<:;()]|\\\\[\"\\\\]){0,10}\"@[a-z]{1,9}\\.example";
    prop_oneof![
        plain_address(),
        quoted.prop_map(|text| text.parse::<Address>().unwrap()),
        "[a-zäöüß]{1,9}@[a-zäöü]{1,9}\\.example".prop_map(|text| text.parse::<Address>().unwrap()),
        Just("a@[192.0.2.1]".parse::<Address>().unwrap()),
        Just("postmaster".parse::<Address>().unwrap()),
    ]
}

fn sender(address: impl Strategy<Value = Address>) -> impl Strategy<Value = ReversePath> {
    option::of(address).prop_map(|address| address.map_or(ReversePath::Null, Into::into))
}

fn parameters() -> impl Strategy<Value = MailParameters> {
    let body = prop_oneof![Just(Body::SevenBit), Just(Body::EightBitMime)];
    let ret = prop_oneof![Just(Ret::Full), Just(Ret::Hdrs)];
    let deliver_by = (1..999_999_999i32, any::<bool>(), any::<bool>()).prop_map(|(s, r, trace)| {
        let mode = if r { ByMode::Return } else { ByMode::Notify };
        DeliverBy { seconds: s, mode, trace }
    });
    let hold = prop_oneof![
        (0..999_999_999u32).prop_map(Hold::For),
        (0..4_000_000_000i64).prop_map(|s| Hold::Until(Timestamp::from_second(s).unwrap())),
    ];
    (
        option::of(body),
        any::<bool>(),
        option::of(any::<u64>()),
        option::of(ret),
        option::of("[!-~ ]{1,21}"),
        any::<bool>(),
        option::of((-9i8..=9).prop_map(|value| Priority::new(value).unwrap())),
        option::of(deliver_by),
        option::of(hold),
    )
        .prop_map(
            |(body, smtputf8, size, ret, envid, require_tls, priority, deliver_by, hold)| {
                MailParameters {
                    body,
                    smtputf8,
                    size,
                    ret,
                    envid,
                    require_tls,
                    priority,
                    deliver_by,
                    hold,
                }
            },
        )
}

fn notify() -> impl Strategy<Value = Notify> {
    any::<[bool; 3]>().prop_map(|[success, failure, delay]| Notify { success, failure, delay })
}

fn recipient() -> impl Strategy<Value = Recipient> {
    let original =
        "[!-~ ]{1,20}".prop_map(|address| OriginalRecipient { kind: "rfc822".to_owned(), address });
    (address(), option::of(notify()), option::of(original))
        .prop_map(|(address, notify, original)| Recipient { address, notify, original })
}

pub(crate) fn envelope() -> impl Strategy<Value = Envelope> {
    (sender(address()), parameters(), vec(recipient(), 1..4))
        .prop_map(|(sender, parameters, recipients)| Envelope { sender, parameters, recipients })
}

pub(crate) fn plain_envelope() -> Envelope {
    let recipients = ["b@example.net", "c@example.net"];
    Envelope::new(ReversePath::Null, recipients.map(|to| to.parse::<Address>().unwrap()))
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        "[!-~]{1,40}".prop_map(Command::Ehlo),
        (sender(address()), parameters())
            .prop_map(|(sender, parameters)| Command::Mail { sender, parameters }),
        recipient().prop_map(Command::Rcpt),
        (any::<u64>(), any::<bool>()).prop_map(|(size, last)| Command::Bdat { size, last }),
        "[!-~]([ -~]{0,20}[!-~])?".prop_map(Command::Vrfy),
    ]
}

/// Commands on which all parsers should agree.
pub(crate) fn plain_command() -> impl Strategy<Value = Command> {
    let parameters = (option::of(0..1_000_000_000u64), any::<bool>(), option::of("[a-z0-9]{1,9}"));
    let parameters = parameters.prop_map(|(size, smtputf8, envid)| MailParameters {
        size,
        smtputf8,
        envid,
        ..MailParameters::default()
    });
    prop_oneof![
        "[a-z]{1,9}\\.[a-z]{1,9}".prop_map(Command::Helo),
        "[a-z]{1,9}\\.[a-z]{1,9}".prop_map(Command::Ehlo),
        "[a-z]{1,9}\\.[a-z]{1,9}".prop_map(Command::Lhlo),
        (sender(plain_address()), parameters)
            .prop_map(|(sender, parameters)| Command::Mail { sender, parameters }),
        (plain_address(), option::of(notify())).prop_map(|(address, notify)| {
            Command::Rcpt(Recipient { address, notify, original: None })
        }),
        (0..1_000_000_000u64, any::<bool>()).prop_map(|(size, last)| Command::Bdat { size, last }),
        Just(Command::Data),
        Just(Command::Rset),
        Just(Command::StartTls),
        Just(Command::Quit),
    ]
}

pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    let text = vec("[a-zA-Z][ -~]{0,30}", 1..4).prop_map(|lines| lines.join("\n"));
    (2..=5u16, 0..100u16, any::<bool>(), 0..1000u16, 0..1000u16, text).prop_map(
        |(class, rest, has_status, subject, detail, text)| {
            let status = match class {
                2 => Some(Status::success(subject, detail)),
                4 => Some(Status::transient(subject, detail)),
                5 => Some(Status::permanent(subject, detail)),
                _ => None,
            };
            Reply::new(class * 100 + rest, status.filter(|_| has_status), text)
        },
    )
}

pub(crate) fn key() -> impl Strategy<Value = Option<IdempotencyKey>> {
    option::of("[!-~]{1,40}".prop_map(|text| text.parse().unwrap()))
}

/// Lines of which many begin with dots, and the last may have no end.
pub(crate) fn content() -> impl Strategy<Value = Bytes> {
    let line = prop_oneof![
        Just(String::new()),
        Just(".".to_owned()),
        "\\.{0,3}[ -~]{0,20}",
        "[a-zäöü\u{1}.]{0,200}",
    ];
    (vec(line, 0..20), any::<bool>()).prop_map(|(lines, is_whole)| {
        let end = if is_whole && !lines.is_empty() { "\r\n" } else { "" };
        (lines.join("\r\n") + end).into()
    })
}

/// Line ends of all kinds, dots among them, and in some a NUL.
pub(crate) fn hostile_content() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just("\r\n"),
        Just("\r"),
        Just("\n"),
        Just("x"),
        Just(" ."),
        Just("\r\n"),
        Just("y."),
    ];
    let piece = prop_oneof![40 => text, 1 => Just("\0")];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// How many bytes go over at a time.
pub(crate) fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(1..40usize, 1..10)
}
