//! Signatures hold for a verifier that shares no code with us: dkimpy.

use std::fs;

use crate::support::{Dns, keys};
use hedwig_envelope::{
    Content, Envelope, Mail, MailId, Origin, Outcome, Receipt, Reply, ReversePath, Status,
    Timestamp,
};
use hedwig_lab::dkim::{Verified, verify_all};
use hedwig_mx::{
    DkimLayer, Keys,
    dkim::{BodyForm, SigningKey, sign},
};
use tower::{Layer, ServiceExt};

const HEADER: &str = "Received: by here\r\nFrom: \"A, B\" <a@example.org>\r\nTo: b@example.net,\r\n\
    \tc@example.net\r\nSubject:  folded \r\n  and  spaced\t out\r\nMIME-Version: 1.0\r\n\
    Message-ID: <1@example.org>\r\nDate: Sat, 21 Nov 2026 03:00:00 +0000\r\n\
    List-Unsubscribe: <https://example.org/u>\r\n\r\n";

const BOTH_PASS: &str = "rsa-sha256:pass ed25519-sha256:pass";

fn both_keys() -> Keys {
    let mut keys = Keys::default();
    keys.insert(
        SigningKey::from_pem("example.org", "r", keys::rsa_pkcs8_pem().as_bytes()).unwrap(),
    );
    keys.insert(SigningKey::from_pem("example.org", "e", keys::ed25519_pem().as_bytes()).unwrap());
    keys
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

/// What dkimpy says of each message's signatures: `rsa-sha256:pass ed25519-sha256:fail`.
async fn verify(keys: &Keys, messages: &[Vec<u8>]) -> Vec<String> {
    let dns = Dns::start().await.unwrap();
    for (name, text) in keys.iter().map(|key| key.dns_record()) {
        dns.txt(&name, &text).await;
    }
    let word = |signature: &Verified| {
        let verdict = if signature.valid { "pass" } else { "fail" };
        format!("{}:{verdict}", signature.algorithm)
    };
    let verified = verify_all(messages, dns.address()).await.unwrap();
    assert_eq!(verified.len(), messages.len());
    verified.iter().map(|all| all.iter().map(word).collect::<Vec<_>>().join(" ")).collect()
}

fn signed(keys: &Keys, form: BodyForm, message: &[u8]) -> Vec<u8> {
    let content = Content::new(message.to_vec().into());
    let fields = sign(&content, keys, form, now()).unwrap();
    [fields.as_bytes(), message].concat()
}

fn bodies() -> Vec<Vec<u8>> {
    let long_line = format!("{}\r\n", "x".repeat(998));
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "\r\n",
        "\r\n\r\n\r\n",
        "Hello\r\n",
        "no line end",
        "trailing blank lines\r\n\r\n\r\n",
        "white space only at the end\r\n \r\n\t\r\n  \t \r\n",
        " \r\n",
        " \t \r\n\r\n",
        "in the middle\r\n \t \r\n\r\n\t\r\nof it\r\n",
        "  leading\tand  inner   and trailing \t \r\n",
        ".\r\n..\r\n.leading dots\r\n.",
        "Gr\u{fc}\u{df}e, \u{1f989}\r\n",
        "From the beginning\r\n>From here\r\n",
        long_line.as_str(),
    ]
    .iter()
    .map(|body| body.as_bytes().to_vec())
    .collect();
    bodies.push(b"8-bit: \xff\xfe\x80 \x0b\x0c\r\n".to_vec());
    bodies.push(b"a b\tc  d \r\n".repeat(5000));
    bodies
}

#[tokio::test]
async fn signatures_hold_for_every_kind_of_body() {
    let keys = both_keys();
    let messages: Vec<Vec<u8>> = [BodyForm::Relaxed, BodyForm::Simple]
        .into_iter()
        .flat_map(|form| bodies().into_iter().map(move |body| (form, body)))
        .map(|(form, body)| signed(&keys, form, &[HEADER.as_bytes(), &body].concat()))
        .collect();
    for (verdict, message) in verify(&keys, &messages).await.iter().zip(&messages) {
        assert_eq!(
            verdict,
            BOTH_PASS,
            "{:?}",
            String::from_utf8_lossy(&message[..message.len().min(4000)])
        );
    }
}

#[tokio::test]
async fn signatures_survive_what_relaxed_allows_and_nothing_else() {
    let keys = both_keys();
    let message = signed(&keys, BodyForm::Relaxed, format!("{HEADER}one  two\r\n").as_bytes());
    let text = String::from_utf8(message).unwrap();
    let messages: Vec<Vec<u8>> = [
        text.replace("one  two", "one \t two  "),
        text.replace("\r\nSubject:  folded", "\r\nSUBJECT: folded"),
        text.replace("one  two", "one two three"),
        text.replace("Subject:  folded", "Subject: forged"),
        text.replace("Received: by here", "From: <x@evil.example>\r\nReceived: by here"),
        text.replace("Received: by here", "Cc: <x@evil.example>\r\nReceived: by here"),
    ]
    .map(String::into_bytes)
    .into();
    let verdicts = verify(&keys, &messages).await;
    assert_eq!(verdicts[..2], [BOTH_PASS, BOTH_PASS]);
    // A second From is an error to dkimpy: also right.
    assert_eq!(verdicts[2..], ["rsa-sha256:fail ed25519-sha256:fail"; 4]);
}

#[tokio::test]
async fn a_key_may_be_pkcs1_and_serves_the_domains_below() {
    let mut keys = Keys::default();
    keys.insert(
        SigningKey::from_pem("example.org", "r", keys::rsa_pkcs1_pem().as_bytes()).unwrap(),
    );
    let below = HEADER.replace("a@example.org", "a@News.Example.org");
    let other = HEADER.replace("a@example.org", "a@notexample.org");
    let messages =
        [below, other].map(|header| signed(&keys, BodyForm::Relaxed, header.as_bytes())).to_vec();
    assert_eq!(verify(&keys, &messages).await, ["rsa-sha256:pass", ""]);
}

#[test]
fn keys_are_found_by_domain_and_selector() {
    let directory = tempfile::tempdir().unwrap();
    let write = |place: &str, text: &str| {
        let path = directory.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("example.org/s1.pem", &keys::rsa_pkcs8_pem());
    write("example.org/s2.pem", &keys::ed25519_pem());
    write("b\u{fc}cher.example/s1.pem", &keys::ed25519_pem());
    write("example.org/README", "not a key");
    let keys = Keys::load(directory.path()).unwrap();
    let selectors: Vec<&str> =
        keys.for_domain("mail.example.org").iter().map(|key| key.selector()).collect();
    assert_eq!(selectors, ["s1", "s2"]);
    assert_eq!(keys.for_domain("xn--bcher-kva.example").len(), 1);
    assert!(keys.for_domain("org").is_empty());
    let (name, text) = keys.dns_record("example.org", "s2").unwrap();
    assert_eq!(name, "s2._domainkey.example.org");
    // 32 bytes in base64 (RFC 8463 §4).
    assert_eq!(text.strip_prefix("v=DKIM1; k=ed25519; p=").unwrap().len(), 44);
    for key in keys.for_domain("example.org") {
        let (line, (name, text)) = (key.zone_line(), key.dns_record());
        let strings = line.strip_prefix(&format!("{name}. IN TXT \"")).unwrap();
        let strings = strings.strip_suffix('"').unwrap().split("\" \"").collect::<Vec<_>>();
        assert!(strings.iter().all(|string| string.len() <= 255), "{line}");
        assert_eq!(strings.concat(), text);
    }
}

#[test]
fn a_bad_key_is_named_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("example.org")).unwrap();
    let path = directory.path().join("example.org/broken.pem");
    for (text, reason) in [
        ("hunter2".to_owned(), "no PEM file"),
        (keys::pem("PRIVATE KEY", b"hunter2"), "neither an RSA key of 2048 bits"),
        (keys::pem("EC PRIVATE KEY", b"hunter2"), "neither an RSA key of 2048 bits"),
    ] {
        fs::write(&path, text).unwrap();
        let error = Keys::load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("example.org/broken.pem") && error.contains(reason), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let key = SigningKey::from_pem("example.org", "s", keys::ed25519_pem().as_bytes()).unwrap();
    assert_eq!(format!("{key:?}"), "ed25519-sha256 key s of example.org");
}

#[tokio::test]
async fn the_layer_signs_what_was_added_as_well() {
    let keys = both_keys();
    let (seen, mut passed) = tokio::sync::mpsc::unbounded_channel();
    let inner = tower::service_fn(move |mail: Mail| {
        seen.send(mail.content.to_bytes().to_vec()).unwrap();
        let reply = Reply::with_status(250, Status::OK, "ok");
        let outcome = Outcome::of_reply(reply, None);
        async move { Ok(Receipt::uniform(mail.id, 1, outcome)) }
    });
    let recipient: hedwig_envelope::Address = "b@example.net".parse().unwrap();
    let mut mail = Mail {
        id: MailId::new(now(), 1),
        envelope: Envelope::new(ReversePath::Null, [recipient]),
        content: Content::from("Subject: x\r\n\r\nHello\r\n"),
        origin: Origin::local(now()),
    };
    mail.content.prepend(b"From: a@example.org\r\n");
    let receipt = DkimLayer::new(keys.clone()).layer(inner).oneshot(mail).await.unwrap();
    assert!(receipt.is_done());
    let verdicts = verify(&keys, &[passed.recv().await.unwrap()]).await;
    assert_eq!(verdicts, [BOTH_PASS]);
}
