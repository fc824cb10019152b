//! The queue, from near and far.

use serde_json::Value;

use crate::{daemon::Daemon, run};

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
fn a_remote_daemon_with_a_certificate_of_its_own_is_asked_once_that_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (certificate, key) = (path("postoffice.pem"), path("postoffice.key"));
    let made = self_signed("127.0.0.1");
    std::fs::write(&certificate, made.0).unwrap();
    std::fs::write(&key, made.1).unwrap();
    let variables = [("HTTP_CERTIFICATE", &*certificate), ("HTTP_KEY", &key)];
    let daemon = Daemon::start_with(directory.path(), &variables);
    let url = format!("https://{}", daemon.address);
    let trusting = ["--url-authorities", &certificate];

    let queue = ["queue", "list", "--url", &url, "--token-file", &daemon.token_file];
    let (code, _, error) = run(&queue);
    assert_eq!((code, error.contains("certificate")), (75, true), "{error}");
    let (code, out, error) = run(&[&queue, &trusting[..]].concat());
    assert_eq!((code, &*out, &*error), (0, "Nothing waits.\n", ""));

    let explain = ["explain", "bob@example.net", "--url", &url];
    let explain = [&explain, &["--url-token-file", &daemon.token_file][..]].concat();
    assert_eq!(run(&explain).0, 1);
    let (code, out, error) = run(&[&explain, &trusting[..]].concat());
    assert!(code == 0 && out.contains("limits:"), "{out}{error}");

    let (code, _, error) = run(&[&queue, &["--url-authorities", "/nonexistent"][..]].concat());
    let told = error.contains("--url-authorities: cannot read /nonexistent");
    assert_eq!((code, told), (75, true), "{error}");
    assert_eq!(run(&[&["queue", "list"], &trusting[..]].concat()).0, 64, "it goes with --url");
}

/// A certificate that vouches for itself and is no authority, as docs/deploy.md makes it, and its key, in PEM.
fn self_signed(host: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
