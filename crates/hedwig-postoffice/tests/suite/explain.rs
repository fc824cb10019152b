//! What `explain` says without a daemon.

use serde_json::Value;

use crate::program;

#[test]
fn the_limits_of_what_is_under_way_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().display().to_string();
    let explain = |more: &[&str]| {
        let mut command = program(&["explain", "bob@example.net", "--spool", &spool]);
        command.args(["--route", "*=fail:4.3.2 closed", "--dns", "127.0.0.1:9"]).args(more);
        command.env("HEDWIG_POSTOFFICE_DELIVERY_CONTENT_MEMORY", "64M");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = explain(&[]);
    let limits = "limits:      512 mails under way, with 64.0M of contents, 20 to one destination";
    assert!(text.lines().any(|line| line.starts_with(limits)), "{text}");
    let report: Value = serde_json::from_str(&explain(&["--json"])).unwrap();
    assert_eq!(report["limits"]["concurrency"], 512);
    assert_eq!(report["limits"]["content_memory"], 64 << 20);
}
