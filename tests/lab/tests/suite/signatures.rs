//! Both DKIM signatures of every mail are good, says a verifier that we did not write, whatever the
//! body looks like.

use hedwig_lab::{
    Client, HouseOptions, Program, Result, SENDER, SENDER_DOMAIN, Submission, World, dkim,
    eventually, message::assert_unchanged,
};
use hickory_resolver::proto::rr::RecordType;
use rustix::process::Signal;

#[tokio::test]
async fn both_signatures_are_good_whatever_the_body_looks_like() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com"], |options| options).await?;
    let long_line = format!("{}\r\n", "y".repeat(998));
    let bodies: [(&str, &str); 11] = [
        ("an ordinary body", "Hello Bob\r\nhow are you?\r\n"),
        ("an empty body", ""),
        ("a body of one empty line", "\r\n"),
        ("blank lines at the end", "Hello\r\n\r\n\r\n\r\n"),
        ("lines of white space at the end", "Hello\r\n \r\n\t \r\n"),
        ("white space and blank lines at the end", "Hello\r\n \r\n\r\n\t\r\n\r\n"),
        ("nothing but white space", " \r\n\t\r\n"),
        ("8-bit characters", "Grüße aus 北京\r\n"),
        ("a line of 998 characters", &long_line),
        ("dots at the beginning of lines", ".\r\n..\r\n.a\r\n"),
        ("white space within and after words", "a  b\t\tc \t\r\n  d\r\n"),
    ];
    for (index, (what, body)) in bodies.into_iter().enumerate() {
        let mail = Submission::new(SENDER, &["bob@126.com"], body);
        // swaks is the one that sends exactly what it is given, an empty body too.
        Client::Swaks.send(world.house.smtp(), &mail).await?;
        let received = world.receiver.wait_for(index + 1).await?[index].content.to_bytes();
        assert_unchanged(&received, &mail.message);
        let mut signatures = dkim::verify(&received, world.dns.address()).await?;
        signatures.sort_by(|a, b| a.algorithm.cmp(&b.algorithm));
        let [ed25519, rsa] = signatures.as_slice() else { panic!("{what}: {signatures:?}") };
        assert_eq!(
            (ed25519.algorithm.as_str(), rsa.algorithm.as_str()),
            ("ed25519-sha256", "rsa-sha256")
        );
        for signature in [ed25519, rsa] {
            assert!(signature.valid, "{what}: {signature:?}");
            assert_eq!(signature.domain, SENDER_DOMAIN);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_field_that_is_added_later_breaks_the_signatures() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &["126.com"], |options| options).await?;
    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n");
    Client::Swaks.send(world.house.smtp(), &mail).await?;
    let received = world.receiver.wait_for(1).await?[0].content.to_bytes();
    let forged = [b"Subject: Another one\r\nFrom: <eve@example.net>\r\n", &received[..]].concat();
    let signatures = dkim::verify(&forged, world.dns.address()).await?;
    assert_eq!(signatures.len(), 2);
    assert!(signatures.iter().all(|signature| !signature.valid), "{signatures:?}");
    Ok(())
}

#[tokio::test]
async fn a_new_key_signs_without_a_restart() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let keys = tempfile::tempdir()?;
    let directory = keys.path().to_owned();
    let mut world = World::start(&program, &["126.com"], |options| HouseOptions {
        dkim_keys: Some(directory),
        ..options
    })
    .await?;
    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n");
    Client::Smtplib.send(world.house.smtp(), &mail).await?;
    let received = world.receiver.wait_for(1).await?[0].content.to_bytes();
    assert_eq!(dkim::verify(&received, world.dns.address()).await?, []);

    // The keys that the world made for itself stand in the zone under the same names.
    for selector in [dkim::RSA_SELECTOR, dkim::ED25519_SELECTOR] {
        let name = format!("{selector}._domainkey.{SENDER_DOMAIN}");
        world.dns.remove(&name, RecordType::TXT).await;
    }
    dkim::publish_keys(keys.path(), SENDER_DOMAIN, &world.dns).await?;
    world.house.postoffice.process().signal(Signal::HUP)?;
    let mut sent = 1;
    let signatures = eventually("a mail that is signed with the new keys", async || {
        Client::Smtplib.send(world.house.smtp(), &mail).await?;
        sent += 1;
        let received = world.receiver.wait_for(sent).await?[sent - 1].content.to_bytes();
        let signatures = dkim::verify(&received, world.dns.address()).await?;
        Ok((!signatures.is_empty()).then_some(signatures))
    })
    .await?;
    assert_eq!(signatures.len(), 2);
    assert!(signatures.iter().all(|signature| signature.valid), "{signatures:?}");
    Ok(())
}
