//! The program as an operator runs it: arguments, environment, exit codes, signals.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use crate::daemon::{Daemon, ended, mailman, run};

#[test]
fn arguments_that_make_no_sense_are_64() {
    for arguments in [
        &["serve", "--lisen", "127.0.0.1:25"][..],
        &["frobnicate"],
        &[],
        &["queue", "drop"],
        &["queue", "show"],
        &["queue", "list", "--state", "lost"],
        &["queue", "list", "--token-file", "x"],
    ] {
        let (code, _, error) = run(arguments);
        assert_eq!(code, 64, "{arguments:?}: {error}");
        assert!(!error.is_empty());
    }
    let (_, _, error) = run(&["queue", "drop"]);
    assert!(error.contains("Name ids, a filter such as --domain, or --all"), "{error}");
}

#[test]
fn the_help_names_every_setting_in_all_its_names() {
    let (code, help, _) = run(&["serve", "--help"]);
    assert_eq!(code, 0);
    for setting in hedwig_mailman::SCOPE.table {
        assert!(help.contains(&setting.name()), "{} is not in\n{help}", setting.name());
        assert!(help.contains(&hedwig_mailman::SCOPE.variable(setting)));
        if let Some(flag) = setting.flag {
            assert!(help.contains(&format!("--{flag}")), "--{flag}");
        }
    }
}

#[test]
fn check_tells_what_a_right_configuration_amounts_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mailman.toml");
    let spool = directory.path().join("spool");
    std::fs::write(&file, format!("[spool]\ndir = '{}'\n", spool.display())).unwrap();
    let (code, out, error) = ended(
        mailman(&["check", "--config", file.to_str().unwrap(), "--hostname", "lonely"])
            .env("HEDWIG_MAILMAN_SMTP_RELAY_FROM", "10.0.0.0/8,192.0.2.1")
            .output()
            .unwrap(),
    );
    assert_eq!((code, error.as_str()), (0, ""));
    for line in [
        "hostname: lonely",
        "mail is taken at: 127.0.0.1:25 (SMTP), as listener smtp",
        "  it may be sent by: this host, 10.0.0.0/8 but 10.0.0.1, 192.0.2.1/32",
        "  as: anybody",
        "  up to: 50.0M and 1000 recipients a mail; without limit",
        "warning: --hostname: [server] hostname: \"lonely\" is not fully qualified",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}");
    }
    assert!(!spool.exists(), "check changes nothing");
}

#[test]
fn check_tells_every_mistake_and_exits_with_78() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mailman.toml");
    std::fs::write(
        &file,
        "[smtp]\nlisten = ['here']\nrelay_form = '10.0.0.0/8'\n\
         [postoffice]\nurl = 'gopher://example.org'\nkey = '/key.pem'\n",
    )
    .unwrap();
    let (code, out, error) = ended(
        mailman(&["check", "--config", file.to_str().unwrap()])
            .env("HEDWIG_MAILMAN_DELIVERY_RETRY", "0s")
            .output()
            .unwrap(),
    );
    assert_eq!((code, out.as_str()), (78, ""), "{error}");
    let file = file.display();
    for line in [
        format!("error: {file}:2: [smtp] listen = \"here\": invalid socket address syntax"),
        format!(
            "error: {file}:3: [smtp] relay_form is no setting of hedwig-mailman; did you mean relay_from?"
        ),
        format!("error: {file}:5: [postoffice] url: \"gopher://example.org\" is not the URL"),
        format!("error: {file}:6: [postoffice] key: a private key needs its certificate"),
        "error: HEDWIG_MAILMAN_DELIVERY_RETRY: [delivery] retry: without a wait".to_owned(),
    ] {
        assert!(error.contains(&line), "{line} is not in\n{error}");
    }
    assert_eq!(error.lines().count(), 5, "{error}");
    let (code, _, again) = ended(
        mailman(&["serve", "--config", &file.to_string()])
            .env("HEDWIG_MAILMAN_DELIVERY_RETRY", "0s")
            .output()
            .unwrap(),
    );
    assert_eq!((code, again), (78, error), "serve and check read the same");
}

#[test]
fn a_port_that_is_taken_is_told_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().display().to_string();
    let (code, _, error) = run(&["serve", "--listen", &address, "--spool", &spool]);
    assert_eq!(code, 75, "the other program may be a predecessor that still stops");
    assert!(error.contains("another program has port"), "{error}");
}

#[test]
fn an_address_that_this_host_does_not_have_yet_is_75_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().display().to_string();
    let serve = |name: &str, value: &str| {
        let mut command = mailman(&["serve", "--listen", "127.0.0.1:0", "--spool", &spool]);
        ended(command.env(format!("HEDWIG_MAILMAN_{name}"), value).output().unwrap())
    };
    // 192.0.2.0/24 is for documentation, and no host's (RFC 5737).
    for name in ["LISTENER_CONTAINERS_LISTEN", "ADMIN_LISTEN"] {
        let (code, _, error) = serve(name, "192.0.2.1:2525");
        assert_eq!(code, 75, "{error}");
        assert!(error.contains("cannot listen on 192.0.2.1:2525"), "{error}");
        assert!(error.contains("this host does not have the address 192.0.2.1"), "{error}");
    }
    let (code, _, error) = serve("LISTENER_LOCAL_LISTEN", "unix:/nonexistent/lmtp.sock");
    assert_eq!(code, 78, "{error}");
}

#[test]
fn sigterm_ends_it_gracefully_and_takes_the_control_socket_away() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &[]);
    assert_eq!(daemon.listening["protocol"], "smtp");
    let address: std::net::SocketAddr =
        daemon.listening["address"].as_str().unwrap().parse().unwrap();
    assert_ne!(address.port(), 0);
    let socket = directory.path().join("spool/control.sock");
    assert!(socket.exists());
    let (code, log) = daemon.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(!socket.exists());
}

#[test]
fn sighup_is_told_and_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.signal("HUP");
    daemon.wait_for_log("SIGHUP: certificates, users and keys are read again by themselves");
    assert_eq!(daemon.terminate().0, 0);
}

#[test]
fn a_second_daemon_on_the_same_spool_is_told_to_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &[]);
    let spool = directory.path().join("spool").display().to_string();
    let (code, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--spool", &spool]);
    assert_eq!(code, 75, "{error}");
    assert!(error.contains("in use by another process"), "{error}");
    assert_eq!(daemon.terminate().0, 0);
}

#[test]
fn queue_list_asks_the_daemon_or_else_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool").display().to_string();
    let list = || run(&["queue", "list", "--spool", &spool]);
    let (code, _, error) = list();
    assert_eq!(code, 75, "{error}");
    assert!(error.contains("name the spool with --spool"), "{error}");

    let daemon = Daemon::start(directory.path(), &[]);
    assert_eq!(list(), (0, "Nothing waits.\n".to_owned(), String::new()));
    assert_eq!(daemon.terminate().0, 0);
    assert_eq!(list(), (0, "Nothing waits.\n".to_owned(), String::new()));
}

#[test]
fn a_mail_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().display().to_string();
    let id = "01ja0000000000000000000000";
    for arguments in [["queue", "show", id], ["queue", "drop", id]] {
        let (code, ..) = run(&[&arguments[..], &["--spool", &spool]].concat());
        assert_eq!(code, 1, "{arguments:?}");
    }
}

#[test]
fn the_admin_listener_shows_health_to_all_and_the_queue_to_its_operator() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "operator\n").unwrap();
    let config = directory.path().join("mailman.toml");
    std::fs::write(&config, format!("[admin]\ntoken_file = '{}'\n", token.display())).unwrap();
    let arguments = ["--admin", "127.0.0.1:0", "--config", config.to_str().unwrap()];
    let daemon = Daemon::start_until(directory.path(), &arguments, "admin");
    let address = daemon.listening["address"].as_str().unwrap().to_owned();

    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(get("/metrics").contains("hedwig_mails_accepted_total 0"));
    assert!(get("/v1/queue").starts_with("HTTP/1.1 401"));

    let url = format!("http://{address}");
    let token = token.display().to_string();
    let (code, out, _) = run(&["queue", "list", "--url", &url, "--token-file", &token]);
    assert_eq!((code, out.as_str()), (0, "Nothing waits.\n"));
    assert_eq!(daemon.terminate().0, 0);
}

/// Runs with this on standard input.
fn run_with(input: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = mailman(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    ended(child.wait_with_output().unwrap())
}

#[test]
fn users_are_added_listed_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users").display().to_string();
    let user =
        |words: &[&str], input| run_with(input, &[&["user"], words, &["--file", &file]].concat());
    assert_eq!(user(&["add", "alice"], "wonderland\n"), (0, "added alice\n".into(), String::new()));
    assert_eq!(user(&["add", "alice"], "looking glass\n").1, "changed alice\n");
    assert_eq!(user(&["add", "bob"], "x").1, "added bob\n");
    assert_eq!(user(&["list"], "").1, "alice\nbob\n");
    assert_eq!(user(&["remove", "bob"], "").1, "removed bob\n");
    let (code, _, error) = user(&["remove", "bob"], "");
    assert_eq!((code, error.as_str()), (1, "error: there is no user \"bob\"\n"));
    let (code, _, error) = user(&["add", "carol"], "\n");
    assert_eq!((code, error.as_str()), (1, "error: the password is empty\n"));
    assert_eq!(user(&["list"], "").1, "alice\n");
    assert_eq!(user(&["add", "carol", "password"], "").0, 64, "a password is no argument");
    let (code, _, error) = run(&["user", "list", "--config", "/dev/null"]);
    assert_eq!(code, 78);
    assert!(error.contains("[users] file is not set"), "{error}");
}

#[test]
fn check_warns_of_an_open_relay_and_of_users_who_cannot_authenticate() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users").display().to_string();
    assert_eq!(run_with("wonderland\n", &["user", "add", "alice", "--file", &file]).0, 0);
    let check = |variable: (&str, &str)| {
        let arguments = [
            ["check", "--listen", "0.0.0.0:25", "--config", "/dev/null"],
            ["--hostname", "a.example", "--users", &file, "--log-format=text"],
        ]
        .concat();
        let (code, out, error) =
            ended(mailman(&arguments).env(variable.0, variable.1).output().unwrap());
        assert_eq!((code, error.as_str()), (0, ""));
        out
    };
    let out = check(("HEDWIG_MAILMAN_SMTP_RELAY_FROM", "0.0.0.0/0"));
    assert!(out.contains("users who may authenticate: 1"), "{out}");
    assert!(
        out.contains(
            "warning: HEDWIG_MAILMAN_SMTP_RELAY_FROM: [smtp] relay_from: 0.0.0.0/0 is all the world"
        ),
        "{out}"
    );
    assert!(out.contains("[users] file: nobody can authenticate without TLS"), "{out}");
    let out = check(("HEDWIG_MAILMAN_USERS_IN_CLEAR_TEXT", "true"));
    assert!(out.contains("passwords may cross the network in clear text"), "{out}");
}

#[test]
fn tls_needs_a_certificate_and_its_key() {
    for (variable, value, expected) in [
        ("TLS_LISTEN", "127.0.0.1:0", "[tls] listen: TLS needs a certificate"),
        ("TLS_KEY", "/key.pem", "[tls] key: a private key needs its certificate"),
        (
            "TLS_CERTIFICATE",
            "/certificate.pem",
            "[tls] certificate: a certificate needs its private key",
        ),
        ("USERS_FILE", "/nonexistent/users", "[users] file: /nonexistent/users: No such file"),
    ] {
        let mut command = mailman(&["check", "--config", "/dev/null"]);
        let output = command.env(format!("HEDWIG_MAILMAN_{variable}"), value).output().unwrap();
        let (code, _, error) = ended(output);
        assert_eq!(code, 78, "{variable}: {error}");
        assert!(error.contains(expected), "{expected} is not in {error}");
    }
}
