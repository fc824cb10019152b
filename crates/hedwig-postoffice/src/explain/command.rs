//! The command `explain`: asks the daemon, or decides itself when none runs.

use std::{io::Write, path::Path};

use clap::{Arg, ArgAction, ArgMatches, Command};
use hedwig_daemon::{
    Configured, Exit, Extra, configure,
    control::{Console, Question, Subject},
    queue::{authorities_for_url, authorities_given},
    report,
    settings::{Reading, Settings},
    spool,
};
use hedwig_envelope::{Address, BoxError};
use hedwig_mx::dkim::KeyRing;
use hedwig_spool::Grouping;

use super::Explainer;
use crate::Postoffice;

/// The command.
pub(crate) const COMMAND: Extra = Extra { name: "explain", command, run };

fn command(name: &'static str) -> Command {
    Command::new(name)
        .about("Say why a mail waits, or how one to an address would go")
        .long_about(
            "Say why a mail waits, with every attempt and what was said in it, or how a mail to an address would go: \
             route, servers and their state, TLS and who asks for it, source address, DKIM keys, limits, and when it \
             is tried next. The daemon on this host is asked, or another one with --url; when none runs, what the \
             configuration says is told",
        )
        .arg(Arg::new("subject").value_name("ADDRESS|ID").required(true).help("A recipient, or a mail by its id"))
        .arg(Arg::new("from").long("from").value_name("ADDRESS").help("Whose mail it would be, for the DKIM keys"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"))
        .arg(Arg::new("url").long("url").value_name("URL").help("Ask the daemon at this address, and not the one on this host"))
        .arg(
            Arg::new("url-token")
                .long("url-token-file")
                .value_name("F")
                .requires("url")
                .help("The file with the token for --url"),
        )
        .arg(authorities_for_url())
}

fn question(flags: &ArgMatches) -> Result<Question, String> {
    let text = |name| flags.get_one::<String>(name).map(String::as_str);
    let from = text("from")
        .map(|from| from.parse::<Address>().map_err(|error| format!("--from {from:?}: {error}")));
    let subject = Subject::parse(text("subject").unwrap_or_default())?;
    Ok(Question { subject, from: from.transpose()?, text: !flags.get_flag("json") })
}

fn run(settings: &Settings, flags: &ArgMatches) -> Exit {
    let question = match question(flags) {
        Ok(question) => question,
        Err(problem) => {
            eprintln!("error: {problem}");
            return Exit::Usage;
        }
    };
    let mut read = Reading::of(settings);
    let options = spool::Options::read(&mut read, Grouping::ByDomain);
    let options = match read.finish(|| options) {
        Ok(options) => options,
        Err(problems) => return report(&problems),
    };
    let text = |name| flags.get_one::<String>(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(BoxError::from).and_then(|runtime| {
        runtime.block_on(async {
            let console = match text("url") {
                Some(url) => {
                    let token = text("url-token").map(Path::new);
                    Some(Console::at_url(url, token, authorities_given(flags))?)
                }
                None => Console::of_daemon(&options.directory).await?,
            };
            match console {
                Some(console) => {
                    let answer = console.get(&question.to_target()).await?;
                    Ok(Exit::Done.once_written(|out| out.write_all(&answer)))
                }
                None => without_daemon(settings, &question).await,
            }
        })
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Refused
    })
}

/// Decides as a daemon with these settings would.
async fn without_daemon(settings: &Settings, question: &Question) -> Result<Exit, BoxError> {
    let configuration = match configure::<Postoffice>(settings) {
        Ok(Configured { configuration, .. }) => configuration,
        Err(problems) => return Ok(report(&problems)),
    };
    if !configuration.spool.directory.is_dir() {
        let directory = configuration.spool.directory.display();
        return Err(format!("there is no spool at {directory}; name it with --spool").into());
    }
    let resolver = configuration.road.resolver()?;
    let spool = spool::open(configuration.spool.clone()).await?;
    let mx = configuration.road.mx(resolver, None);
    let keys = KeyRing::from(configuration.road.keys.clone());
    let list = crate::suppression::open(&configuration.spool.directory)?;
    let explainer = Explainer::new(&configuration, spool.clone(), mx, keys, list, false);
    let answer = explainer.answer(question).await;
    spool.close().await;
    let Some(answer) = answer? else {
        return Err("there is no such mail here (finished mails are kept for some days)".into());
    };
    Ok(Exit::Done.once_written(|out| out.write_all(answer.as_bytes())))
}
