//! Real programs that send mail through `sendmail`. Their Debian packages are in `tests/packages.txt`.

use std::fs;

use crate::sendmail_support::{Host, run};

#[test]
fn mailx_sends() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let settings = directory.path().join("mailrc");
    fs::write(&settings, format!("set sendmail={}\n", host.path("sendmail").display())).unwrap();
    let mut command = host.command("/usr/bin/bsd-mailx");
    command.env("MAILRC", &settings).env("HOME", directory.path());
    command.args(["-s", "disk full", "-c", "carol@example.net", "root", "bob@example.net"]);
    run(command, "It is.\n.\nand more\n").with(0);
    // It does not wait for sendmail.
    let dropped = wait_for_drop(&host);
    for part in [
        "RCPT TO:<root@example.org>\r\n",
        "RCPT TO:<bob@example.net>\r\n",
        "RCPT TO:<carol@example.net>\r\n",
        "\r\nSubject: disk full\r\n",
        "To: bob@example.net, root@example.org\r\n",
        "\r\nIt is.\r\n",
    ] {
        assert!(dropped.contains(part), "{part} is not in {dropped}");
    }
}

#[test]
fn php_sends() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let mut command = host.command("/usr/bin/php");
    let path = format!("sendmail_path={} -t -i", host.path("sendmail").display());
    command.args(["-n", "-d", &path, "-r"]).arg(
        "exit(mail('Bob <bob@example.net>', 'Grüße', \"line\\n.\\nnext\", \
         \"From: App <app@example.org>\\r\\nBcc: eve@example.net\", '-fbounces@example.org') ? 0 : 1);",
    );
    run(command, "").with(0);
    let dropped = host.drop();
    for part in [
        "MAIL FROM:<bounces@example.org>",
        "RCPT TO:<bob@example.net>\r\n",
        "RCPT TO:<eve@example.net>\r\n",
        "To: Bob <bob@example.net>\r\nSubject: Grüße\r\n",
        "From: App <app@example.org>\r\n",
        "\r\n\r\nline\r\n.\r\nnext\r\n",
    ] {
        assert!(dropped.contains(part), "{part} is not in {dropped}");
    }
    assert!(!dropped.contains("Bcc:"), "{dropped}");
}

#[test]
fn php_learns_that_a_mail_was_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::new(directory.path().join("missing"), crate::sendmail_support::NOBODY);
    let mut command = host.command("/usr/bin/php");
    let path = format!("sendmail_path={} -t -i", host.path("sendmail").display());
    command.args(["-n", "-d", &path, "-r", "exit(mail('b@example.net', 's', 'm') ? 0 : 1);"]);
    run(command, "").with(1);
}

#[test]
fn git_sends_patches() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::without_daemon(directory.path());
    let patch = directory.path().join("0001-mend.patch");
    fs::write(
        &patch,
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n\
         From: Alice Doe <alice@example.org>\nDate: Wed, 18 Nov 2026 11:06:40 +0000\n\
         Subject: [PATCH] Mend it\n\n---\n x | 1 +\n",
    )
    .unwrap();
    let mut command = host.command("/usr/bin/git");
    command.current_dir(directory.path()).env("HOME", directory.path());
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    // What git makes of the host's name and its user is no identity on every machine.
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Alice Doe");
        command.env(format!("GIT_{role}_EMAIL"), "alice@example.org");
    }
    command.arg("send-email");
    command.arg(format!("--smtp-server={}", host.path("sendmail").display()));
    command.args(["--from=Alice Doe <alice@example.org>", "--to=list@example.net"]);
    command.args(["--bcc=eve@example.net", "--suppress-cc=all", "--confirm=never"]).arg(&patch);
    run(command, "").with(0);
    let dropped = host.drop();
    for part in [
        "RCPT TO:<list@example.net>\r\n",
        "RCPT TO:<eve@example.net>\r\n",
        "From: Alice Doe <alice@example.org>\r\n",
        "Subject: [PATCH] Mend it\r\n",
    ] {
        assert!(dropped.contains(part), "{part} is not in {dropped}");
    }
    assert!(!dropped.contains("Bcc:") && dropped.matches("Message-I").count() == 1, "{dropped}");
}

/// Waits for a mail that a program sends in the background.
fn wait_for_drop(host: &Host) -> String {
    let begun = std::time::Instant::now();
    while host.whole_drops() == 0 {
        assert!(begun.elapsed().as_secs() < 30, "nothing was dropped");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    host.drop()
}
