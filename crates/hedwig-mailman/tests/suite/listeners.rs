//! Listeners with rules of their own, as an operator configures them and `check` tells them.

use std::{fs, process::Command};

/// The exit code of `check`, and all that it said.
fn check(configuration: &str, variables: &[(&str, &str)]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mailman.toml");
    let users = directory.path().join("users");
    fs::write(&users, "").unwrap();
    let users = users.display().to_string();
    fs::write(&file, configuration.replace("USERS", &users)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedwig-mailman"));
    command.env_clear().args(["check", "--hostname", "app.example.org", "--config"]).arg(&file);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap().replace(&file.display().to_string(), "FILE");
    (output.status.code().unwrap(), said)
}

#[track_caller]
fn assert_says(said: &str, lines: &[&str]) {
    for line in lines {
        assert!(said.lines().any(|its| its == *line), "{line}\nis not in\n{said}");
    }
}

fn warnings(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix("warning: ")).collect()
}

#[test]
fn check_tells_the_rules_of_each_listener() {
    let (code, said) = check(
        "[smtp]\nrelay_from = ['192.0.2.0/24']\n\
         [listener.containers]\nlisten = ['172.17.0.1:25', '172.18.0.1:25']\n\
         clients = ['172.17.0.0/16', '172.18.0.0/16']\nsenders = ['example.org']\n\
         other_senders = 'rewrite'\ndefault_sender = 'app@example.org'\n\
         size_max = '10M'\nrecipients_max = 50\nper_client = '100/h'\nper_user = '10/30s'\n\
         [listener.list]\nlisten = '127.0.0.1:24'\nprotocol = 'lmtp'\n\
         [listener.front]\nlisten = '127.0.0.1:27'\nproxies = ['192.0.2.1', '2001:db8::1']\nxclients = ['192.0.2.2']\n\
         [listener.local]\nlisten = ['unix:/run/hedwig/lmtp.sock', '127.0.0.1:28']\nprotocol = 'lmtp'\nmode = '666'\n",
        &[],
    );
    assert_eq!(code, 0, "{said}");
    assert_says(
        &said,
        &[
            "mail is taken at: 127.0.0.1:25 (SMTP), as listener smtp",
            "  it may be sent by: this host, 192.0.2.0/24 but 192.0.2.1",
            "  as: anybody",
            "  up to: 50.0M and 1000 recipients a mail; without limit",
            "mail is taken at: 172.17.0.1:25, 172.18.0.1:25 (SMTP), as listener containers",
            "  it may be sent by: this host, 172.17.0.0/16 but 172.17.0.1, 172.18.0.0/16 but 172.18.0.1",
            "  as: example.org; the default sender is app@example.org",
            "  up to: 10.0M and 50 recipients a mail; 100 in 1h for each client, 10 in 30s for each user",
            "mail is taken at: 127.0.0.1:24 (LMTP), as listener list",
            "mail is taken at: 127.0.0.1:27 (SMTP), as listener front",
            "  for others speak, with PROXY: 192.0.2.1, 2001:db8::1",
            "  for others speak, with XCLIENT: 192.0.2.2",
            "mail is taken at: unix:/run/hedwig/lmtp.sock, 127.0.0.1:28 (LMTP), as listener local",
            "  its Unix sockets have the mode 0666",
        ],
    );
    assert_eq!(warnings(&said), [""; 0]);
}

#[test]
fn check_warns_of_whatever_would_make_an_open_relay() {
    let (code, said) = check(
        "[users]\nfile = 'USERS'\n[smtp]\nrelay_from = ['0.0.0.0/0']\n\
         [listener.world]\nlisten = '0.0.0.0:2525'\nin_clear_text = true\n\
         clients = ['172.17.0.0/16', '172.17.0.1', '10.0.0.0/8']\n\
         [listener.inside]\nlisten = '127.0.0.1:26'\nin_clear_text = true\n",
        &[],
    );
    assert_eq!(code, 0, "{said}");
    let warnings = warnings(&said);
    let expected = [
        "FILE:4: [smtp] relay_from: 0.0.0.0/0 is all the world, or much of it: that makes an open relay",
        "FILE:2: [users] file: nobody can authenticate without TLS at the listener smtp",
        "FILE:8: [listener.world] clients: 10.0.0.0/8 is a whole private range",
        "FILE:8: [listener.world] clients: 172.17.0.1 is a gateway: behind a container's published port",
        "FILE:7: [listener.world] in_clear_text: passwords may cross the network in clear text",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.starts_with(expected), "{warning}\ndoes not begin with\n{expected}");
    }
}

#[test]
fn what_cannot_be_meant_is_told_with_the_listener() {
    let (code, said) = check(
        "[listener.a]\nlisten = '127.0.0.1:26'\ntls = 'implicit'\n\
         [listener.b]\nlisten = '127.0.0.1:26'\nauth = 'required'\n\
         [listener.c]\nclients = []\n\
         [listener.smtp]\nlisten = '127.0.0.1:26'\n\
         [listener.d]\nlisten = '127.0.0.1:26'\nother_senders = 'rewrite'\n\
         [listener.f]\nlisten = '127.0.0.1:26'\nproxies = ['192.0.2.0/24']\n\
         [listener.g]\nlisten = 'unix:smtp.sock'\nmode = '888'\n\
         [listener.e]\nlisten = '127.0.0.1:26'\nper_client = '100'\nprotocol = 'http'\n\
         [listener.h]\nlisten = '127.0.0.1:26'\nrecipients_max = 10001\n\
         [listener.i]\nlisten = '127.0.0.1:26'\nrecipients_max = 10000\n",
        &[],
    );
    assert_eq!(code, 78, "{said}");
    assert_says(
        &said,
        &[
            "error: FILE:3: [listener.a] tls: TLS needs a certificate: set [tls] certificate and key",
            "error: FILE:6: [listener.b] auth: nobody is there who could: set [users] file",
            "error: FILE:7: [listener.c] listen: a listener needs an address",
            "error: FILE:10: [listener.smtp] listen: the name smtp is taken; choose another",
            "error: FILE:13: [listener.d] other_senders: who shall take their place? Set default_sender too",
            "error: FILE:16: [listener.f] proxies = \"192.0.2.0/24\": invalid IP address syntax; write it like 192.0.2.10",
            "error: FILE:18: [listener.g] listen = \"unix:smtp.sock\": it is an IP address with a port, or unix: and the \
             absolute path of a socket; write it like 172.17.0.1:25",
            "error: FILE:19: [listener.g] mode = \"888\": a mode is three octal digits, perhaps with a 0 before them; \
             write it like 0660",
            "error: FILE:22: [listener.e] per_client = \"100\": a rate is a number of mails, a slash and a time, as \
             100/h or 10/30s; write it like 100/h",
            "error: FILE:23: [listener.e] protocol = \"http\": a listener speaks smtp or lmtp; write it like smtp",
            "error: FILE:26: [listener.h] recipients_max = \"10001\": a mail has 1 to 10000 recipients, for the postoffice \
             takes no more; write it like 1000",
        ],
    );
    assert_eq!(said.lines().count(), 11, "{said}");
}

#[test]
fn a_listener_may_be_configured_by_variables_alone() {
    let variables = [
        ("HEDWIG_MAILMAN_LISTENER_BRIDGE_LISTEN", "172.17.0.1:25"),
        ("HEDWIG_MAILMAN_LISTENER_BRIDGE_CLIENTS", "172.17.0.0/16"),
        ("HEDWIG_MAILMAN_SMTP_LISTEN", ""),
    ];
    let (code, said) = check("", &variables);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["mail is taken at: 172.17.0.1:25 (SMTP), as listener bridge"]);
    assert!(!said.contains("as listener smtp"), "{said}");
}
