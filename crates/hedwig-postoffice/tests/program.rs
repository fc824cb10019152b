//! The program as an operator runs it: its configuration, and its queue from near and far.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

const TOKEN: &str = "a-token-for-tests";

/// Runs the program with nothing in its environment; exit code, output, errors.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedwig-postoffice"));
    let output = command.env_clear().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A postoffice with a token that defers everything.
struct Daemon {
    child: Child,
    address: String,
    spool: String,
    token_file: String,
}

impl Daemon {
    fn start(directory: &Path) -> Self {
        let path = |name: &str| directory.join(name).display().to_string();
        let (spool, token_file) = (path("spool"), path("token"));
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedwig-postoffice"));
        command.env_clear().args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--spool", &spool, "--token-file", &token_file]);
        command.args(["--route", "*=fail:4.3.2 closed", "--dns", "127.0.0.1:9"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" && line["protocol"] == "http" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        // Nobody reads the rest, and a full pipe must not stop the daemon.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address, spool, token_file }
    }

    /// Speaks HTTP; returns header and body.
    fn ask(&self, request: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").unwrap();
        write!(stream, "Authorization: Bearer {TOKEN}\r\nContent-Type: message/rfc822\r\n")
            .unwrap();
        write!(stream, "Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (header, body) = answer.split_once("\r\n\r\n").unwrap();
        (header.to_owned(), body.to_owned())
    }

    /// Hands a mail in, and returns its id.
    fn mail(&self, recipient: &str) -> String {
        let request = format!("POST /v1/messages?from=alice%40example.org&to={recipient}");
        let (header, body) = self.ask(&request, "Subject: hi\r\n\r\nHi.\r\n");
        assert!(header.starts_with("HTTP/1.1 202"), "{header}\n{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["messages"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Runs a queue command on the spool; it must go well.
    fn queue(&self, arguments: &[&str]) -> String {
        let (code, out, error) = run(&[&["queue"], arguments, &["--spool", &self.spool]].concat());
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    /// The state of a mail's recipient, once it is as it should be.
    fn wait_for_state(&self, id: &str, state: &str) {
        loop {
            let mail: Value = serde_json::from_str(&self.queue(&["show", id, "--json"])).unwrap();
            if mail["recipients"][0]["state"] == state {
                return;
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

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

#[test]
fn the_queue_is_listed_shown_and_acted_on() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let id = daemon.mail("bob%40example.net");
    let other = daemon.mail("carol%40example.com");
    daemon.wait_for_state(&id, "deferred");
    daemon.wait_for_state(&other, "deferred");

    let list = daemon.queue(&["list", "--domain", "example.net"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("ID "), "{list}");
    assert!(lines[1].starts_with(&id) && lines[1].contains("deferred"), "{list}");
    assert!(lines[1].ends_with("<alice@example.org> -> <bob@example.net>"), "{list}");
    assert!(lines[2].trim().starts_with('(') && lines[2].contains("4.3.2 closed"), "{list}");

    let show = daemon.queue(&["show", &id]);
    for part in
        ["sender:   <alice@example.org>", "state:    deferred, 4.3.2", "next due: ", "4.3.2 closed"]
    {
        assert!(show.contains(part), "{part} is not in\n{show}");
    }

    assert_eq!(daemon.queue(&["hold", &id]), "1 recipient held\n");
    daemon.wait_for_state(&id, "held");
    assert_eq!(daemon.queue(&["release", "--state", "held"]), "1 recipient released\n");
    daemon.wait_for_state(&id, "deferred");
    assert_eq!(daemon.queue(&["retry", "--all", "--json"]), "{\"recipients\":2}\n");
    daemon.wait_for_state(&id, "deferred");
    daemon.wait_for_state(&other, "deferred");
    assert_eq!(daemon.queue(&["drop", "--sender", "alice@example.org"]), "2 recipients dropped\n");
    assert_eq!(daemon.queue(&["list"]), "Nothing waits.\n");
    let all = daemon.queue(&["list", "--all", "--json"]);
    assert_eq!(all.lines().count(), 2, "{all}");
}

#[test]
fn what_a_daemon_held_can_be_seen_after_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let id = daemon.mail("bob%40example.net");
    daemon.wait_for_state(&id, "deferred");
    let spool = daemon.spool.clone();
    drop(daemon);

    let queue = |arguments: &[&str]| run(&[&["queue"], arguments, &["--spool", &spool]].concat());
    let (code, out, error) = queue(&["list", "--json"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let mail: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (mail["id"].as_str(), mail["recipients"][0]["state"].as_str()),
        (Some(&*id), Some("deferred"))
    );
    assert_eq!(queue(&["drop", &id]).0, 0);
    assert_eq!(queue(&["list"]).1, "Nothing waits.\n");
}

#[test]
fn a_remote_queue_is_asked_with_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let id = daemon.mail("bob%40example.net");
    let url = format!("http://{}", daemon.address);
    let remote = |token_file: &str, arguments: &[&str]| {
        let rest = ["--url", &url, "--token-file", token_file];
        run(&[&["queue"], arguments, &rest].concat())
    };
    let (code, out, error) = remote(&daemon.token_file, &["show", &id, "--json"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let mail: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(mail["sender"], "alice@example.org");

    let wrong = directory.path().join("wrong");
    std::fs::write(&wrong, "another-token\n").unwrap();
    let (code, _, error) = remote(wrong.to_str().unwrap(), &["list"]);
    assert_eq!(
        (code, error.as_str()),
        (75, "error: 401 Unauthorized: Show a token of this server.\n")
    );
    let (code, _, error) = run(&["queue", "list", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code, 75);
    assert!(error.contains("http://127.0.0.1:1") && error.contains("refused"), "{error}");
}

#[test]
fn health_and_metrics_are_shown_without_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let id = daemon.mail("bob%40example.net");
    daemon.wait_for_state(&id, "deferred");
    assert_eq!(daemon.ask("GET /healthz", "").1, "ok\n");
    assert_eq!(daemon.ask("GET /readyz", "").1, "ok\n");
    let (header, metrics) = daemon.ask("GET /metrics", "");
    assert!(
        header.to_lowercase().contains("content-type: application/openmetrics-text"),
        "{header}"
    );
    for line in [
        "hedwig_mails_accepted_total 1",
        "hedwig_recipients_total{outcome=\"deferred\"} 1",
        "hedwig_queue_recipients{state=\"deferred\"} 1",
        "hedwig_queue_recipients{state=\"held\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

/// Every file below a directory, and what is in it.
fn files(directory: &Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

#[test]
fn check_finds_damage_in_a_spool_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let ids = ["a", "b", "c"].map(|name| daemon.mail(&format!("{name}%40example.net")));
    ids.iter().for_each(|id| daemon.wait_for_state(id, "deferred"));
    let spool = daemon.spool.clone();
    drop(daemon);
    let check = || {
        let before = files(Path::new(&spool));
        let told = run(&["check", "--spool", &spool]);
        assert_eq!(files(Path::new(&spool)), before, "a look changes nothing");
        told
    };
    let (code, out, error) = check();
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("recipients deferred: 3\nThe spool is whole.\n"), "{out}");

    let log = Path::new(&spool).join("log/0000000001.segment");
    let whole = std::fs::read(&log).unwrap();
    let find = |text: &[u8], until: usize| {
        whole[..until].windows(text.len()).rposition(|part| part == text).unwrap()
    };
    let mut bytes = whole.clone();
    // The second mail's own record comes before all that tells of it.
    let first = whole.windows(13).position(|part| part == b"b@example.net").unwrap();
    bytes[first] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (code, out, error) = check();
    assert_eq!((code, error.as_str()), (65, ""), "{out}");
    let place = find(b"HdwR", first);
    assert!(out.contains(&format!("damaged: log/0000000001.segment at octet {place}\n")), "{out}");
    assert!(out.contains("recipients deferred: 2\n"), "{out}");
    assert!(!out.contains("whole"), "{out}");

    std::fs::write(&log, whole).unwrap();
    std::fs::write(Path::new(&spool).join("format"), "{").unwrap();
    let (code, _, error) = check();
    assert_eq!(code, 65);
    assert!(error.contains("format"), "{error}");
}
