//! `hedwig-postoffice doctor [DOMAIN]`: looks whether what is published fits what is used, and says what to do.

mod clock;
mod dkim;
mod dmarc;
mod domain;
mod finding;
mod host;
mod names;
mod network;
mod patient;
mod spf;
mod tags;
mod tls;

use std::{future::Future, pin::Pin, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use futures_util::future::join_all;
use hedwig_daemon::{Configured, Exit, Extra, configure, report, settings::Settings};
use hedwig_envelope::BoxError;
use tokio::time::timeout;

use crate::{Postoffice, init::domain_name};
use finding::{Finding, Findings, Level};
use patient::{Patient, Probes};

/// The command `doctor`.
pub(crate) const COMMAND: Extra = Extra { name: "doctor", command, run };

/// How long one check may take: more than its questions to DNS and its connections may together.
const CHECK_TIME_MAX: Duration = Duration::from_secs(25);
/// How long a name server may take to answer at all.
const NAME_SERVER_TIME_MAX: Duration = Duration::from_secs(8);
/// So many domains are looked at where none is named.
const DOMAINS_MAX: usize = 20;

/// A check under way.
type Check<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

fn command(name: &'static str) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new(name)
        .about("Look whether DNS, the network and this host are as mail wants them, and say what to do")
        .long_about(
            "Look whether DNS, the network and this host are as mail wants them, and say what to do: a line for each \
             check. Nothing is changed and no mail is sent. The exit code is 1 when a check failed",
        )
        .arg(
            Arg::new("domain")
                .value_name("DOMAIN")
                .num_args(0..)
                .help("The domains that mail is sent from [default: those with DKIM keys]"),
        )
        .arg(
            text("port25-host", "HOST", "A mail exchanger to connect to, as a proof that the network lets mail out")
                .default_value("gmail-smtp-in.l.google.com"),
        )
        .arg(
            text("ntp", "HOST[:PORT]", "A time server to compare the clock with")
                .default_value("pool.ntp.org"),
        )
        .arg(
            text("policy-port", "PORT", "The port of web servers with MTA-STS policies; another one is for laboratories")
                .value_parser(value_parser!(u16).range(1..))
                .default_value("443"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"))
}

fn run(settings: &Settings, flags: &ArgMatches) -> Exit {
    let named = flags.get_many::<String>("domain").into_iter().flatten();
    let named: Vec<String> = match named.map(|name| domain_name(name)).collect() {
        Ok(named) => named,
        Err(problem) => {
            eprintln!("error: {problem}");
            return Exit::Usage;
        }
    };
    let configured = match configure::<Postoffice>(settings) {
        Ok(configured) => configured,
        Err(problems) => return report(&problems),
    };
    match examine(settings, flags, configured, &named) {
        Ok(findings) => tell(&findings, flags.get_flag("json")),
        Err(error) => {
            eprintln!("error: {error}");
            Exit::TryAgain
        }
    }
}

fn examine(
    settings: &Settings,
    flags: &ArgMatches,
    configured: Configured<Postoffice>,
    named: &[String],
) -> Result<Findings, BoxError> {
    let text = |name| flags.get_one::<String>(name).cloned().unwrap_or_default();
    let probes = Probes {
        port25_host: text("port25-host"),
        time_server: text("ntp"),
        policy_port: flags.get_one("policy-port").copied().unwrap_or(443),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings_findings = host::settings(settings.file(), &configured.warnings);
    let patient = Patient::new(configured.configuration, probes)?;
    let mut findings = settings_findings;
    findings.extend(runtime.block_on(all(&patient, named)));
    Ok(Findings(findings))
}

/// All checks, side by side; what they found, in their order.
async fn all(patient: &Patient, named: &[String]) -> Vec<Finding> {
    let mut findings = together(vec![
        bounded("spool", host::spool(patient)),
        bounded("disk", host::disk(patient)),
        bounded("daemon", host::daemon(patient)),
        within(NAME_SERVER_TIME_MAX, "name server", network::name_server(patient)),
    ])
    .await;
    let is_deaf = findings.last().is_some_and(|finding| finding.level == Level::Fail);
    if is_deaf {
        let found =
            "clock, names, addresses and domains were not looked at, for no name server answers";
        findings.push(Finding::fail("the rest", found, "Mend that first."));
        return findings;
    }
    let mut domains = if named.is_empty() { patient.domains() } else { named.to_vec() };
    let left_out = domains.split_off(domains.len().min(DOMAINS_MAX.max(named.len())));
    let mut checks = vec![bounded("clock", clock::check(patient))];
    checks.extend(names::checks(patient));
    checks.extend(network::port25(patient));
    checks.extend(spf::of_hosts(patient, &domains));
    for domain in &domains {
        checks.push(bounded(format!("mx {domain}"), domain::mx(patient, domain)));
        checks.push(bounded(format!("spf {domain}"), spf::of_domain(patient, domain)));
        checks.extend(dkim::checks(patient, domain));
        checks.push(bounded(format!("dmarc {domain}"), dmarc::check(patient, domain)));
        checks.push(bounded(format!("mta-sts {domain}"), tls::policy(patient, domain)));
        checks.push(bounded(format!("tlsrpt {domain}"), tls::reports(patient, domain)));
    }
    findings.extend(together(checks).await);
    if domains.is_empty() {
        let advice = "Name one: hedwig-postoffice doctor example.org; for keys, hedwig-postoffice init example.org";
        findings.push(Finding::warn("domain", "none is named and there are no DKIM keys", advice));
    }
    if let Some(first) = left_out.first() {
        let found = format!("{} more have keys and were not looked at", left_out.len());
        let advice = format!("Name them: hedwig-postoffice doctor {first} ...");
        findings.push(Finding::warn("domain", found, advice));
    }
    findings
}

async fn together(checks: Vec<Check<'_>>) -> Vec<Finding> {
    join_all(checks).await.into_iter().flatten().collect()
}

/// A check that ends in time.
fn bounded<'a>(
    name: impl Into<String>,
    check: impl Future<Output = Vec<Finding>> + 'a,
) -> Check<'a> {
    within(CHECK_TIME_MAX, name, check)
}

fn within<'a>(
    limit: Duration,
    name: impl Into<String>,
    check: impl Future<Output = Vec<Finding>> + 'a,
) -> Check<'a> {
    let name = name.into();
    Box::pin(async move {
        timeout(limit, check).await.unwrap_or_else(|_| {
            let found = format!("it took more than {} s", limit.as_secs());
            let advice = "Try again; if it stays so, look at the network, and at [dns] server or /etc/resolv.conf.";
            vec![Finding::fail(name, found, advice)]
        })
    })
}

fn tell(findings: &Findings, as_json: bool) -> Exit {
    let exit = if findings.has_failed() { Exit::Refused } else { Exit::Done };
    exit.once_written(|out| if as_json { findings.write_json(out) } else { findings.write(out) })
}
