//! `hedwig-postoffice init DOMAIN`: makes the keys of a domain, and says what its DNS must have.

mod make;
mod print;

pub(crate) mod addresses;
pub(crate) mod records;

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use clap::{Arg, ArgAction, ArgMatches, Command};
use hedwig_daemon::{
    Exit, Extra, Hostname, report,
    settings::{Reading, Settings},
    spool,
};
use hedwig_envelope::{Address, BoxError, Domain, Timestamp};
use hedwig_mx::{Keys, Source, dkim::SigningKey, to_ascii};
use hedwig_spool::Grouping;

use crate::road::{ALLOW_LOOPBACK, DKIM_KEYS, OWN_ADDRESSES, read_sources};
use addresses::{Addresses, Told};
use make::Owner;
use print::Plan;
use records::Record;

/// The command `init`.
pub(crate) const COMMAND: Extra = Extra { name: "init", command, run };

fn command(name: &'static str) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new(name)
        .about("Make a domain's DKIM keys, and print the DNS records that its mail wants")
        .long_about(
            "Make a domain's DKIM keys in the directory of [dkim] keys, and print the DNS records that its mail wants, \
             as lines of a zone file. Keys that are there stay as they are: then only their records are printed, \
             and the exit code is 1. With --selector, new keys are put beside those of other selectors",
        )
        .arg(Arg::new("domain").value_name("DOMAIN").required(true).help("Whose mail is sent"))
        .arg(text("selector", "NAME", "The selectors are NAME-rsa and NAME-ed25519 [default: the month, as 202611]"))
        .arg(text("mx", "HOST", "Who takes the domain's mail, the first choice first [default: this host]").action(ArgAction::Append))
        .arg(text("reports", "ADDRESS", "Who gets reports of DMARC and of TLS [default: postmaster of the domain]"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"))
}

/// What is asked for.
struct Request {
    domain: String,
    selector: Option<String>,
    mx: Vec<String>,
    reports: String,
    json: bool,
}

impl Request {
    fn of(flags: &ArgMatches) -> Result<Self, String> {
        let text = |name| flags.get_one::<String>(name).map(String::as_str);
        let domain = domain_name(text("domain").unwrap_or_default())?;
        let selector = text("selector").map(domain_name).transpose()?;
        let mx = flags.get_many::<String>("mx").into_iter().flatten();
        let mx = mx.map(|host| domain_name(host)).collect::<Result<_, _>>()?;
        let reports = match text("reports") {
            None => format!("postmaster@{domain}"),
            // What means something in a list of URIs (RFC 7489 §6.2) would have to be written otherwise.
            Some(text) => match text.parse::<Address>() {
                Ok(address)
                    if text.is_ascii() && !text.contains([',', ';', '!', '%', '"', ' ']) =>
                {
                    address.to_string()
                }
                _ => return Err(format!("--reports {text:?}: write it like dmarc@example.org")),
            },
        };
        Ok(Self { domain, selector, mx, reports, json: flags.get_flag("json") })
    }
}

/// A domain name, in A-labels.
pub(crate) fn domain_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    match (Domain::parse(name), to_ascii(name)) {
        (Ok(Domain::Name(_)), Some(name)) => Ok(name.into_owned()),
        _ => Err(format!("{text:?} is no domain name; write it like example.org")),
    }
}

/// What the settings say that counts here. The directory of keys need not be there yet.
struct Place {
    hostname: Hostname,
    keys: Option<PathBuf>,
    spool: PathBuf,
    sources: Vec<Source>,
    own: Vec<IpAddr>,
    allow_loopback: bool,
}

impl Place {
    fn read(read: &mut Reading<'_>) -> Option<Self> {
        let hostname = Hostname::read(read);
        let keys = read.optional::<PathBuf>(&DKIM_KEYS);
        let spool = spool::Options::read(read, Grouping::ByDomain);
        let sources = read_sources(read);
        let own = read.many::<IpAddr>(&OWN_ADDRESSES);
        let allow_loopback = read.one::<bool>(&ALLOW_LOOPBACK);
        Some(Self {
            hostname: hostname?,
            keys: keys?,
            spool: spool?.directory,
            sources: sources?,
            own: own?,
            allow_loopback: allow_loopback?,
        })
    }

    fn addresses(&self) -> Addresses {
        Addresses::of(&Told {
            hello: self.hostname.as_str(),
            sources: &self.sources,
            own: &self.own,
            allow_loopback: self.allow_loopback,
        })
    }
}

fn run(settings: &Settings, flags: &ArgMatches) -> Exit {
    let request = match Request::of(flags) {
        Ok(request) => request,
        Err(problem) => {
            eprintln!("error: {problem}");
            return Exit::Usage;
        }
    };
    let mut read = Reading::of(settings);
    let place = Place::read(&mut read);
    let warnings: Vec<String> = read.warnings().iter().map(ToString::to_string).collect();
    let place = match read.finish(|| place) {
        Ok(place) => place,
        Err(problems) => return report(&problems),
    };
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    Exit::of(act(&request, &place))
}

fn act(request: &Request, place: &Place) -> Result<Exit, BoxError> {
    let Some(directory) = &place.keys else {
        let name = DKIM_KEYS.name();
        eprintln!("error: {name} is not set: say with it or with --dkim-keys where keys shall lie");
        return Ok(Exit::Configuration);
    };
    let is_there = directory.try_exists()?;
    let all = if is_there { Keys::load(directory)? } else { Keys::default() };
    let mut keys: Vec<Arc<SigningKey>> =
        all.iter().filter(|key| key.domain() == request.domain).cloned().collect();
    let is_refused = !keys.is_empty() && request.selector.is_none();
    let mut made = Vec::new();
    if is_refused {
        eprintln!(
            "{} has keys already, which stay as they are; these are their records. For new ones beside them, name a selector with --selector",
            request.domain
        );
    } else {
        let owner = Owner::of_spool(&place.spool)?;
        if owner.is_none() && rustix::process::geteuid().is_root() {
            let spool = place.spool.display();
            eprintln!(
                "warning: the keys are root's, for the spool {spool}, whose owner they are for, is not there yet"
            );
        }
        let now = Timestamp::now().to_string();
        let month: String = now.chars().take(7).filter(char::is_ascii_digit).collect();
        let selector = request.selector.as_ref().unwrap_or(&month);
        let new = match make::make(directory, &request.domain, selector, owner) {
            Ok(new) => new,
            Err(error) => {
                eprintln!("error: {error}");
                return Ok(Exit::Refused);
            }
        };
        made = new.iter().map(|key| key.selector().to_owned()).collect();
        keys.extend(new.into_iter().map(Arc::new));
    }
    keys.sort_by(|a, b| a.selector().cmp(b.selector()));
    let plan = plan(request, place, &keys, made);
    let exit = if is_refused { Exit::Refused } else { Exit::Done };
    Ok(exit.once_written(|out| if request.json { plan.write_json(out) } else { plan.write(out) }))
}

/// All that DNS is to have.
fn plan(request: &Request, place: &Place, keys: &[Arc<SigningKey>], made: Vec<String>) -> Plan {
    let (domain, host) = (request.domain.as_str(), place.hostname.as_str());
    let addresses = place.addresses();
    let hosts = if request.mx.is_empty() { vec![host.to_owned()] } else { request.mx.clone() };
    // Only the digits and letters of the time (RFC 8461 §3.1).
    let id: String =
        format!("{:.0}", Timestamp::now()).chars().filter(char::is_ascii_alphanumeric).collect();
    let mut all: Vec<Record> = records::mx(domain, &hosts);
    all.push(records::spf(domain, &addresses, host));
    all.extend(keys.iter().map(|key| records::dkim(key)));
    all.push(records::dmarc(domain, &request.reports));
    all.push(records::mta_sts(domain, &id));
    all.push(records::tls_reports(domain, &request.reports));
    for name in addresses.names().into_iter().filter(|name| *name != domain) {
        all.push(records::spf_of_host(name));
    }
    all.extend(addresses.known.iter().map(records::address));
    all.extend(addresses.known.iter().map(records::reverse));
    let reports_at = request.reports.rsplit_once('@').map_or("", |(_, at)| at).to_ascii_lowercase();
    if reports_at != domain && !reports_at.ends_with(&format!(".{domain}")) {
        all.push(records::dmarc_consent(domain, &reports_at));
    }
    let files = place.keys.as_ref().map(|directory| directory.join(domain)).unwrap_or_default();
    let keys = keys.iter().map(|key| print::Key {
        selector: key.selector().to_owned(),
        algorithm: key.algorithm(),
        file: files.join(format!("{}.pem", key.selector())),
        made: made.iter().any(|selector| selector == key.selector()),
    });
    Plan {
        domain: domain.to_owned(),
        keys: keys.collect(),
        records: all,
        policy: records::policy(&hosts),
        hidden: addresses.hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_read_in_any_spelling_and_leads_out_of_no_directory() {
        assert_eq!(domain_name("Bücher.Example.").unwrap(), "xn--bcher-kva.example");
        for text in ["", "..", "../etc", "a/b", "a b", "[192.0.2.1]", "example..org", "a\nb"] {
            let problem = domain_name(text).unwrap_err();
            assert!(problem.contains("is no domain name"), "{problem}");
        }
    }

    fn request(arguments: &[&str]) -> Result<Request, String> {
        let arguments = [&["init"], arguments].concat();
        Request::of(&command("init").try_get_matches_from(arguments).unwrap())
    }

    #[test]
    fn reports_go_to_an_address_that_a_list_of_uris_can_hold() {
        assert_eq!(request(&["example.org"]).unwrap().reports, "postmaster@example.org");
        let other = request(&["example.org", "--reports", "dmarc@example.net"]).unwrap();
        assert_eq!(other.reports, "dmarc@example.net");
        for wrong in
            ["dmarc", "a@b,mailto:c@d", "a@b!10m", "a;p=reject@b.example", "\"a b\"@c.example"]
        {
            assert!(request(&["example.org", "--reports", wrong]).is_err(), "{wrong}");
        }
    }
}
