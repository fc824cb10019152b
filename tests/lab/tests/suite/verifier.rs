//! The DKIM verifiers themselves: they take what another program signed well, and nothing else.

use std::{path::Path, process::Stdio};

use hedwig_lab::{
    Dns, Result,
    dkim::{self, Verified, publish_keys},
};
use tokio::{io::AsyncWriteExt, process::Command};

const MESSAGE: &[u8] = b"From: <a@example.org>\r\nTo: <b@example.com>\r\nSubject: A letter\r\n\
    Date: Sat, 21 Nov 2026 03:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n";

/// Signs with dkimpy and the RSA key.
async fn sign(keys: &Path) -> Result<Vec<u8>> {
    const SCRIPT: &str = "
import sys, dkim
message, key = sys.stdin.buffer.read(), open(sys.argv[1], 'rb').read()
signature = dkim.sign(message, b'rsa', b'example.org', key, canonicalize=(b'relaxed', b'relaxed'))
sys.stdout.buffer.write(signature + message)
";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT])
        .arg(keys.join("example.org/rsa.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().expect("a pipe").write_all(MESSAGE).await?;
    let output = child.wait_with_output().await?;
    assert!(output.status.success());
    Ok(output.stdout)
}

async fn verify_both_ways(message: &[u8], dns: &Dns) -> Result<[Vec<Verified>; 2]> {
    Ok([dkim::verify(message, dns.address()).await?, dkim::verify_in_process(message, dns).await?])
}

#[tokio::test]
async fn a_good_signature_passes_and_a_changed_message_does_not() -> Result<()> {
    let keys = tempfile::tempdir()?;
    let dns = Dns::start().await?;
    publish_keys(keys.path(), "example.org", &dns).await?;
    let signed = sign(keys.path()).await?;
    for verified in verify_both_ways(&signed, &dns).await? {
        let [signature] = verified.as_slice() else { panic!("{verified:?}") };
        assert!(signature.valid, "{signature:?}");
        assert_eq!(signature.algorithm, "rsa-sha256");
        assert_eq!(
            (signature.domain.as_str(), signature.selector.as_str()),
            ("example.org", "rsa")
        );
    }
    let changed = String::from_utf8(signed)?.replace("Hello", "Hullo");
    for verified in verify_both_ways(changed.as_bytes(), &dns).await? {
        assert!(verified.len() == 1 && !verified[0].valid, "{verified:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_without_signatures_has_none() -> Result<()> {
    let dns = Dns::start().await?;
    assert_eq!(verify_both_ways(MESSAGE, &dns).await?, [vec![], vec![]]);
    Ok(())
}
