//! What a daemon shows of itself.

use crate::daemon::Daemon;

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
    assert_shown(
        &metrics,
        &[
            "hedwig_mails_accepted_total 1",
            "hedwig_recipients_total{outcome=\"deferred\"} 1",
            "hedwig_queue_recipients{state=\"deferred\"} 1",
            "hedwig_queue_recipients{state=\"held\"} 0",
            "hedwig_reports_owed 0",
        ],
    );
}

#[test]
fn sighup_is_told_and_ends_nothing_though_there_are_no_dkim_keys() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    daemon.signal("HUP");
    daemon.wait_for_log("SIGHUP: certificates, users and keys are read again by themselves");
    assert_eq!(daemon.ask("GET /healthz", "").1, "ok\n");
}

#[test]
fn a_mail_whose_sender_is_owed_a_report_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let id = daemon.mail("bob%40example.net&to=carol%40example.com");
    daemon.wait_for_state(&id, "deferred");
    daemon.queue(&["fail", "--domain", "example.net"]);
    daemon.wait_for_state(&id, "failed");
    assert_shown(&daemon.ask("GET /metrics", "").1, &["hedwig_reports_owed 1"]);
}

fn assert_shown(metrics: &str, lines: &[&str]) {
    for line in lines {
        assert!(metrics.lines().any(|found| found == *line), "{line} is not in\n{metrics}");
    }
}
