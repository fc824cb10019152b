//! What `init` prints is a zone file to BIND and to hickory, and verifies what its keys sign.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use hedwig_lab::{Half, Result, dkim};
use hickory_server::proto::rr::RData;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

use super::site::{DOMAIN, HOST, Said, Site, environment, flags, program, records_of, said};

/// Runs `init` in a directory of its own.
async fn init(directory: &TempDir, arguments: &[&str]) -> Result<Said> {
    let mut command = program().command(Half::Postoffice);
    command.arg("init").args(arguments).args(flags(directory.path()));
    command.envs(environment([192, 0, 2, 1].into(), directory.path()));
    said(command).await
}

#[tokio::test]
async fn bind_takes_the_zone_file() -> Result<()> {
    let directory = TempDir::with_prefix("lab-")?;
    let said = init(&directory, &[DOMAIN, "--reports", "dmarc@example.com"]).await?;
    assert_eq!((said.code, said.error.contains("error")), (0, false), "{said:?}");
    let mut command = Command::new("named-checkzone");
    // The strictest there is; the names that MX and PTR lead to are in the file too.
    command.args(["-k", "fail", "-m", "fail", "-M", "fail", "-n", "fail", "-i", "full", "."]);
    command.arg("/dev/stdin").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let root = ". 3600 IN SOA ns. ns. 1 1 1 1 1\n. 3600 IN NS ns.\nns. 3600 IN A 192.0.2.53\n";
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(format!("{root}{}", said.out).as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.trim_end().ends_with("OK"), "{text}\n{}", said.out);
    Ok(())
}

#[tokio::test]
async fn every_record_is_there_once() -> Result<()> {
    let directory = TempDir::with_prefix("lab-")?;
    let said = init(&directory, &[DOMAIN, "--selector", "s", "--mx", "in.example.net"]).await?;
    let mut found: Vec<String> = records_of(&said.out)
        .into_iter()
        .map(|(name, data)| match data {
            RData::TXT(text) => {
                let text = String::from_utf8_lossy(&text.txt_data.concat()).into_owned();
                let text = text.split("p=MII").next().unwrap_or_default().to_owned();
                format!("{name} {}", text.split("; p=").next().unwrap_or_default())
            }
            other => format!("{name} {} {other}", other.record_type()),
        })
        .collect();
    found.sort();
    let expected = [
        "1.2.0.192.in-addr.arpa. PTR mail.example.org.",
        "_dmarc.example.org. v=DMARC1",
        "_mta-sts.example.org. v=STSv1; id=",
        "_smtp._tls.example.org. v=TLSRPTv1; rua=mailto:postmaster@example.org",
        "example.org. MX 10 in.example.net.",
        "example.org. v=spf1 ip4:192.0.2.1 -all",
        "mail.example.org. A 192.0.2.1",
        "mail.example.org. v=spf1 a -all",
        "s-ed25519._domainkey.example.org. v=DKIM1; k=ed25519",
        "s-rsa._domainkey.example.org. v=DKIM1; k=rsa",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
    assert!(said.out.contains(";     mx: in.example.net"), "{}", said.out);
    Ok(())
}

#[tokio::test]
async fn keys_that_are_there_stay_and_their_records_are_told_again() -> Result<()> {
    let directory = TempDir::with_prefix("lab-")?;
    let json = |said: &Said| -> Result<Value> { Ok(serde_json::from_str(&said.out)?) };
    let first = init(&directory, &[DOMAIN, "--json"]).await?;
    assert_eq!(first.code, 0, "{first:?}");
    let (first, keys) = (json(&first)?, directory.path().join("dkim/example.org"));
    let files = || -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&keys)? {
            let path = entry?.path();
            assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o7777, 0o600);
            files.push((path.display().to_string(), fs::read(&path)?));
        }
        files.sort();
        Ok(files)
    };
    let before = files()?;
    assert_eq!(before.len(), 2);

    let again = init(&directory, &[DOMAIN, "--json"]).await?;
    assert!(again.code == 1 && again.error.contains("has keys already"), "{again:?}");
    let again = json(&again)?;
    let dkim = |value: &Value| -> Vec<Value> {
        let records = value["records"].as_array().expect("records");
        let is_key = |r: &&Value| r["name"].as_str().is_some_and(|n| n.contains("._domainkey."));
        records.iter().filter(is_key).map(|record| record["value"].clone()).collect()
    };
    assert_eq!((dkim(&first).len(), dkim(&first)), (2, dkim(&again)));
    assert_eq!(
        (&first["keys"][0]["made"], &again["keys"][0]["made"]),
        (&true.into(), &false.into())
    );
    assert_eq!(files()?, before);

    let beside = init(&directory, &[DOMAIN, "--selector", "next", "--json"]).await?;
    assert_eq!((beside.code, dkim(&json(&beside)?).len()), (0, 4), "{beside:?}");
    let refused = init(&directory, &[DOMAIN, "--selector", "next"]).await?;
    assert!(refused.code == 1 && refused.error.contains("stays as it is"), "{refused:?}");
    let after = files()?;
    assert!(after.len() == 4 && before.iter().all(|file| after.contains(file)));
    Ok(())
}

#[tokio::test]
async fn the_published_records_verify_what_the_keys_sign() -> Result<()> {
    let site = Site::start().await?;
    let message = b"From: <alice@example.org>\r\nTo: <bob@126.com>\r\nSubject: A letter\r\n\
        Date: Sat, 21 Nov 2026 03:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n";
    let query = "from=alice@example.org&to=bob@126.com";
    let taken = site.daemon.post(query, &["Content-Type: message/rfc822"], message).await?;
    assert_eq!(taken.status, 202, "{taken:?}");
    let received = site.receiver.wait_for(1).await?[0].content.to_bytes();
    let mut signatures = dkim::verify(&received, site.dns.address()).await?;
    signatures.sort_by(|a, b| a.algorithm.cmp(&b.algorithm));
    let algorithms: Vec<&str> = signatures.iter().map(|one| one.algorithm.as_str()).collect();
    assert_eq!(algorithms, ["ed25519-sha256", "rsa-sha256"]);
    for (signature, selector) in signatures.iter().zip(site.selectors()?) {
        assert!(signature.valid && signature.domain == DOMAIN, "{signature:?}\n{}", site.zone);
        assert_eq!(signature.selector, selector);
    }
    assert!(site.zone.contains(HOST));
    Ok(())
}
