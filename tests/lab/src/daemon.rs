//! A daemon as a real process, with a spool and a token of its own.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    HttpResponse, LabError, Process, Result,
    clients::{curl, run},
    program::{Half, Program},
    wait::eventually,
};

/// The token that the two halves share in the laboratory.
pub const TOKEN: &str = "a-token-for-the-laboratory-and-nowhere-else";

/// How a daemon is started.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Arguments after `serve`, without `--spool`, `--token-file` and `--log-format`, which are set.
    pub arguments: Vec<String>,
    /// Settings that have no flag, as environment variables.
    pub environment: Vec<(String, String)>,
    /// The spool; a temporary directory of the daemon's own when not given.
    pub spool: Option<PathBuf>,
}

impl DaemonOptions {
    /// With one argument or more.
    #[must_use]
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With a setting: `set("schedule", "first", "1s")`, in the words of the table of settings.
    #[must_use]
    pub fn set(mut self, half: Half, section: &str, key: &str, value: &str) -> Self {
        let name = format!("HEDWIG_{}_{section}_{key}", half.name()).to_ascii_uppercase();
        self.environment.push((name, value.to_owned()));
        self
    }
}

/// A daemon that runs until it is stopped or dropped, and can be started again as it was.
#[derive(Debug)]
pub struct Daemon {
    half: Half,
    program: Program,
    options: DaemonOptions,
    /// What is bound once stays: a daemon that is started again listens where it did before.
    addresses: BTreeMap<String, SocketAddr>,
    directory: TempDir,
    process: Process,
}

impl Daemon {
    /// Starts a daemon and waits until it listens.
    ///
    /// # Errors
    /// With its log, when it ends instead.
    pub async fn start(program: &Program, half: Half, options: DaemonOptions) -> Result<Self> {
        let directory = TempDir::with_prefix(format!("lab-{}-", half.name()))?;
        let token = directory.path().join("token");
        fs::write(&token, TOKEN)?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
        let addresses = BTreeMap::new();
        let process = launch(program, half, &options, &addresses, directory.path())?;
        let mut daemon =
            Self { half, program: program.clone(), options, addresses, directory, process };
        daemon.wait_until_it_listens().await?;
        Ok(daemon)
    }

    /// The address it serves a protocol at: `smtp`, `smtps`, `http` or `admin`, or that of a listener by its name.
    ///
    /// # Panics
    /// When it serves no such protocol.
    #[must_use]
    pub fn address(&self, protocol: &str) -> SocketAddr {
        let addresses = &self.addresses;
        *addresses.get(protocol).unwrap_or_else(|| panic!("no {protocol} among {addresses:?}"))
    }

    /// Its spool's directory.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        spool(&self.options, self.directory.path())
    }

    /// The file with the token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    /// The process, for its id and its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it does not stop, or not with success.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate().await?;
        if status.success() {
            return Ok(());
        }
        let log = self.process.log().join("\n");
        Err(LabError::new(format!("{} stopped with {status}\n{log}", self.half.name())).into())
    }

    /// Ends it in the middle of whatever it does (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again on the same spool and the same ports, after [`stop`](Self::stop) or
    /// [`kill`](Self::kill).
    ///
    /// # Errors
    /// With its log, when it ends instead.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = launch(
            &self.program,
            self.half,
            &self.options,
            &self.addresses,
            self.directory.path(),
        )?;
        self.wait_until_it_listens().await
    }

    /// Runs `queue ...` on its spool, as an operator would.
    ///
    /// # Errors
    /// With what it says, when it fails.
    pub async fn queue(&self, arguments: &[&str]) -> Result<String> {
        self.operate("queue", arguments).await
    }

    /// What `/metrics` says at the listener of this protocol.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn metrics(&self, protocol: &str) -> Result<String> {
        let url = format!("http://{}/metrics", self.address(protocol));
        let mut curl = tokio::process::Command::new("/usr/bin/curl");
        curl.args(["--silent", "--fail", &url]);
        run(curl, b"").await
    }

    /// Runs a postoffice's `suppression ...` on its spool, as an operator would.
    ///
    /// # Errors
    /// With what it says, when it fails.
    pub async fn suppression(&self, arguments: &[&str]) -> Result<String> {
        self.operate("suppression", arguments).await
    }

    async fn operate(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let mut process = self.program.command(self.half);
        process.arg(command).args(arguments).arg("--spool").arg(self.spool());
        run(process, b"").await
    }

    /// Runs a postoffice's `explain ...` on its spool, with the settings that the daemon was started with.
    ///
    /// # Errors
    /// With what it says, when it fails.
    pub async fn explain(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.program.command(self.half);
        command.arg("explain").args(arguments).arg("--spool").arg(self.spool());
        command.args(&self.options.arguments);
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        run(command, b"").await
    }

    /// Runs `queue list --json` on its spool: one status a mail.
    ///
    /// # Errors
    /// With what it says, when it fails.
    pub async fn queue_list(&self) -> Result<Vec<Value>> {
        let lines = self.queue(&["list", "--json"]).await?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Posts to a postoffice's `/v1/messages?QUERY` with the token and these further header fields.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn post(&self, query: &str, headers: &[&str], body: &[u8]) -> Result<HttpResponse> {
        let url = format!("http://{}/v1/messages?{query}", self.address("http"));
        let mut arguments = vec!["--oauth2-bearer", TOKEN, "--data-binary", "@-", &url];
        arguments.extend(headers.iter().flat_map(|header| ["--header", *header]));
        curl(arguments, body).await
    }

    /// Asks a postoffice for a mail's status, with the token.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn message(&self, id: &str) -> Result<HttpResponse> {
        let url = format!("http://{}/v1/messages/{id}", self.address("http"));
        curl(["--oauth2-bearer", TOKEN, &url], b"").await
    }

    /// Waits until a postoffice has done with every recipient of a mail, and returns the status.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn message_done(&self, id: &str) -> Result<Value> {
        const FINAL: [&str; 4] = ["delivered", "failed", "expired", "dropped"];
        self.message_when(id, |status| {
            let states = status["recipients"].as_array().into_iter().flatten();
            let mut states = states.map(|recipient| recipient["state"].as_str().unwrap_or(""));
            states.all(|state| FINAL.contains(&state))
        })
        .await
    }

    /// Waits until a mail's status is as it should be, and returns it.
    ///
    /// # Errors
    /// When it is not in time, with the last one.
    pub async fn message_when(&self, id: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = eventually("a mail's status", async || {
            let response = self.message(id).await?;
            last = if response.status == 200 { response.json()? } else { response.body.into() };
            Ok((response.status == 200 && is(&last)).then(|| last.clone()))
        })
        .await;
        found.map_err(|error| LabError::new(format!("{error}; the last was {last:#}")).into())
    }

    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let wanted = protocols(self.half, &self.options);
        for protocol in wanted {
            let address = self.process.find_in_log(|line| listening(line, &protocol)).await?;
            self.addresses.insert(protocol, address);
        }
        Ok(())
    }
}

fn protocols(half: Half, options: &DaemonOptions) -> Vec<String> {
    let mut protocols = vec![match half {
        Half::Mailman => "smtp".to_owned(),
        Half::Postoffice => "http".to_owned(),
    }];
    if options.arguments.iter().any(|argument| argument == "--tls-listen") {
        protocols.push("smtps".to_owned());
    }
    if options.arguments.iter().any(|argument| argument == "--admin") {
        protocols.push("admin".to_owned());
    }
    protocols.extend(options.environment.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("HEDWIG_MAILMAN_LISTENER_")?.strip_suffix("_LISTEN")?;
        value.parse::<SocketAddr>().is_ok().then(|| name.to_ascii_lowercase())
    }));
    protocols
}

fn spool(options: &DaemonOptions, directory: &Path) -> PathBuf {
    options.spool.clone().unwrap_or_else(|| directory.join("spool"))
}

fn launch(
    program: &Program,
    half: Half,
    options: &DaemonOptions,
    addresses: &BTreeMap<String, SocketAddr>,
    directory: &Path,
) -> Result<Process> {
    let mut command = program.command(half);
    command.arg("serve").arg("--log-format").arg("json");
    command.arg("--spool").arg(spool(options, directory));
    command.arg("--token-file").arg(directory.join("token"));
    let listen = match half {
        Half::Mailman => addresses.get("smtp"),
        Half::Postoffice => addresses.get("http"),
    };
    command.arg("--listen").arg(at(listen));
    let mut arguments = options.arguments.iter();
    while let Some(argument) = arguments.next() {
        command.arg(argument);
        if argument == "--admin" {
            let given = arguments.next();
            command.arg(
                addresses
                    .get("admin")
                    .map_or_else(|| given.cloned().unwrap_or_default(), ToString::to_string),
            );
        }
    }
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    Process::spawn(half.name(), command)
}

fn at(address: Option<&SocketAddr>) -> String {
    address.map_or_else(|| "127.0.0.1:0".to_owned(), ToString::to_string)
}

/// The address in the line that tells where a protocol is served.
fn listening(line: &str, protocol: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let tells = line["message"] == "listening" && line["protocol"] == protocol;
    tells.then(|| line["address"].as_str()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let line = r#"{"level":"INFO","message":"listening","protocol":"smtp","address":"127.0.0.1:2525"}"#;
        assert_eq!(listening(line, "smtp"), Some("127.0.0.1:2525".parse().unwrap()));
        assert_eq!(listening(line, "http"), None);
        assert_eq!(listening("not JSON", "smtp"), None);
    }

    #[test]
    fn a_setting_without_a_flag_goes_through_the_environment() {
        let options = DaemonOptions::default().set(Half::Postoffice, "schedule", "first", "1s");
        let expected = ("HEDWIG_POSTOFFICE_SCHEDULE_FIRST".to_owned(), "1s".to_owned());
        assert_eq!(options.environment, [expected]);
    }
}
