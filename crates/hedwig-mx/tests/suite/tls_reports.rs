//! How TLS went is counted, and told to who asks for it: by mail, which Python's email package reads, and by HTTPS, to
//! Python's web server.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use crate::support::{
    Dns, Fault, Manners, Server, Tls,
    certificates::{Authority, public_key, sha256},
    loopback, mail, options, outcomes, short, validating,
};
use hedwig_envelope::{
    BoxMailService, Content, Mail, MailService, Outcome, Receipt, Reply, Status,
};
use hedwig_mx::{
    Mx, MxOptions, TlsLevel,
    tlsrpt::{
        Clock, Day, HttpsPoster, ReportedDay, Reporting, TlsCountLimits, TlsCounts, TlsReportTimes,
        TlsReporter,
    },
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

const PYTHON: &str = "/usr/bin/python3";
const DAY: &str = "2026-11-25";

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
static STRANGER: LazyLock<Authority> = LazyLock::new(Authority::new);

fn day() -> Day {
    DAY.parse().unwrap()
}

/// A clock that stands still until it is set.
#[derive(Clone)]
struct Time(Arc<Mutex<String>>);

impl Time {
    fn at(text: &str) -> Self {
        Self(Arc::new(Mutex::new(text.to_owned())))
    }

    fn set(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap());
    }

    fn clock(&self) -> Clock {
        let time = self.0.clone();
        Arc::new(move || time.lock().unwrap().parse().unwrap())
    }
}

/// A signed zone with `example.com`, whose server shows a certificate, and what is counted of it.
struct Lab {
    dns: Dns,
    server: Server,
    time: Time,
    counts: Arc<TlsCounts>,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl Lab {
    async fn new(tls: Tls) -> Self {
        let time = Time::at("2026-11-25T12:00:00Z");
        let counts = Arc::new(TlsCounts::new(time.clock(), TlsCountLimits::default()));
        Self::with_counts(tls, time, counts).await
    }

    async fn with_counts(tls: Tls, time: Time, counts: Arc<TlsCounts>) -> Self {
        let dns = Dns::start_signed().await.unwrap();
        dns.mail_domain("example.com", loopback(1)).await;
        let server = Server::start(Manners { tls, ..Manners::default() }).await;
        Self { dns, server, time, counts, mails: Arc::default() }
    }

    /// The zone says that the server's key is another one.
    async fn with_wrong_key() -> Self {
        let lab = Self::new(AUTHORITY.issue("mx.example.com").tls()).await;
        let port = lab.server.address.port();
        lab.dns.tlsa("mx.example.com", port, (3, 1, 1), &[7; 32]).await;
        lab
    }

    async fn asks(&self, rua: &str) {
        self.dns.txt("_smtp._tls.example.com", &format!("v=TLSRPTv1; rua={rua}")).await;
    }

    fn mx(&self, level: TlsLevel) -> Mx {
        let options = MxOptions {
            tls_observer: Some(self.counts.clone()),
            tls: level.into(),
            authorities: AUTHORITY.alone(),
            ..options(self.server.address.port())
        };
        Mx::new(validating(&self.dns), options)
    }

    async fn deliver(&self) -> String {
        let outcomes = outcomes(&self.mx(TlsLevel::Opportunistic), mail(["bob@example.com"])).await;
        short(&outcomes[0])
    }

    /// What is counted of `example.com`.
    fn policies(&self) -> Value {
        let counts: Value = serde_json::from_slice(&self.counts.to_json().unwrap()).unwrap();
        counts["days"][DAY]["domains"]["example.com"]["policies"].clone()
    }

    /// Sends reports into the lab's own hands.
    fn reporter(&self) -> TlsReporter<BoxMailService> {
        let mails = self.mails.clone();
        let service = tower::service_fn(move |mail: Mail| {
            let receipt = Receipt::uniform(
                mail.id,
                mail.envelope.recipients.len(),
                Outcome::of_reply(Reply::with_status(250, Status::OK, "Queued"), None),
            );
            mails.lock().unwrap().push(mail);
            async move { Ok(receipt) }
        });
        let resolver = validating(&self.dns);
        let certificates = AUTHORITY.alone().client_config();
        let poster =
            HttpsPoster::new(resolver.clone(), certificates, Duration::from_secs(10), true);
        let reporting = Reporting {
            organization: "Sender, Inc.".into(),
            submitter: "mail.sender.example".into(),
            contact: "tls@sender.example".parse().unwrap(),
            from: "noreply@sender.example".parse().unwrap(),
        };
        let times = TlsReportTimes { delay_max: Duration::ZERO, ..TlsReportTimes::default() };
        let service = service.boxed_mail_service();
        TlsReporter::new(self.counts.clone(), resolver, poster, service, reporting, times)
    }
}

#[tokio::test]
async fn each_wrong_certificate_has_its_result_type() {
    let right = AUTHORITY.issue("mx.example.com");
    let ours = sha256(&public_key(&right.certificate));
    let other = vec![7; 32];
    let authority = AUTHORITY.certificate.to_vec();
    for (what, tls, kind, record, expected) in [
        ("right", right.tls(), (3, 1, 1), &ours, None),
        ("another key", right.tls(), (3, 1, 1), &other, Some("certificate-not-trusted")),
        (
            "another name",
            AUTHORITY.issue("mx.example.net").tls(),
            (2, 0, 0),
            &authority,
            Some("certificate-host-mismatch"),
        ),
        (
            "too old",
            AUTHORITY.issue_expired("mx.example.com").tls(),
            (2, 0, 0),
            &authority,
            Some("certificate-expired"),
        ),
        ("no TLS", Tls::NotOffered, (3, 1, 1), &ours, Some("starttls-not-supported")),
        ("records for others", right.tls(), (1, 1, 1), &ours, Some("tlsa-invalid")),
    ] {
        let lab = Lab::new(tls).await;
        lab.dns.tlsa("mx.example.com", lab.server.address.port(), kind, record).await;
        let verdict = lab.deliver().await;
        let policies = lab.policies();
        let policy = &policies[0];
        assert_eq!(policies.as_array().unwrap().len(), 1, "{what}: {policies}");
        assert_eq!(policy["policy"]["policy-type"], "tlsa", "{what}");
        let success = i32::from(expected.is_none());
        let summary = json!({
            "total-successful-session-count": success, "total-failure-session-count": 1 - success,
        });
        assert_eq!(policy["summary"], summary, "{what}: {verdict}");
        let details = &policy["failure-details"];
        assert_eq!(details[0]["result-type"], json!(expected), "{what}: {verdict}, {details}");
        if expected.is_some() {
            assert_eq!(details[0]["receiving-mx-hostname"], "mx.example.com", "{what}");
            assert_eq!(details[0]["receiving-ip"], "127.0.0.1", "{what}");
            assert_eq!(details[0]["sending-mta-ip"], "127.0.0.1", "{what}");
        }
    }
}

#[tokio::test]
async fn without_a_policy_sessions_are_counted_as_such() {
    let lab = Lab::new(STRANGER.issue("mx.example.com").tls()).await;
    assert_eq!(lab.deliver().await, "done 2.0.0");
    let policies = lab.policies();
    assert_eq!(policies[0]["policy"]["policy-type"], "no-policy-found");
    assert_eq!(policies[0]["summary"]["total-successful-session-count"], 1);
}

#[tokio::test]
async fn a_report_by_mail_is_read_by_python_and_not_reported_on() {
    let lab = Lab::with_wrong_key().await;
    lab.asks("mailto:tls-reports@example.com").await;
    assert_eq!(lab.deliver().await, "deferred 4.7.5");
    let counted = lab.policies();
    assert_eq!(lab.reporter().report_day(day()).await.sent, 1);
    assert!(lab.counts.domains(day()).is_empty());
    let sent = lab.mails.lock().unwrap().pop().unwrap();
    let read = read_by_python(&sent);

    assert_eq!(read["defects"], json!([]));
    assert_eq!(
        (&read["type"], &read["report_type"]),
        (&"multipart/report".into(), &"tlsrpt".into())
    );
    assert_eq!(read["from"], "noreply@sender.example");
    assert_eq!(read["to"], "tls-reports@example.com");
    assert_eq!(sent.envelope.sender.to_string(), "noreply@sender.example");
    let id = "2026-11-25.example.com@mail.sender.example";
    let subject =
        format!("Report Domain: example.com Submitter: mail.sender.example Report-ID: <{id}>");
    assert_eq!(read["subject"], subject);
    assert_eq!(read["domain"], "example.com");
    assert_eq!(read["submitter"], "mail.sender.example");
    assert_eq!(read["tls_required"], "No");
    assert_eq!(read["has_date_and_id"], true);
    assert_eq!(read["text_type"], "text/plain");
    assert_eq!(read["part_type"], "application/tlsrpt+gzip");
    assert_eq!(read["file_name"], "mail.sender.example!example.com!1795564800!1795651199.json.gz");
    let report = &read["report"];
    assert_eq!(report["organization-name"], "Sender, Inc.");
    assert_eq!(report["contact-info"], "tls@sender.example");
    assert_eq!(report["report-id"], id);
    let range = json!({
        "start-datetime": "2026-11-25T00:00:00Z", "end-datetime": "2026-11-25T23:59:59Z",
    });
    assert_eq!(report["date-range"], range);
    let [policy] = &report["policies"].as_array().unwrap()[..] else { panic!("one policy") };
    assert_eq!(policy["policy"]["policy-domain"], "example.com");
    assert_eq!(policy["policy"]["policy-string"], json!([format!("3 1 1 {}", "07".repeat(32))]));
    assert_eq!(policy["summary"], counted[0]["summary"]);
    assert_eq!(policy["failure-details"][0]["failed-session-count"], 1);
    assert!(!report.to_string().contains("null"), "{report}");

    // It gets to the server whose certificate is wrong, and is not counted, whatever the operator asks for.
    for (level, verdict) in
        [(TlsLevel::Opportunistic, "done 2.0.0"), (TlsLevel::Dane, "deferred 4.7.5")]
    {
        let outcomes = outcomes(&lab.mx(level), sent.clone()).await;
        assert_eq!(short(&outcomes[0]), verdict);
        assert!(lab.counts.domains(day()).is_empty(), "{level}");
    }
}

#[tokio::test]
async fn who_does_not_ask_gets_none_and_who_cannot_be_asked_waits() {
    let lab = Lab::with_wrong_key().await;
    lab.deliver().await;
    lab.dns.break_name("_smtp._tls.example.com", Fault::ServerFailure);
    let waiting = ReportedDay { waiting: 1, ..ReportedDay::default() };
    assert_eq!(lab.reporter().report_day(day()).await, waiting);
    assert_eq!(lab.counts.domains(day()), ["example.com"]);
    lab.dns.mend_name("_smtp._tls.example.com");
    let unasked = ReportedDay { unasked: 1, ..ReportedDay::default() };
    assert_eq!(lab.reporter().report_day(day()).await, unasked);
    assert!(lab.counts.domains(day()).is_empty() && lab.mails.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_report_by_https_is_brought_until_the_server_takes_it() {
    let lab = Lab::with_wrong_key().await;
    lab.deliver().await;
    lab.dns.address_of("reports.example.com", loopback(1)).await;
    let mut web =
        WebServer::start(&AUTHORITY.issue_pem("reports.example.com"), &["503", "201"]).await;
    let host = format!("reports.example.com:{}", web.port);
    lab.asks(&format!("https://{host}/v1?x=y,mailto:tls@example.com")).await;

    let first = lab.reporter().report_day(day()).await;
    assert_eq!(first, ReportedDay { sent: 1, unasked: 0, waiting: 1 }, "by mail alone");
    let refused = web.posted().await;
    let second = lab.reporter().report_day(day()).await;
    assert_eq!(second, ReportedDay { sent: 1, unasked: 0, waiting: 0 }, "by HTTPS alone");
    let taken = web.posted().await;
    assert_eq!(refused, taken);
    assert_eq!((&taken["path"], &taken["host"]), (&"/v1?x=y".into(), &host.into()));
    assert_eq!(taken["type"], "application/tlsrpt+gzip");
    assert_eq!(taken["report"]["report-id"], "2026-11-25.example.com@mail.sender.example");
    assert_eq!(taken["report"]["policies"][0]["summary"]["total-failure-session-count"], 1);
    assert_eq!(lab.mails.lock().unwrap().len(), 1);
    assert!(lab.counts.domains(day()).is_empty());
}

#[tokio::test]
async fn a_web_server_with_a_strange_certificate_gets_no_report() {
    let lab = Lab::with_wrong_key().await;
    lab.deliver().await;
    lab.dns.address_of("reports.example.com", loopback(1)).await;
    for pem in [STRANGER.issue_pem("reports.example.com"), AUTHORITY.issue_pem("example.com")] {
        let web = WebServer::start(&pem, &["200"]).await;
        lab.asks(&format!("https://reports.example.com:{}/", web.port)).await;
        let reported = lab.reporter().report_day(day()).await;
        assert_eq!((reported.sent, reported.waiting), (0, 1));
        lab.dns
            .remove("_smtp._tls.example.com", hickory_resolver::proto::rr::RecordType::TXT)
            .await;
    }
}

#[tokio::test]
async fn a_day_is_reported_when_it_is_over_and_counts_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tls-reports.json");
    let time = Time::at("2026-11-25T23:59:00Z");
    let open =
        || Arc::new(TlsCounts::open(&path, time.clock(), TlsCountLimits::default()).unwrap());
    let tls = STRANGER.issue("mx.example.com").tls();
    let mut lab = Lab::with_counts(tls, time.clone(), open()).await;
    lab.asks("mailto:tls@example.com").await;
    lab.deliver().await;
    lab.reporter().run(tokio::time::sleep(Duration::from_millis(300))).await;
    assert!(lab.mails.lock().unwrap().is_empty(), "the day is not over");

    lab.counts = open();
    assert_eq!(lab.counts.domains(day()), ["example.com"]);
    lab.time.set("2026-11-26T00:00:00Z");
    // It is not reported again, whatever becomes of this process.
    let is_over = async {
        while !open().domains(day()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    lab.reporter().run(is_over).await;
    assert_eq!(lab.mails.lock().unwrap().len(), 1);
}

fn read_by_python(mail: &Mail) -> Value {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/support/read_tls_report.py");
    let mut command = Command::new(PYTHON);
    let mut child =
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let content: &Content = &mail.content;
    child.stdin.take().unwrap().write_all(&content.to_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Python's web server, in a process of its own.
struct WebServer {
    port: u16,
    lines: Lines<BufReader<tokio::process::ChildStdout>>,
    _process: tokio::process::Child,
    _certificate: tempfile::NamedTempFile,
}

impl WebServer {
    async fn start(pem: &str, statuses: &[&str]) -> Self {
        let mut certificate = tempfile::NamedTempFile::new().unwrap();
        certificate.write_all(pem.as_bytes()).unwrap();
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/support/report_server.py");
        let mut command = tokio::process::Command::new(PYTHON);
        command.arg(script).arg(certificate.path()).args(statuses);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        Self { port, lines, _process: process, _certificate: certificate }
    }

    async fn posted(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
