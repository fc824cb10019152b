//! The operator's queue commands: `queue list|show|retry|hold|release|fail|drop`.
//!
//! Each is a request to the [control](crate::control) handler, whoever answers it: the daemon that
//! runs on the spool, a remote one, or this process itself when the spool is free.

mod choice;
mod print;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command};
use hedwig_envelope::{BoxError, MailStatus};
use hedwig_spool::Grouping;
use hedwig_transport::Token;

pub use choice::Choice;
pub(crate) use choice::state_name;

use crate::{
    Exit,
    control::{Server, Verb},
    daemon::report,
    settings::{self, Reading, Scope, Settings},
    spool,
};

/// How many mails one request of `list` asks for; a longer list is read in parts.
const PAGE_MAILS: usize = 1000;

/// What an operator asks for.
#[derive(Debug)]
pub(crate) struct Request {
    what: What,
    choice: Choice,
    json: bool,
    remote: Option<Remote>,
}

#[derive(Debug)]
enum What {
    List,
    Show,
    Act(Verb),
}

/// A daemon on another host.
#[derive(Debug)]
struct Remote {
    url: String,
    token_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
}

/// The flag that names [`authorities_for_url`], without its hyphens.
pub(crate) const AUTHORITIES_FLAG: &str = "url-authorities";

/// The flag for who vouches for a daemon at a URL, for every command that has `--url`.
#[must_use]
pub fn authorities_for_url() -> Arg {
    Arg::new(AUTHORITIES_FLAG)
        .long(AUTHORITIES_FLAG)
        .value_name("FILE")
        .requires("url")
        .help("Certification authorities to trust for --url besides the web's, in PEM; a self-signed certificate is its own")
}

/// The file that this flag was given.
#[must_use]
pub fn authorities_given(flags: &ArgMatches) -> Option<&Path> {
    flags.get_one::<String>(AUTHORITIES_FLAG).map(Path::new)
}

/// The command line of `queue`.
pub(crate) fn command(scope: &'static Scope, config: &Arg) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let where_from = [
        config.clone(),
        text("url", "URL", "Ask the daemon at this address, and not the one on this host"),
        Arg::new("remote-token")
            .long("token-file")
            .value_name("F")
            .requires("url")
            .help("The file with the token for --url"),
        authorities_for_url(),
        switch("json", "Print JSON, an object in each line"),
    ];
    let which = [
        Arg::new("id").value_name("ID").num_args(0..).help("Mails, by their ids"),
        text(
            "domain",
            "DOMAIN",
            "Recipients at this domain; where mails are handed on whole, as by mailman, all \
             recipients of a mail that has one there",
        ),
        text("sender", "ADDRESS", "Mails from this sender; <> is the null sender"),
        text("state", "STATE", "Recipients in this state, deferred say"),
        text("older-than", "SPAN", "Mails that came at least so long ago, 2h say"),
        switch("all", "Every mail"),
    ];
    let spool = settings::arguments(scope).into_iter().filter(|a| a.get_id() == "spool");
    let spool: Vec<Arg> = spool.collect();
    let verb = |name: &'static str, about: &'static str, which: &[Arg]| {
        Command::new(name).about(about).args(which).args(&spool).args(&where_from)
    };
    let show = [which[0].clone().required(true)];
    let mut list = which.to_vec();
    list.push(text("limit", "N", "At most so many mails"));
    Command::new("queue")
        .about("See what waits, and act on it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(verb(
            "list",
            "List mails that wait; finished ones with --state or --all",
            &list,
        ))
        .subcommand(verb("show", "Show mails with every attempt", &show))
        .subcommands(Verb::ALL.iter().map(|action| verb(action.name(), action.about(), &which)))
}

impl Request {
    /// Reads the flags of a `queue` command.
    pub(crate) fn of(verb: &str, flags: &ArgMatches) -> Result<Self, String> {
        let what = match verb {
            "list" => What::List,
            "show" => What::Show,
            other => What::Act(Verb::parse(other).ok_or("there is no such queue command")?),
        };
        let mut choice = Choice::default();
        for (flag, name) in [
            ("id", "id"),
            ("domain", "domain"),
            ("sender", "sender"),
            ("state", "state"),
            ("older-than", "older_than"),
            ("limit", "limit"),
        ] {
            if let Ok(Some(values)) = flags.try_get_many::<String>(flag) {
                values.into_iter().try_for_each(|value| choice.set(name, value))?;
            }
        }
        choice.all = matches!(flags.try_get_one::<bool>("all"), Ok(Some(true)));
        if let (What::Act(verb), false) = (&what, choice.is_deliberate()) {
            let name = verb.name();
            return Err(format!(
                "queue {name} which mails? Name ids, a filter such as --domain, or --all"
            ));
        }
        let remote = flags.get_one::<String>("url").map(|url| Remote {
            url: url.clone(),
            token_file: flags.get_one::<String>("remote-token").map(PathBuf::from),
            authorities: authorities_given(flags).map(Path::to_owned),
        });
        Ok(Self { what, choice, json: flags.get_flag("json"), remote })
    }
}

/// Does what was asked for, and prints the answer.
pub(crate) fn run(settings: &Settings, request: &Request, grouping: Grouping) -> Exit {
    let mut read = Reading::of(settings);
    let options = spool::Options::read(&mut read, grouping);
    let options = match read.finish(|| options) {
        Ok(options) => options,
        Err(problems) => return report(&problems),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(BoxError::from).and_then(|runtime| {
        runtime.block_on(async {
            let server = reach(request, options).await?;
            let done = answer(&server, request, &mut io::stdout().lock()).await;
            server.close().await;
            done
        })
    });
    Exit::of(done)
}

async fn reach(request: &Request, options: spool::Options) -> Result<Server, BoxError> {
    let Some(remote) = &request.remote else { return Server::of_spool(options).await };
    let token = match &remote.token_file {
        Some(path) => Some(read_token(path)?),
        None => None,
    };
    Server::at_url(&remote.url, token, remote.authorities.as_deref())
}

/// The first token of a file.
pub(crate) fn read_token(path: &Path) -> Result<Token, String> {
    let told = |error: &dyn std::fmt::Display| format!("--token-file {}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    first.parse().map_err(|error| told(&error))
}

async fn answer(
    server: &Server,
    request: &Request,
    out: &mut impl Write,
) -> Result<Exit, BoxError> {
    match &request.what {
        What::List => list(server, request, out).await,
        What::Show => show(server, request, out).await,
        What::Act(verb) => {
            let recipients = server.act(*verb, &request.choice).await?;
            if request.json {
                writeln!(out, "{}", serde_json::json!({ "recipients": recipients }))?;
            } else {
                let noun = if recipients == 1 { "recipient" } else { "recipients" };
                writeln!(out, "{recipients} {noun} {}", verb.past())?;
            }
            // Who names a mail means that one: nothing done is a failure then.
            let missed = recipients == 0 && !request.choice.ids.is_empty();
            Ok(if missed { Exit::Refused } else { Exit::Done })
        }
    }
}

async fn list(server: &Server, request: &Request, out: &mut impl Write) -> Result<Exit, BoxError> {
    let now = hedwig_envelope::Timestamp::now();
    let mut choice = request.choice.clone();
    let mut left = request.choice.limit.unwrap_or(usize::MAX);
    let mut is_first = true;
    while left > 0 {
        let asked = left.min(PAGE_MAILS);
        choice.limit = Some(asked);
        let page = server.list(&choice).await?;
        if request.json {
            page.iter().try_for_each(|mail| print::json(out, mail))?;
        } else {
            if is_first && !page.is_empty() {
                print::list_header(out)?;
            }
            page.iter().try_for_each(|mail| print::list_mail(out, mail, &choice, now))?;
        }
        let Some(last) = page.last() else { break };
        is_first = false;
        choice.after = Some(last.id);
        left = if page.len() < asked { 0 } else { left - asked };
    }
    if is_first && !request.json {
        writeln!(out, "Nothing waits{}.", if choice.is_deliberate() { " there" } else { "" })?;
    }
    Ok(Exit::Done)
}

async fn show(server: &Server, request: &Request, out: &mut impl Write) -> Result<Exit, BoxError> {
    let now = hedwig_envelope::Timestamp::now();
    let mut exit = Exit::Done;
    for id in &request.choice.ids {
        let mail: Option<MailStatus> = server.show(*id).await?;
        match mail {
            Some(mail) if request.json => print::json(out, &mail)?,
            Some(mail) => print::show(out, &mail, now)?,
            None => {
                eprintln!(
                    "error: there is no mail {id} here (finished mails are kept for some days)"
                );
                exit = Exit::Refused;
            }
        }
    }
    Ok(exit)
}
