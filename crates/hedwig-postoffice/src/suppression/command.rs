//! `hedwig-postoffice suppression list|show|add|remove`: an operator's say in who is not tried.
//!
//! The command works on the list's own file, whether or not the daemon runs: the two may have it open at once.

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};
use hedwig_daemon::{
    Exit, Extra, report,
    settings::{Reading, Settings, Span},
    spool,
};
use hedwig_envelope::{Address, BoxError, Timestamp};
use hedwig_spool::{Grouping, Suppression, SuppressionOrigin, Suppressions};

/// The command `suppression`.
pub(crate) const COMMAND: Extra = Extra { name: "suppression", command, run };

/// How many entries are read at once.
const PAGE: usize = 1000;
/// The longest reason that an operator may give, in bytes: it goes into a line of a reply.
const REASON_BYTES_MAX: usize = 300;

fn command(name: &'static str) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print JSON, an object in each line");
    let address = Arg::new("address").value_name("ADDRESS").required(true);
    Command::new(name)
        .about("See and change which recipients are not tried, for they do not exist")
        .arg(
            Arg::new("action")
                .value_name("list|show|add|remove")
                .value_parser(["list", "show", "add", "remove"])
                .required(true)
                .help("What to do"),
        )
        .arg(
            address
                .required_if_eq_any([("action", "show"), ("action", "add"), ("action", "remove")])
                .required(false)
                .help("The recipient, for all but list"),
        )
        .arg(text("domain", "DOMAIN", "list: recipients at this domain"))
        .arg(text("reason", "TEXT", "add: why; senders read it in the refusal"))
        .arg(text("for", "SPAN", "add: how long, 90d say [default: for ever]"))
        .arg(json)
}

fn run(settings: &Settings, flags: &ArgMatches) -> Exit {
    let mut read = Reading::of(settings);
    let options = spool::Options::read(&mut read, Grouping::ByDomain);
    let options = match read.finish(|| options) {
        Ok(options) => options,
        Err(problems) => return report(&problems),
    };
    let request = match Request::of(flags, Timestamp::now()) {
        Ok(request) => request,
        Err(problem) => {
            eprintln!("error: {problem}");
            return Exit::Usage;
        }
    };
    let directory = &options.directory;
    if !directory.is_dir() {
        eprintln!("error: there is no spool in {}; name it with --spool", directory.display());
        return Exit::TryAgain;
    }
    let done = super::open(directory).map_err(BoxError::from);
    let done = done.and_then(|list| request.answer(&list, &mut io::stdout().lock()));
    Exit::of(done)
}

struct Request {
    action: Action,
    json: bool,
    now: Timestamp,
}

#[derive(Debug)]
enum Action {
    List(Option<String>),
    Show(Address),
    Add(Suppression),
    Remove(Address),
}

impl Request {
    fn of(flags: &ArgMatches, now: Timestamp) -> Result<Self, String> {
        let text = |name| flags.get_one::<String>(name).map(String::as_str);
        let address = || {
            let text = text("address").unwrap_or_default();
            text.parse::<Address>().map_err(|error| format!("{text:?} is no address: {error}"))
        };
        let action = match text("action").unwrap_or_default() {
            "show" => Action::Show(address()?),
            "remove" => Action::Remove(address()?),
            "add" => Action::Add(Suppression {
                address: address()?,
                since: now,
                until: text("for").map(|span| until(now, span)).transpose()?,
                reason: reason(text("reason").unwrap_or("so, without a reason"))?,
                origin: SuppressionOrigin::Operator,
            }),
            _ => Action::List(text("domain").map(ToOwned::to_owned)),
        };
        Ok(Self { action, json: flags.get_flag("json"), now })
    }

    fn answer(&self, list: &Suppressions, out: &mut impl Write) -> Result<Exit, BoxError> {
        match &self.action {
            Action::List(domain) => self.list(list, domain.as_deref(), out),
            Action::Show(address) => match list.find(address, self.now)? {
                Some(entry) => self.print(out, &entry).map(|()| Exit::Done),
                None => Ok(missing(address)),
            },
            Action::Add(entry) => {
                list.insert(entry)?;
                self.print(out, entry).map(|()| Exit::Done)
            }
            Action::Remove(address) if list.remove(address)? => {
                writeln!(out, "{address} is tried again")?;
                Ok(Exit::Done)
            }
            Action::Remove(address) => Ok(missing(address)),
        }
    }

    fn list(
        &self,
        list: &Suppressions,
        domain: Option<&str>,
        out: &mut impl Write,
    ) -> Result<Exit, BoxError> {
        let mut last: Option<Address> = None;
        loop {
            let page = list.list(domain, last.as_ref(), PAGE, self.now)?;
            page.iter().try_for_each(|entry| self.print(out, entry))?;
            match page.last() {
                Some(entry) if page.len() == PAGE => last = Some(entry.address.clone()),
                None if last.is_none() && !self.json => {
                    writeln!(
                        out,
                        "Nobody is suppressed{}.",
                        if domain.is_some() { " there" } else { "" }
                    )?;
                    return Ok(Exit::Done);
                }
                _ => return Ok(Exit::Done),
            }
        }
    }

    fn print(&self, out: &mut impl Write, entry: &Suppression) -> Result<(), BoxError> {
        if self.json {
            writeln!(out, "{}", serde_json::to_string(entry)?)?;
            return Ok(());
        }
        writeln!(out, "{}  {entry}", entry.address)?;
        Ok(())
    }
}

fn missing(address: &Address) -> Exit {
    eprintln!("error: {address} is not suppressed");
    Exit::Refused
}

fn until(now: Timestamp, span: &str) -> Result<Timestamp, String> {
    let lasts: Span = span.parse().map_err(|error| format!("--for {span:?}: {error}"))?;
    now.checked_add(lasts.0)
        .map_err(|error| format!("--for {span:?}: {error}; leave it out for ever"))
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > REASON_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!(
            "--reason: it is one line of at most {REASON_BYTES_MAX} bytes, without control characters"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn ask(list: &Suppressions, arguments: &[&str]) -> Result<(Exit, String), String> {
        let arguments = [&["suppression"], arguments].concat();
        let flags = command("suppression").try_get_matches_from(arguments);
        let request = Request::of(&flags.map_err(|error| error.to_string())?, now())?;
        let mut out = Vec::new();
        let exit = request.answer(list, &mut out).map_err(|error| error.to_string())?;
        Ok((exit, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn an_operator_adds_sees_and_removes_a_recipient() {
        let directory = tempfile::tempdir().unwrap();
        let list = super::super::open(directory.path()).unwrap();
        let asked = |arguments: &[&str]| ask(&list, arguments).unwrap();
        assert_eq!(asked(&["list"]), (Exit::Done, "Nobody is suppressed.\n".into()));
        let line = "bob@example.net  since 2026-09-21T14:13:20Z, until 2026-10-21T14:13:20Z: an operator said he left\n";
        let added = asked(&["add", "bob@example.net", "--for", "30d", "--reason", "he left"]);
        assert_eq!(added, (Exit::Done, line.into()));
        assert_eq!(asked(&["list", "--domain", "example.net"]), (Exit::Done, line.into()));
        let json = asked(&["show", "bob@example.net", "--json"]).1;
        let json: Suppression = serde_json::from_str(&json).unwrap();
        assert_eq!((json.origin, json.reason.as_str()), (SuppressionOrigin::Operator, "he left"));
        assert_eq!(asked(&["remove", "bob@example.net"]).0, Exit::Done);
        assert_eq!(asked(&["remove", "bob@example.net"]).0, Exit::Refused);
        assert_eq!(asked(&["show", "bob@example.net"]).0, Exit::Refused);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let list = super::super::open(directory.path()).unwrap();
        for (arguments, problem) in [
            (&["add", "bob"][..], "\"bob\" is no address"),
            (&["add", "b@example.net", "--for", "soon"], "--for \"soon\""),
            (&["add", "b@example.net", "--reason", "a\r\n550 x"], "--reason: it is one line"),
            (&["show"], "required"),
        ] {
            let error = ask(&list, arguments).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
