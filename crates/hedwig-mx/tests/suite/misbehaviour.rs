//! Servers that misbehave, one way a row, and the outcome that each recipient must get (RFC 5321 §4.2, §4.5.3.2).
//!
//! Every row is played twice: with the bad server alone, and with a good one behind it.

use std::time::Duration;

use crate::support::{
    Dns, Manners, Server, Tls,
    acts::{Act, At, long_reply},
    deliver, host, loopback, mx, options, short,
};
use hedwig_envelope::Outcome;
use hedwig_mx::{MxOptions, TlsLevel, TlsRules};

/// What a misbehaving server leads to.
struct Row {
    name: &'static str,
    manners: Manners,
    /// The outcomes of `a@example.com` and `b@example.com` when there is no other server.
    alone: [&'static str; 2],
    /// Which of them the good server behind it gets.
    passed_on: [bool; 2],
}

const BOTH: [bool; 2] = [true, true];
const NEITHER: [bool; 2] = [false, false];
const TAKEN: [&str; 2] = ["done 2.0.0"; 2];
const NONSENSE: [&str; 2] = ["deferred 4.5.0"; 2];
const LOST: [&str; 2] = ["deferred 4.4.2"; 2];

fn row(name: &'static str, at: At, act: Act, alone: [&'static str; 2], to: [bool; 2]) -> Row {
    Row { name, manners: Manners::at(at, act), alone, passed_on: to }
}

/// The outcome in short, and whether the server may have taken the mail.
fn told(outcome: &Outcome) -> String {
    let ambiguous = if outcome.answer().ambiguous { ", ambiguous" } else { "" };
    format!("{}{ambiguous}", short(outcome))
}

async fn play(rows: Vec<Row>, change: impl Fn(&mut MxOptions)) {
    for row in rows {
        let dns = Dns::start().await.unwrap();
        let servers = Server::start_all([row.manners, Manners::default()]).await;
        let [bad, good] = servers;
        let mut options = options(bad.address.port());
        change(&mut options);
        let mx = mx(&dns, options);
        dns.mx("example.com", 10, "bad.example.com").await;
        dns.address_of("bad.example.com", loopback(1)).await;
        let outcomes = deliver(&mx, ["a@example.com", "b@example.com"]).await;
        assert_eq!(outcomes.each_ref().map(told), row.alone, "{}: {outcomes:#?}", row.name);

        dns.mx("example.net", 10, "bad.example.com").await;
        dns.mx("example.net", 20, "good.example.com").await;
        dns.address_of("good.example.com", loopback(2)).await;
        let outcomes = deliver(&mx, ["a@example.net", "b@example.net"]).await;
        for ((outcome, alone), passed_on) in outcomes.iter().zip(row.alone).zip(row.passed_on) {
            let (expected, by) =
                if passed_on { (TAKEN[0], "good.example.com") } else { (alone, "bad.example.com") };
            assert_eq!((told(outcome).as_str(), host(outcome)), (expected, by), "{}", row.name);
        }
        let passed_on = row.passed_on.iter().any(|passed_on| *passed_on);
        assert_eq!(good.taken().len(), usize::from(passed_on), "{}", row.name);
    }
}

#[tokio::test]
async fn replies_that_contradict_themselves_are_believed_by_nobody() {
    let mixed = || Act::say("250-2.0.0 yes\r\n550 5.0.0 no");
    let maybe_taken = ["deferred 4.5.0, ambiguous"; 2];
    play(
        vec![
            row("mixed greeting", At::Connect, Act::say("220-hi\r\n554 no"), NONSENSE, BOTH),
            row("mixed reply to EHLO", At::Hello, mixed(), NONSENSE, BOTH),
            row("mixed reply to MAIL", At::Mail, mixed(), NONSENSE, BOTH),
            row("mixed reply to RCPT", At::Recipient, mixed(), NONSENSE, BOTH),
            row("mixed reply to DATA", At::Data, Act::say("354-go\r\n554 no"), NONSENSE, BOTH),
            row("mixed reply to the dot", At::Dot, mixed(), maybe_taken, NEITHER),
        ],
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn what_is_no_reply_is_not_taken_for_one() {
    let no_reply = || Act::say("+OK this is POP3");
    let bytes = |bytes: &[u8]| Act::Say(bytes.to_vec());
    let tls_alert = b"\x15\x03\x03\x00\x02\x02\x28\n";
    let maybe_taken = ["deferred 4.5.0, ambiguous"; 2];
    play(
        vec![
            row("no greeting", At::Connect, no_reply(), NONSENSE, BOTH),
            row("TLS records for a greeting", At::Connect, bytes(tls_alert), NONSENSE, BOTH),
            row("TLS records after EHLO", At::Hello, bytes(tls_alert), NONSENSE, BOTH),
            row("six hundred to MAIL", At::Mail, Act::say("650 fine"), NONSENSE, BOTH),
            row("an empty line to RCPT", At::Recipient, Act::say(""), NONSENSE, BOTH),
            row("a code of two digits to DATA", At::Data, Act::say("35 go"), NONSENSE, BOTH),
            row("no reply to the dot", At::Dot, no_reply(), maybe_taken, NEITHER),
        ],
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn a_reply_that_cannot_be_an_answer_is_none() {
    play(
        vec![
            row("250 to DATA", At::Data, Act::say("250 2.0.0 taken"), NONSENSE, NEITHER),
            row(
                "354 to the dot",
                At::Dot,
                Act::say("354 more, please"),
                ["deferred 4.0.0, ambiguous"; 2],
                NEITHER,
            ),
            row("354 to RCPT", At::Recipient, Act::say("354 go"), ["deferred 4.0.0"; 2], NEITHER),
            row("250 for a greeting", At::Connect, Act::say("250 hi"), NONSENSE, BOTH),
        ],
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn a_reply_before_its_command_never_counts_as_a_success() {
    let refused_after = |at, act| Manners {
        acts: vec![(at, act)],
        content: "554 5.7.1 never".into(),
        ..Manners::default()
    };
    play(
        vec![
            Row {
                name: "the reply to the content before the content",
                manners: refused_after(At::Data, Act::say("354 go\r\n250 2.0.0 taken")),
                alone: NONSENSE,
                passed_on: BOTH,
            },
            Row {
                name: "the reply to EHLO in advance",
                manners: refused_after(At::Connect, Act::say("220 hi\r\n250 in advance")),
                alone: NONSENSE,
                passed_on: NEITHER,
            },
            Row {
                name: "one reply too many to MAIL",
                manners: refused_after(At::Mail, Act::say_first("250 in advance")),
                alone: NONSENSE,
                passed_on: NEITHER,
            },
            Row {
                name: "one reply too many to MAIL, when the content went along",
                manners: Manners {
                    hello: Some("250-server.example\r\n250-PIPELINING\r\n250 CHUNKING".into()),
                    ..refused_after(At::Mail, Act::say_first("250 in advance"))
                },
                alone: ["deferred 4.5.0, ambiguous"; 2],
                passed_on: NEITHER,
            },
            Row {
                name: "a bare LF makes two replies of one",
                manners: refused_after(At::Recipient, Act::Say(b"250 one\n250 two\r\n".to_vec())),
                alone: NONSENSE,
                passed_on: NEITHER,
            },
        ],
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn a_long_reply_counts_and_an_endless_one_does_not() {
    let long = |code| Act::Say(long_reply(code, 200 * 1024));
    let endless_line = || Act::SayForever(b"250 and so on and so on and so on ");
    let endless_lines = || Act::SayForever(b"250-and so on\r\n");
    let maybe_taken = ["deferred 4.5.0, ambiguous"; 2];
    play(
        vec![
            row("a long greeting", At::Connect, long(220), TAKEN, NEITHER),
            row("a long reply to EHLO", At::Hello, long(250), TAKEN, NEITHER),
            row("a long reply to MAIL", At::Mail, long(250), TAKEN, NEITHER),
            row("a long no to RCPT", At::Recipient, long(550), ["failed 5.0.0"; 2], NEITHER),
            row("a long reply to DATA", At::Data, long(354), TAKEN, NEITHER),
            row("a long reply to the dot", At::Dot, long(250), ["done 2.0.0"; 2], NEITHER),
            row("an endless greeting", At::Connect, endless_line(), NONSENSE, BOTH),
            row("an endless reply to EHLO", At::Hello, endless_lines(), NONSENSE, BOTH),
            row("an endless reply to RCPT", At::Recipient, endless_line(), NONSENSE, BOTH),
            row("an endless reply to the dot", At::Dot, endless_lines(), maybe_taken, NEITHER),
        ],
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn odd_octets_in_a_reply_do_no_harm() {
    let odd = |code| Act::Say(format!("{code} \0\u{1b}[31m caf\u{e9}\r\n").into_bytes());
    let latin = Act::Say(b"250 2.0.0 caf\xe9\r\n".to_vec());
    play(
        vec![
            row("NUL and escapes in the greeting", At::Connect, odd(220), TAKEN, NEITHER),
            row("NUL and escapes in a no", At::Recipient, odd(550), ["failed 5.0.0"; 2], NEITHER),
            row("Latin-1 in the reply to the dot", At::Dot, latin, TAKEN, NEITHER),
        ],
        |_| {},
    )
    .await;
    let (dns, server) = (
        Dns::start().await.unwrap(),
        Server::start(Manners::at(At::Recipient, Act::say("550 a\0b\x1b[0m"))).await,
    );
    dns.mail_domain("example.com", loopback(1)).await;
    let [outcome] = deliver(&mx(&dns, options(server.address.port())), ["a@example.com"]).await;
    assert_eq!(outcome.answer().reply.text(), "a?b?[0m");
}

#[tokio::test]
async fn who_hangs_up_before_the_end_has_not_taken_the_mail() {
    let goodbye = || Act::say_and_end("421 4.3.2 going down");
    let down = ["deferred 4.3.2"; 2];
    play(
        vec![
            row("closed at once", At::Connect, Act::Close, LOST, BOTH),
            row("closed at EHLO", At::Hello, Act::Close, LOST, BOTH),
            row("closed at MAIL", At::Mail, Act::Close, LOST, BOTH),
            row("closed at RCPT", At::Recipient, Act::Close, LOST, BOTH),
            row("closed at DATA", At::Data, Act::Close, LOST, BOTH),
            row("421 for a greeting", At::Connect, goodbye(), down, BOTH),
            row("421 to EHLO", At::Hello, goodbye(), down, BOTH),
            row("421 to MAIL", At::Mail, goodbye(), down, BOTH),
            row("421 to RCPT", At::Recipient, goodbye(), down, BOTH),
            row("421 to DATA", At::Data, goodbye(), down, BOTH),
            row("421 behind the last 250", At::Recipient, goodbye_behind_250(), down, BOTH),
            row("421 to the dot", At::Dot, goodbye(), down, BOTH),
        ],
        |_| {},
    )
    .await;
}

/// The first recipient is taken, and then the server goes.
fn goodbye_behind_250() -> Act {
    Act::say_and_end("250 2.1.5 ok\r\n421 4.3.2 going down")
}

#[tokio::test]
async fn who_hangs_up_after_the_end_may_have_taken_the_mail() {
    let maybe_taken = ["deferred 4.4.2, ambiguous"; 2];
    play(vec![row("closed at the dot", At::Dot, Act::Close, maybe_taken, NEITHER)], |_| {}).await;
}

#[tokio::test]
async fn each_recipient_gets_the_reply_that_was_meant_for_it() {
    let b_is =
        |reply: &str| Manners { recipients: vec![("b@", reply.into())], ..Manners::default() };
    let later = "450 4.2.0 mailbox busy";
    let never = "550 5.1.1 no such user";
    let data = |manners: Manners, data: &str| Manners { data: data.into(), ..manners };
    let dot = |manners: Manners, content: &str| Manners { content: content.into(), ..manners };
    let rows = [
        ("450 to one", b_is(later), ["done 2.0.0", "deferred 4.2.0"]),
        ("550 to one", b_is(never), ["done 2.0.0", "failed 5.1.1"]),
        (
            "DATA refused for good after one was",
            data(b_is(never), "554 5.5.1 no"),
            ["failed 5.5.1", "failed 5.1.1"],
        ),
        (
            "DATA refused for now after one was for good",
            data(b_is(never), "451 4.3.0 no"),
            ["deferred 4.3.0", "failed 5.1.1"],
        ),
        (
            "the content refused for good after one was put off",
            dot(b_is(later), "554 5.6.0 no"),
            ["failed 5.6.0", "deferred 4.2.0"],
        ),
        (
            "552 to one is too many recipients",
            b_is("552 too many"),
            ["done 2.0.0", "deferred 4.5.3"],
        ),
        (
            "the content refused for good",
            dot(Manners::default(), "554 5.6.0 no"),
            ["failed 5.6.0"; 2],
        ),
        ("the content put off", dot(Manners::default(), "451 4.7.1 grey"), ["deferred 4.7.1"; 2]),
        ("no text", dot(Manners::default(), "250"), TAKEN),
    ];
    let row = |(name, manners, alone)| Row { name, manners, alone, passed_on: NEITHER };
    play(rows.into_iter().map(row).collect(), |_| {}).await;
}

#[tokio::test]
async fn an_old_server_that_knows_no_ehlo_gets_helo() {
    play(
        vec![
            row("502 to EHLO", At::Hello, Act::say("502 5.5.1 what?"), TAKEN, NEITHER),
            row("500 to EHLO", At::Hello, Act::say("500 what?"), TAKEN, NEITHER),
            Row {
                name: "502 to EHLO and HELO",
                manners: Manners {
                    acts: vec![
                        (At::Hello, Act::say("502 5.5.1 what?")),
                        (At::Helo, Act::say("504 5.5.1 not you")),
                    ],
                    ..Manners::default()
                },
                alone: ["failed 5.5.1"; 2],
                passed_on: BOTH,
            },
        ],
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn replies_may_come_late_and_all_at_once() {
    let late = |at| (at, Act::Late(Duration::from_secs(110)));
    let slow = Manners {
        acts: [At::Connect, At::Hello, At::Mail, At::Recipient, At::Data, At::Dot]
            .map(late)
            .to_vec(),
        ..Manners::default()
    };
    play(
        vec![
            row("all at once", At::Mail, Act::KeepBack, TAKEN, NEITHER),
            Row { name: "each late", manners: slow, alone: TAKEN, passed_on: NEITHER },
        ],
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn tls_that_does_not_come_about_is_worth_no_more_than_the_policy_says() {
    let offering = |tls: Tls, acts: Vec<(At, Act)>| Manners { tls, acts, ..Manners::default() };
    let rows = || {
        let injected = Act::say("220 2.0.0 go on\r\n250-injected\r\n250 STARTTLS");
        [
            ("nonsense for a handshake", offering(Tls::Broken, vec![])),
            ("clear text behind the 220", offering(Tls::Broken, vec![(At::StartTls, injected)])),
            ("454 to STARTTLS", offering(Tls::Refused("454 4.7.0 no".into()), vec![])),
            ("250 to STARTTLS", offering(Tls::Refused("250 2.0.0 sure".into()), vec![])),
        ]
    };
    let opportunistic =
        rows().map(|(name, manners)| Row { name, manners, alone: TAKEN, passed_on: NEITHER });
    play(opportunistic.into(), |_| {}).await;
    for (name, manners) in rows() {
        let (dns, server) = (Dns::start().await.unwrap(), Server::start(manners).await);
        dns.mail_domain("example.com", loopback(1)).await;
        let tls = TlsRules::from(TlsLevel::Encrypted);
        let options = MxOptions { tls, ..options(server.address.port()) };
        let [outcome] = deliver(&mx(&dns, options), ["a@example.com"]).await;
        assert!(told(&outcome).starts_with("deferred 4."), "{name}: {outcome:?}");
        assert_eq!((server.taken().len(), server.commands("MAIL")), (0, 0), "{name}");
    }
}
