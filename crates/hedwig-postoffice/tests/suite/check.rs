//! What `check` says of a configuration.

use crate::run;

#[test]
fn without_a_token_only_loopback_is_listened_on() {
    let (code, _, error) = run(&["serve", "--listen", "0.0.0.0:8025"]);
    assert_eq!(code, 78);
    assert_eq!(
        error,
        "error: --listen: [http] listen: without a token 0.0.0.0:8025 would relay for everybody \
         who can reach it; set one with --token-file, or listen on 127.0.0.1:8025\n"
    );
    assert_eq!(run(&["check", "--listen", "127.0.0.1:8025"]).0, 0);
}

#[test]
fn an_address_that_this_host_does_not_have_yet_is_75_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (spool, token) = (path("spool"), path("token"));
    std::fs::write(&token, "a-token-for-tests\n").unwrap();
    // 192.0.2.0/24 is for documentation, and no host's (RFC 5737).
    let listen = ["--listen", "192.0.2.1:8025", "--token-file", &token];
    let (code, _, error) = run(&[&["serve", "--spool", &spool], &listen[..]].concat());
    assert_eq!(code, 75, "{error}");
    assert!(error.contains("this host does not have the address 192.0.2.1"), "{error}");
}

#[test]
fn check_tells_what_a_right_configuration_amounts_to() {
    let arguments =
        ["check", "--hostname", "mx.example.org", "--route", "example.org=lmtp://[::1]:24"];
    let (code, out, error) = run(&arguments);
    assert_eq!((code, error.as_str()), (0, ""));
    for line in [
        "hostname: mx.example.org",
        "mail is taken at: 127.0.0.1:8025 (HTTP)",
        "and may be sent by: programs on this host, without a token",
        "it is queued in: /var/spool/hedwig-postoffice",
        "route: example.org=lmtp://[::1]:24",
        "DKIM: no keys, mail is not signed",
        "TLS: opportunistic",
        "DANE: on, if the name servers pass DNSSEC on; the log says so",
        "MTA-STS: on",
    ] {
        assert!(out.lines().any(|found| found == line), "{line} is not in\n{out}");
    }
}

#[test]
fn check_tells_the_logins_without_their_passwords_and_the_sources() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (file, logins) = (path("postoffice.toml"), path("smart-hosts"));
    std::fs::write(&logins, "relay.example alice open sesame\n").unwrap();
    let sources = "source = [\"192.0.2.1 weight=3 hello=a.example.org\", \"192.0.2.2\"]";
    let single = "source_ipv4 = \"192.0.2.9\"\nsource_ipv6 = \"2001:db8::1\"";
    std::fs::write(&file, format!("[mx]\ncredentials = {logins:?}\n{sources}\n{single}\n"))
        .unwrap();
    let check = |mode| {
        std::fs::set_permissions(&logins, std::fs::Permissions::from_mode(mode)).unwrap();
        let (code, out, error) = run(&["check", "--hostname", "mx.example.org", "--config", &file]);
        assert!(!out.contains("sesame") && !error.contains("sesame"), "{out}{error}");
        (code, out, error)
    };
    let (code, out, error) = check(0o600);
    assert_eq!((code, error.as_str()), (0, ""));
    for line in [
        "login: alice at relay.example",
        "source: 192.0.2.1 weight=3 hello=a.example.org",
        "source: 192.0.2.2 weight=1",
        "source: 2001:db8::1 weight=1",
    ] {
        assert!(out.lines().any(|found| found == line), "{line} is not in\n{out}");
    }
    assert!(!out.contains("192.0.2.9"), "the list has IPv4 addresses of its own");
    let (code, _, error) = check(0o644);
    assert_ne!(code, 0);
    for part in ["mode 0644", "[mx] credentials", logins.as_str()] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn dane_and_mta_sts_are_on_and_may_be_turned_off() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (file, keys) = (path("postoffice.toml"), path("root.key"));
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(&["check", "--hostname", "mx.example.org", "--config", &file])
    };
    let (code, out, _) = check("[mx]\ndane = false\nmta_sts = false\n");
    assert_eq!(code, 0);
    assert!(out.contains("DANE: off") && out.contains("MTA-STS: off"), "{out}");
    let (code, out, _) = check("[mx]\ndane = false\ntls_domain = [\"*.example.org=dane\"]\n");
    assert_eq!(code, 0);
    assert!(out.contains("TLS: *.example.org=dane") && out.contains("waits for ever"), "{out}");
    let (code, _, error) = check("[mx]\ntls_domain = [\"example.org=strict\"]\n");
    assert_eq!((code, error.contains("example.org=strict")), (78, true), "{error}");

    let anchors = format!("[mx]\ndane = true\n[dns]\ntrust_anchors = {keys:?}\n");
    let (code, _, error) = check(&anchors);
    assert_eq!((code, error.contains(&keys)), (78, true), "{error}");
    std::fs::write(&keys, "example.com. IN A 192.0.2.1\n").unwrap();
    let (code, _, error) = check(&anchors);
    assert_eq!((code, error.contains("DNSKEY")), (78, true), "{error}");
    let key = ". IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=\n";
    std::fs::write(&keys, key).unwrap();
    assert_eq!(check(&anchors).0, 0);
}

#[test]
fn check_tells_who_reports_tls() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = directory.path().join("postoffice.toml");
        std::fs::write(&file, text).unwrap();
        run(&["check", "--hostname", "mx.example.org", "--config", file.to_str().unwrap()])
    };
    assert!(check("").1.contains("TLS reports: off\n"));
    let (code, out, _) = check("[tlsrpt]\ncontact = \"tls@example.org\"\n");
    assert_eq!(code, 0);
    let who = "TLS reports: of mx.example.org, from tls@example.org, contact tls@example.org\n";
    assert!(out.contains(who) && out.contains("no DKIM key for their sender"), "{out}");
    let (code, out, _) = check(
        "[tlsrpt]\ncontact = \"tls@example.org\"\norganization = \"Us\"\nfrom = \"a@example.com\"\n",
    );
    let who = "TLS reports: of Us, from a@example.com, contact tls@example.org\n";
    assert!(code == 0 && out.contains(who), "{out}");
    let (_, out, error) = check("[tlsrpt]\nfrom = \"a@example.com\"\n");
    assert!(format!("{out}{error}").contains("the rest of [tlsrpt] is idle"), "{out}{error}");
    for wrong in ["postmaster", "bücher@example.org", "a@b@c"] {
        let (code, _, error) = check(&format!("[tlsrpt]\ncontact = \"{wrong}\"\n"));
        assert!(code != 0 && error.contains("contact"), "{wrong}: {error}");
    }
}

#[test]
fn check_tells_every_mistake() {
    let (code, _, error) = run(&[
        "check",
        "--route",
        "example.org=smpt://relay",
        "--dkim-keys",
        "/nonexistent",
        "--dns",
        "nowhere",
        "--token-file",
        "/nonexistent/token",
    ]);
    assert_eq!(code, 78);
    for part in [
        "--route: [mx] route = \"example.org=smpt://relay\":",
        "--dkim-keys: [dkim] keys: ",
        "--dns: [dns] server = \"nowhere\": ",
        "/nonexistent/token (--token-file): [http] token cannot be read from this file",
    ] {
        assert!(error.contains(part), "{part} is not in\n{error}");
    }
    assert_eq!(error.lines().count(), 4, "{error}");
}
