//! A small Internet around one mail host: all that `init` says is published, and all that `doctor` asks is there.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hedwig_lab::{
    Daemon, DaemonOptions, Dns, Half, PolicyWeb, Program, Receiver, Result, loopback_address,
};
use hickory_server::proto::{
    rr::{Name, RData},
    serialize::txt::Parser,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::UdpSocket, process::Command, task::JoinHandle};

pub(super) const DOMAIN: &str = "example.org";
pub(super) const HOST: &str = "mail.example.org";
/// Where the host's mail comes from, as others see it: the laboratory is behind address translation, for the addresses of
/// loopback all have the name localhost (RFC 6761 §6.3).
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
/// Someone else's mail exchanger.
pub(super) const OTHER: &str = "mx.example.net";

pub(super) fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_hedwig-lab"))
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) error: String,
}

pub(super) async fn said(mut command: Command) -> Result<Said> {
    let output = command.output().await?;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout)?,
        error: String::from_utf8(output.stderr)?,
    })
}

/// The records of a zone file, as hickory reads them.
pub(super) fn records_of(zone: &str) -> Vec<(Name, RData)> {
    let parsed = Parser::new(zone, None, Some(Name::root())).parse();
    let (_, sets) = parsed.unwrap_or_else(|error| panic!("{error}\n{zone}"));
    let records = sets.values().flat_map(|set| set.records_without_rrsigs());
    records.map(|record| (record.name.clone(), record.data.clone())).collect()
}

pub(super) struct Site {
    pub(super) dns: Dns,
    /// The exchanger that is connected to.
    pub(super) receiver: Receiver,
    pub(super) daemon: Daemon,
    /// Where the host's connections come from.
    source: IpAddr,
    /// What `init` printed.
    pub(super) zone: String,
    pub(super) directory: TempDir,
    web: PolicyWeb,
    clock: Clock,
}

impl Site {
    /// A domain with every record that `init` prints, and a postoffice that runs.
    pub(super) async fn start() -> Result<Self> {
        let directory = TempDir::with_prefix("lab-site-")?;
        let dns = Dns::start_signed().await?;
        let (source, other) = (loopback_address(), loopback_address());
        let receiver = Receiver::start_at(SocketAddr::new(other, 0)).await?;
        dns.mail_domain("example.net", other).await;
        dns.mail_domain("126.com", other).await;
        let anchors = dns.trust_anchor().expect("a signed root");
        fs::write(directory.path().join("root.key"), anchors)?;

        let mut command = program().command(Half::Postoffice);
        command.args(["init", DOMAIN]).args(flags(directory.path()));
        command.envs(environment(source, directory.path()));
        let init = said(command).await?;
        assert_eq!(init.code, 0, "{init:?}");
        for (name, data) in records_of(&init.out) {
            dns.add(&name.to_utf8(), data).await;
        }

        let web = PolicyWeb::start(DOMAIN, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        dns.address_of("mta-sts.example.org", [127, 0, 0, 1]).await;
        let policy: String = init
            .out
            .lines()
            .filter_map(|line| line.strip_prefix(";     "))
            .map(|line| format!("{line}\n"))
            .collect();
        let clock = Clock::start(0).await?;
        let mut options = DaemonOptions::default()
            .arguments(flags(directory.path()))
            .arguments(["--dns".to_owned(), dns.address().to_string()])
            .arguments(["--mx-port".to_owned(), receiver.address().port().to_string()]);
        options.environment = environment(source, directory.path());
        options.spool = Some(spool(directory.path()));
        let daemon = Daemon::start(&program(), Half::Postoffice, options).await?;
        let site = Self { dns, receiver, daemon, source, zone: init.out, directory, web, clock };
        site.write_policy(&policy)?;
        Ok(site)
    }

    /// Runs `doctor` as the operator would, with these arguments after all others.
    pub(super) async fn doctor(&self, further: &[&str]) -> Result<Said> {
        said(self.doctor_command(further)).await
    }

    /// What `doctor` found that is not as it should be.
    pub(super) async fn complaints(&self, further: &[&str]) -> Result<Vec<Complaint>> {
        complaints(self.doctor_command(further)).await
    }

    /// The same with another name server.
    pub(super) async fn complaints_at(&self, name_server: SocketAddr) -> Result<Vec<Complaint>> {
        complaints(self.doctor_at(name_server, &[])).await
    }

    pub(super) fn doctor_command(&self, further: &[&str]) -> Command {
        self.doctor_at(self.dns.address(), further)
    }

    fn doctor_at(&self, name_server: SocketAddr, further: &[&str]) -> Command {
        let mut command = program().command(Half::Postoffice);
        command.args(["doctor", "--port25-host", OTHER]);
        command.args(["--policy-port", &self.web.address().port().to_string()]);
        command.env("HEDWIG_POSTOFFICE_MX_AUTHORITIES", self.web.certificate());
        command.args(["--ntp", &self.clock.address.to_string()]);
        command.args(["--mx-port", &self.receiver.address().port().to_string()]);
        command.args(["--dns", &name_server.to_string()]);
        command.args(flags(self.directory.path()));
        command.envs(environment(self.source, self.directory.path()));
        command.args(further);
        command
    }

    /// The web server shows this policy from now on.
    pub(super) fn write_policy(&self, text: &str) -> Result<()> {
        self.web.show(text)
    }

    /// Ends the web server.
    pub(super) async fn end_web(&mut self) -> Result<()> {
        self.web.end().await
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.directory.path().join("dkim")
    }

    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// The selectors of the domain's keys.
    pub(super) fn selectors(&self) -> Result<Vec<String>> {
        let mut selectors = Vec::new();
        for entry in fs::read_dir(self.keys().join(DOMAIN))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            selectors.extend(name.strip_suffix(".pem").map(str::to_owned));
        }
        selectors.sort();
        Ok(selectors)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) level: String,
    pub(super) check: String,
    pub(super) found: String,
    pub(super) advice: String,
}

async fn complaints(mut command: Command) -> Result<Vec<Complaint>> {
    command.arg("--json");
    let said = said(command).await?;
    let whole: Value = serde_json::from_str(&said.out)?;
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let checks = whole["checks"].as_array().expect("checks").iter();
    // How much room there is on the disk of whoever runs this, is theirs to say.
    let complaints: Vec<Complaint> = checks
        .map(|check| Complaint {
            level: text(check, "level"),
            check: text(check, "check"),
            found: text(check, "found"),
            advice: text(check, "advice"),
        })
        .filter(|c| c.level != "ok" && (c.check != "disk" || c.found.contains("reserve")))
        .collect();
    let is_bad = complaints.iter().any(|complaint| complaint.level == "fail");
    assert_eq!(said.code, i32::from(is_bad), "{complaints:#?}");
    assert!(complaints.iter().all(|complaint| !complaint.advice.is_empty()), "{complaints:#?}");
    Ok(complaints)
}

fn spool(directory: &Path) -> PathBuf {
    directory.join("spool")
}

/// The flags of the domain's postoffice that `init` takes as well.
pub(super) fn flags(directory: &Path) -> Vec<String> {
    let keys = directory.join("dkim").display().to_string();
    let flags = ["--hostname", HOST, "--allow-loopback", "--dkim-keys", &keys];
    flags.map(str::to_owned).into()
}

pub(super) fn environment(source: IpAddr, directory: &Path) -> Vec<(String, String)> {
    let path = |path: PathBuf| path.display().to_string();
    let set = [
        ("MX_SOURCE", format!("{source} hello={HOST}")),
        ("MX_OWN_ADDRESSES", ADDRESS.to_string()),
        ("DNS_TRUST_ANCHORS", path(directory.join("root.key"))),
        ("SPOOL_DIR", path(spool(directory))),
    ];
    set.map(|(name, value)| (format!("HEDWIG_POSTOFFICE_{name}"), value)).into()
}

/// A time server.
pub(super) struct Clock {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Clock {
    /// It answers no more.
    pub(super) fn stop(&mut self) {
        self.task.abort();
    }

    /// One that is so many seconds ahead.
    pub(super) async fn start(ahead_seconds: u64) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let task = tokio::spawn(async move {
            let mut question = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                assert_eq!((length, question[0]), (48, 0x23), "version 4, a client");
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                let seconds = now.as_secs() + 2_208_988_800 + ahead_seconds;
                let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
                let time = ((seconds << 32) | fraction).to_be_bytes();
                let mut answer = [0; 48];
                (answer[0], answer[1]) = (0x24, 1);
                answer[24..32].copy_from_slice(&question[40..48]);
                answer[32..40].copy_from_slice(&time);
                answer[40..48].copy_from_slice(&time);
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.task.abort();
    }
}
