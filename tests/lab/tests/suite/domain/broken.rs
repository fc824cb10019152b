//! Each record that is wrong is found, and nothing else.

use hedwig_lab::{Delegation, Result, dkim::publish_keys};
use hickory_server::proto::rr::{Name, RData, RecordType, rdata::PTR};
use tempfile::TempDir;

use super::{
    doctor::assert_only,
    site::{ADDRESS, DOMAIN, HOST, OTHER, Site},
};

fn ptr(name: &str) -> RData {
    RData::PTR(PTR(Name::from_utf8(format!("{name}.")).expect("a name")))
}

/// The address's name in the reverse zone.
const REVERSE: &str = "77.2.0.192.in-addr.arpa";

/// A domain in which one name has other texts than `init` said.
async fn with_texts(site: &Site, name: &str, texts: &[&str]) {
    site.dns.remove(name, RecordType::TXT).await;
    for text in texts {
        site.dns.txt(name, text).await;
    }
}

#[tokio::test]
async fn spf() -> Result<()> {
    let site = Site::start().await?;
    let wanted = format!("v=spf1 ip4:{ADDRESS} -all");
    let too_deep: Vec<String> = (0..12).map(|n| format!("include:{n}.example.com")).collect();
    let too_deep = format!("v=spf1 {} {}", too_deep.join(" "), &wanted[7..]);
    for n in 0..12 {
        site.dns.txt(&format!("{n}.example.com"), "v=spf1 ip4:192.0.2.1 -all").await;
    }
    let unknown = wanted.replace(" -all", " ipv4:192.0.2.1 -all");
    let everybody = format!("{} +all", wanted.trim_end_matches(" -all"));
    for (texts, level, found, advice) in [
        (vec![], "fail", "there is no policy", wanted.as_str()),
        (vec!["v=spf10 -all"], "fail", "there is no policy", &wanted),
        (vec!["v=spf1 ip4:192.0.2.1 -all"], "fail", "fail for 192.0.2.77", &wanted),
        (vec!["v=spf1 ip4:192.0.2.1 ~all"], "fail", "softfail for 192.0.2.77", &wanted),
        (vec![&wanted, "v=spf1 -all"], "fail", "2 policies", "one record"),
        (vec!["v=spf1 include:nobody.example.com -all"], "fail", "permerror", "look-ups"),
        (vec![&too_deep], "fail", "permerror", "ten look-ups"),
        (vec![&unknown], "fail", "permerror: \"ipv4:192.0.2.1\" is no mechanism", &wanted),
        (vec![&everybody], "warn", "everybody passes", "-all"),
    ] {
        with_texts(&site, DOMAIN, &texts).await;
        assert_only(site.complaints(&[]).await?, level, "spf example.org", found, advice);
    }
    with_texts(&site, DOMAIN, &[&wanted]).await;
    with_texts(&site, HOST, &[]).await;
    assert_only(
        site.complaints(&[]).await?,
        "warn",
        "spf mail.example.org",
        "reports",
        "v=spf1 a -all",
    );
    Ok(())
}

#[tokio::test]
async fn dkim() -> Result<()> {
    let site = Site::start().await?;
    let [ed25519, _] = <[String; 2]>::try_from(site.selectors()?).expect("two keys");
    let name = format!("{ed25519}._domainkey.{DOMAIN}");
    let check = format!("dkim {name}");
    let line = site.zone.lines().find(|line| line.starts_with(&name)).expect("its line").to_owned();
    let right = line.split('"').nth(1).expect("one string").to_owned();
    let other = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    for (texts, found) in [
        (vec![], "not published"),
        (vec![other], "another key is published"),
        (vec![&right[..right.len() - 8]], "another key is published"),
        (vec![right.as_str(), other], "2 TXT records"),
        (vec!["v=DKIM1; k=ed25519; p="], "revoked"),
    ] {
        with_texts(&site, &name, &texts).await;
        assert_only(site.complaints(&[]).await?, "fail", &check, found, &line);
    }
    with_texts(&site, &name, &[&right]).await;
    assert!(site.complaints(&[]).await?.is_empty());
    // Somebody else's keys for another domain: it is not this one's fault.
    let elsewhere = TempDir::new()?;
    publish_keys(elsewhere.path(), "example.com", &site.dns).await?;
    assert!(site.complaints(&[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_names_of_addresses() -> Result<()> {
    let site = Site::start().await?;
    let (owner, check) = (REVERSE, format!("reverse {ADDRESS}"));
    let wanted = format!("{owner}. 3600 IN PTR {HOST}.");
    site.dns.remove(owner, RecordType::PTR).await;
    assert_only(site.complaints(&[]).await?, "fail", &check, "no PTR record", &wanted);
    site.dns.add(owner, ptr(OTHER)).await;
    assert_only(site.complaints(&[]).await?, "fail", &check, "does not lead back", &wanted);
    site.dns.remove(owner, RecordType::PTR).await.add(owner, ptr("nowhere.example.com")).await;
    assert_only(
        site.complaints(&[]).await?,
        "fail",
        &check,
        "nowhere.example.com does not lead back",
        &wanted,
    );
    site.dns.remove(owner, RecordType::PTR).await.add(owner, ptr("alias.example.org")).await;
    site.dns.address_of("alias.example.org", ADDRESS).await;
    assert_only(
        site.complaints(&[]).await?,
        "warn",
        &check,
        "we say hello as mail.example.org",
        "alias.example.org",
    );
    // One right name among others is enough.
    site.dns.add(owner, ptr(HOST)).await;
    assert!(site.complaints(&[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn mx() -> Result<()> {
    let site = Site::start().await?;
    let check = "mx example.org";
    site.dns.remove(DOMAIN, RecordType::MX).await.null_mx(DOMAIN).await;
    assert_only(
        site.complaints(&[]).await?,
        "fail",
        check,
        "null MX",
        "example.org. 3600 IN MX 10 mail.example.org.",
    );
    site.dns.remove(DOMAIN, RecordType::MX).await.cname("in.example.org", HOST).await;
    site.dns.mx(DOMAIN, 10, "in.example.org").await;
    let policy =
        "version: STSv1\nmode: enforce\nmx: *.example.org\nmx: example.org\nmax_age: 86400\n";
    site.write_policy(policy)?;
    assert_only(
        site.complaints(&[]).await?,
        "warn",
        check,
        "is an alias of mail.example.org",
        "the host itself",
    );
    site.dns.remove(DOMAIN, RecordType::MX).await.mx(DOMAIN, 10, "gone.example.org").await;
    assert_only(site.complaints(&[]).await?, "fail", check, "gone.example.org", "A or AAAA");
    site.dns.remove(DOMAIN, RecordType::MX).await;
    assert_only(
        site.complaints(&[]).await?,
        "fail",
        check,
        "neither an MX record nor an address",
        "IN MX 10",
    );
    site.dns.address_of(DOMAIN, [127, 0, 0, 1]).await;
    assert_only(site.complaints(&[]).await?, "warn", check, "no MX record", "IN MX 10");
    Ok(())
}

#[tokio::test]
async fn dmarc() -> Result<()> {
    let site = Site::start().await?;
    let (name, check) = ("_dmarc.example.org", "dmarc example.org");
    let good = "v=DMARC1; p=reject; rua=mailto:dmarc@example.org";
    let consent = "example.org._report._dmarc.example.com";
    site.dns.txt(consent, "of no meaning here").await;
    for (texts, level, found, advice) in [
        (
            vec![],
            "fail",
            "there is no policy",
            "v=DMARC1; p=none; rua=mailto:postmaster@example.org",
        ),
        (vec!["p=none; v=DMARC1"], "fail", "there is no policy", "_dmarc.example.org."),
        (vec![good, "v=DMARC1; p=none"], "fail", "2 records", "one"),
        (vec!["v=DMARC1; p=strict"], "fail", "p=strict", "p=none"),
        (vec!["v=DMARC1; p=none"], "warn", "nobody gets reports", "rua=mailto:"),
        (
            vec!["v=DMARC1; p=none; rua=mailto:d@example.com"],
            "warn",
            "has not consented",
            "example.org._report._dmarc.example.com.",
        ),
    ] {
        with_texts(&site, name, &texts).await;
        assert_only(site.complaints(&[]).await?, level, check, found, advice);
    }
    site.dns.txt(consent, "v=DMARC1").await;
    assert!(site.complaints(&[]).await?.is_empty());
    // A domain below has the policy of the one above, and its signatures: unless they are to be its own.
    site.dns.mx("news.example.org", 10, HOST).await;
    site.dns.txt("news.example.org", &format!("v=spf1 ip4:{ADDRESS} -all")).await;
    for (tags, level) in [("", "warn"), ("; adkim=s", "fail")] {
        with_texts(&site, name, &[&format!("{good}{tags}")]).await;
        let complaints = site.complaints(&["news.example.org"]).await?;
        let dmarc = complaints.iter().find(|complaint| complaint.check.starts_with("dmarc"));
        assert_eq!(dmarc.map_or("warn", |dmarc| dmarc.level.as_str()), level, "{complaints:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn mta_sts() -> Result<()> {
    let mut site = Site::start().await?;
    let (name, check) = ("_mta-sts.example.org", "mta-sts example.org");
    for (texts, level, found) in [
        (vec![], "warn", "there is no policy"),
        (vec!["v=STSv1; id=a-b"], "fail", "no id of letters and digits"),
        (vec!["v=STSv1; id=1", "v=STSv1; id=2"], "fail", "there are several"),
    ] {
        with_texts(&site, name, &texts).await;
        assert_only(site.complaints(&[]).await?, level, check, found, "");
    }
    with_texts(&site, name, &["v=STSv1; id=1"]).await;
    for (policy, level, found, advice) in [
        (
            "version: STSv1\nmode: enforce\nmx: mx.example.net\nmax_age: 86400\n",
            "fail",
            "does not name the exchanger mail.example.org",
            "mx: mail.example.org",
        ),
        ("version: STSv1\nmode: none\nmax_age: 86400\n", "warn", "mode: none", "mode: testing"),
        ("<html>", "fail", "is no policy", "RFC 8461"),
    ] {
        site.write_policy(policy)?;
        assert_only(site.complaints(&[]).await?, level, check, found, advice);
    }
    site.write_policy("version: STSv1\nmode: enforce\nmx: mail.example.org\nmax_age: 86400\n")?;
    assert!(site.complaints(&[]).await?.is_empty());
    site.end_web().await?;
    assert_only(
        site.complaints(&[]).await?,
        "fail",
        check,
        "cannot be had",
        "certificate for mta-sts.example.org",
    );
    Ok(())
}

#[tokio::test]
async fn tlsrpt() -> Result<()> {
    let site = Site::start().await?;
    let (name, check) = ("_smtp._tls.example.org", "tlsrpt example.org");
    for (texts, level, found) in [
        (vec!["of no meaning here"], "warn", "nobody gets reports"),
        (vec!["v=TLSRPTv1; rua=tls@example.org"], "fail", "neither mailto: nor https:"),
        (vec!["v=TLSRPTv1"], "fail", "neither mailto: nor https:"),
        (
            vec!["v=TLSRPTv1; rua=mailto:a@b.example", "v=TLSRPTv1; rua=mailto:c@d.example"],
            "fail",
            "2 records",
        ),
    ] {
        with_texts(&site, name, &texts).await;
        assert_only(site.complaints(&[]).await?, level, check, found, "");
    }
    Ok(())
}

#[tokio::test]
async fn a_zone_whose_signatures_are_wrong_fails_with_what_to_mend() -> Result<()> {
    let site = Site::start().await?;
    site.dns.delegate("example.com", Delegation::Bogus).await;
    site.dns.mail_domain("example.com", [127, 0, 0, 1]).await;
    let complaints = site.complaints(&["example.com"]).await?;
    let mx = complaints.iter().find(|complaint| complaint.check == "mx example.com");
    let mx = mx.unwrap_or_else(|| panic!("{complaints:#?}"));
    assert!(
        mx.level == "fail" && mx.found.contains("DNSSEC") && mx.advice.contains("DS record"),
        "{mx:?}"
    );
    Ok(())
}
