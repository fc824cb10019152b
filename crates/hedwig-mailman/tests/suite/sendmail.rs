//! `sendmail` as programs call it, while no mailman runs: exit codes, the drop, `-bs`, the queue.

use std::{fs, os::unix::fs::MetadataExt};

use crate::sendmail_support::Host;

#[test]
fn without_a_daemon_a_mail_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let message = "To: bob@example.net\nBcc: eve@example.net\nSubject: hi\n\nline\n.\nnot sent\n";
    host.sendmail(&["-t", "-f", "alice"], message).with(0);
    let dropped = host.drop();
    for part in [
        "MAIL FROM:<alice@example.org>",
        "RCPT TO:<bob@example.net>",
        "RCPT TO:<eve@example.net>",
        "\r\nTo: bob@example.net\r\nSubject: hi\r\n\r\nline\r\n",
        "@example.org>\r\nFrom: ",
        "Date: ",
    ] {
        assert!(dropped.contains(part), "{part} is not in {dropped}");
    }
    assert!(!dropped.contains("Bcc") && !dropped.contains("not sent"), "{dropped}");
}

#[test]
fn a_drop_is_for_its_owner_and_the_daemon_only() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    host.sendmail(&["bob@example.net"], "hi\n").with(0);
    let drop = host.spool.join("drop");
    assert_eq!(fs::metadata(&drop).unwrap().mode() & 0o7777, 0o3733);
    let file = fs::read_dir(&drop).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o640);
    assert_eq!(file.file_name().len(), 26);
}

#[test]
fn when_nothing_can_be_stored_the_code_is_75_and_the_reason_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::new(directory.path().join("missing"), crate::sendmail_support::NOBODY);
    let ended = host.sendmail(&["bob@example.net"], "hi\n").with(75);
    assert!(
        ended.error.contains("127.0.0.1:9") && ended.error.contains("missing/drop"),
        "{ended:?}"
    );
    assert!(!host.spool.exists());
}

#[test]
fn a_mistake_is_told_with_its_code_and_stores_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    for (arguments, input, code) in [
        (&["-Z", "bob@example.net"][..], "x", 64),
        (&["-be", "${run{/bin/true}}"], "x", 64),
        (&["-bd"], "", 64),
        (&[], "x", 64),
        (&["-t"], "Subject: nobody\n\nx\n", 65),
        (&["two words"], "x", 65),
        (&["bob@exa mple.net"], "x", 65),
        (&["bob@example.net"], "Subject: x\n\na\0b\n", 65),
        (&["-t"], "To: bob@example.net, two words\n\nx\n", 65),
        (&["bob@example.net"], &"Received: by a; b\n".repeat(101), 69),
    ] {
        let ended = host.sendmail(arguments, input).with(code);
        assert!(ended.error.starts_with("sendmail: "), "{ended:?}");
    }
    assert!(host.drops().is_empty());
}

#[test]
fn a_message_that_is_too_large_is_65() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let with = |bytes_max: &str, message: &str| {
        let mut command = host.command(host.path("sendmail"));
        command.arg("bob@example.net").env("HEDWIG_MAILMAN_SMTP_SIZE_MAX", bytes_max);
        crate::sendmail_support::run(command, message)
    };
    with("10", "0123456789A").with(65);
    // What is small enough when it is written, and too large when it is completed: mailman would set it aside.
    let lines = "\n".repeat(600);
    let ended = with("1000", &lines).with(65);
    assert!(ended.error.contains("[smtp] size_max takes 1000"), "{ended:?}");
    with("100", "0123456789").with(65);
    assert!(host.drops().is_empty());
    with("2000", &lines).with(0);
}

#[test]
fn a_mail_to_more_than_any_postoffice_takes_is_65() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let to = |count: usize| {
        let addresses: Vec<_> = (0..count).map(|n| format!("{n}@example.net")).collect();
        host.sendmail(&["-t"], &format!("To: {}\n\nx\n", addresses.join(",\n ")))
    };
    let ended = to(10_001).with(65);
    assert!(ended.error.contains("10001 recipients, and may have 10000"), "{ended:?}");
    assert!(host.drops().is_empty());
    to(10_000).with(0);
}

#[test]
fn a_wrong_setting_is_78_when_it_matters() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let with = |name: &str, value: &str| {
        let mut command = host.command(host.path("sendmail"));
        command.arg("bob@example.net").env(name, value);
        crate::sendmail_support::run(command, "x")
    };
    let ended = with("HEDWIG_MAILMAN_MAIL_DOMAIN", "no domain").with(78);
    assert!(ended.error.contains("HEDWIG_MAILMAN_MAIL_DOMAIN"), "{ended:?}");
    with("HEDWIG_MAILMAN_POSTOFFICE_TOKEN_FILE", "/nonexistent").with(0);
}

#[test]
fn flags_that_name_files_touch_none() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let file = directory.path().join("file");
    let name = file.display().to_string();
    for flag in ["-X", "-C", "-D", "-O"] {
        host.sendmail(&[flag, &name, "bob@example.net"], "x").with(0);
    }
    host.sendmail(&[&format!("-OQueueDirectory={name}"), "-oQ/tmp", "bob@example.net"], "x")
        .with(0);
    assert!(!file.exists());
    assert_eq!(host.drops().len(), 5);
}

#[test]
fn smtp_is_spoken_on_standard_input_and_output() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let dialogue = "EHLO here\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n\
        Subject: x\r\n\r\n..dot\r\n.\r\nRCPT TO:<c@example.net>\r\nQUIT\r\n";
    let ended = host.sendmail(&["-bs"], dialogue).with(0);
    let codes: Vec<&str> =
        ended.output.lines().filter(|line| &line[3..4] != "-").map(|line| &line[..3]).collect();
    assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "503", "221"], "{ended:?}");
    assert!(host.drop().contains("\nSubject: x\r\n\r\n.dot\r\nQUIT"), "{}", host.drop());
    host.sendmail(&["-bs"], "EHLO here\r\n").with(0);
}

#[test]
fn a_nul_is_refused_on_standard_input_too() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let dialogue =
        "HELO here\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\na\0b\r\n.\r\nQUIT\r\n";
    let ended = host.sendmail(&["-bs"], dialogue).with(0);
    assert!(ended.output.contains("\r\n554 5.6.0 "), "{ended:?}");
    assert!(host.drops().is_empty());
}

#[test]
fn when_smtp_on_standard_input_cannot_store_it_says_451() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::new(directory.path().join("missing"), crate::sendmail_support::NOBODY);
    let dialogue =
        "HELO here\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    let ended = host.sendmail(&["-bs"], dialogue).with(0);
    assert!(ended.output.contains("\r\n451 4.3.0 "), "{ended:?}");
}

#[test]
fn the_other_names_do_what_they_promise() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let call = |name: &str, arguments: &[&str]| {
        let mut command = host.command(host.path(name));
        command.args(arguments);
        crate::sendmail_support::run(command, "").with(0).output
    };
    assert_eq!(call("newaliases", &[]), "");
    assert_eq!(call("sendmail", &["-bi"]), "");
    assert_eq!(call("mailq", &[]), "Nothing waits.\n");
    assert_eq!(call("sendmail", &["-bp"]), "Nothing waits.\n");
    assert_eq!(call("sendmail", &["-q"]), "0 recipients to be tried now\n");
    assert!(call("sendmail", &["--help"]).contains("Usage: sendmail"));
}

#[test]
fn what_cron_writes_is_understood() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let message = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> run-parts\n\
        MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\
        Content-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\nGrüße\r\nbare\rCR\n";
    host.sendmail(&["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"], message).with(0);
    let dropped = host.drop();
    assert!(dropped.contains(" BODY=8BITMIME") && dropped.contains("RCPT TO:<root@example.org>"));
    assert!(dropped.contains("From: root@example.org (Cron Daemon)\r\nTo: root@example.org\r\n"));
    assert!(dropped.contains("\r\n\r\nGrüße\r\nbare\r\nCR\r\nQUIT\r\n"), "{dropped}");
}
