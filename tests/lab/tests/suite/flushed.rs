//! What a real daemon asks the system to flush before it answers, seen from outside by strace: a simulated disk cannot
//! tell whether the real one flushes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hedwig_lab::{
    Client, Daemon, DaemonOptions, Half, Program, Result, SENDER, Submission, eventually,
};
use tempfile::TempDir;

/// More than `inline_content_bytes_max`, so that the content gets a file of its own.
const LARGE_LINES: usize = 60_000;
/// A `?` stands before what some processors' systems do not have.
const CALLS: &str = "trace=?mkdir,mkdirat,write,writev,pwrite64,fsync,fdatasync,?rename,?renameat,renameat2,sendto,sendmsg";

#[tokio::test]
async fn a_mail_is_flushed_with_all_that_leads_to_it_before_its_client_is_answered() -> Result<()> {
    let directory = TempDir::with_prefix("lab-flushed-")?;
    // strace tells of the real names.
    let directory = directory.path().canonicalize()?;
    let (spool, trace) = (directory.join("made/for/the/spool"), directory.join("trace"));
    let mut mailman = start_traced(&spool, &trace).await?;
    for body in ["small\r\n".to_owned(), "a line of a large mail\r\n".repeat(LARGE_LINES)] {
        let mail = Submission::new(SENDER, &["bob@126.com"], body);
        Client::Smtplib.send(mailman.address("smtp"), &mail).await?;
    }
    let process = mailman.process().id()?;
    mailman.stop().await?;
    let calls = read(&trace, process).await?;
    let [small, large] = answers(&calls).try_into().expect("two mails were taken");

    // The spool, and all that leads to it.
    for made in ["made", "made/for", "made/for/the", "made/for/the/spool"] {
        let made = directory.join(made);
        let parent = made.parent().expect("it is below another");
        expect_flush(&calls, parent, calls.mkdir(&made), small.answered);
    }
    let draft = spool.join("format.new");
    let written = expect_flush(&calls, &draft, calls.write(&draft, "format"), small.answered);
    let renamed = calls.rename(&draft, &spool.join("format"));
    assert!(written.end < renamed.begin, "format was put in place before it was flushed");
    // SQLite flushes this directory too, for its own files and later: that is not what is meant.
    let next = calls.mkdir(&spool.join("attempts"));
    expect_flush(&calls, &spool, renamed, next);
    for made in ["log", "contents"] {
        expect_flush(&calls, &spool, calls.mkdir(&spool.join(made)), next);
    }

    // The small mail is in the log, which is new.
    let record = calls.record(&spool, &small.id);
    expect_flush(&calls, &record.path, record, small.answered);
    expect_flush(&calls, &spool.join("log"), record, small.answered);

    // The large one has a file, which is there for good before the log tells of it.
    let content = calls.content(&spool, &large.id);
    let record = calls.record(&spool, &large.id);
    let flushed = expect_flush(&calls, &content.path, content, record);
    expect_flush(&calls, &spool.join("contents"), flushed, record);
    expect_flush(&calls, &record.path, record, large.answered);
    Ok(())
}

/// A mailman on a new spool, whose postoffice is away.
async fn start_traced(spool: &Path, trace: &Path) -> Result<Daemon> {
    // The tracer is its grandchild: signals and the end are the daemon's own.
    let strace = ["strace", "-D", "-f", "-y", "-s", "512", "-e", CALLS, "-o"];
    let strace = strace.iter().map(Into::into).chain([trace.into()]);
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let program = program.wrapped::<std::ffi::OsString>(strace);
    let options = DaemonOptions { spool: Some(spool.to_owned()), ..DaemonOptions::default() };
    let options = options.arguments(["--hostname", "mailman.lab.example"]);
    let options = options.arguments(["--postoffice", "http://127.0.0.1:9"]);
    Daemon::start(&program, Half::Mailman, options).await
}

/// A call of the system, from the line where it begins to the one where it has returned.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    arguments: String,
    /// What its first argument, a descriptor, stands for; empty when that is none.
    path: PathBuf,
    begin: usize,
    end: usize,
}

struct Calls(Vec<Call>);

#[derive(Debug)]
struct Answer<'a> {
    id: String,
    answered: &'a Call,
}

/// Reads the trace, as soon as the tracer has written the end of it.
async fn read(trace: &Path, process: u32) -> Result<Calls> {
    let process = process.to_string();
    // Small numbers are followed by more blanks.
    let is_end = |line: &String| {
        let (thread, what) = line.split_once(' ').unwrap_or_default();
        thread == process && what.trim_start().starts_with("+++ ")
    };
    let lines = eventually("the end of the trace", async || {
        let text = fs::read_to_string(trace)?;
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        Ok(lines.iter().any(is_end).then_some(lines))
    });
    let mut calls: Vec<Call> = Vec::new();
    // By thread, what has not returned yet.
    let mut unfinished = std::collections::BTreeMap::new();
    for (number, line) in lines.await?.iter().enumerate() {
        let Some((thread, what)) = line.split_once(' ') else { continue };
        let what = what.trim_start();
        if let Some(rest) = what.strip_prefix("<... ") {
            let Some(place) = unfinished.remove(thread) else { continue };
            let call: &mut Call = &mut calls[place];
            assert!(rest.starts_with(&call.name) && !is_failed(rest), "{line}");
            call.end = number;
        } else if let Some((name, arguments)) = what.split_once('(') {
            if is_failed(what) {
                continue;
            }
            let path = arguments.split_once('<').filter(|(descriptor, _)| is_number(descriptor));
            let path = path.and_then(|(_, rest)| rest.split('>').next()).unwrap_or_default();
            let (name, arguments, path) = (name.to_owned(), arguments.to_owned(), path.into());
            if arguments.ends_with("<unfinished ...>") {
                unfinished.insert(thread, calls.len());
            }
            calls.push(Call { name, arguments, path, begin: number, end: number });
        }
    }
    Ok(Calls(calls))
}

fn is_failed(line: &str) -> bool {
    line.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with('-'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Call {
    fn writes(&self) -> bool {
        ["write", "writev", "pwrite64", "sendto", "sendmsg"].contains(&self.name.as_str())
    }
}

impl Calls {
    fn one(&self, what: &str, is: impl Fn(&Call) -> bool) -> &Call {
        self.0.iter().find(|call| is(call)).unwrap_or_else(|| panic!("no {what} in the trace"))
    }

    fn mkdir(&self, path: &Path) -> &Call {
        let path = format!("\"{}\"", path.display());
        let is = |call: &Call| call.name.starts_with("mkdir") && call.arguments.contains(&path);
        self.one(&format!("mkdir of {path}"), is)
    }

    fn rename(&self, from: &Path, to: &Path) -> &Call {
        let [from, to] = [from, to].map(|path| format!("\"{}\"", path.display()));
        self.one(&format!("rename of {from} to {to}"), |call| {
            call.name.starts_with("rename")
                && call.arguments.contains(&from)
                && call.arguments.contains(&to)
        })
    }

    fn write(&self, path: &Path, what: &str) -> &Call {
        self.one(&format!("write of {what} to {}", path.display()), |call| {
            call.writes() && call.path == path && call.arguments.contains(what)
        })
    }

    /// The first that tells of a mail in the log: that of the mail itself.
    fn record(&self, spool: &Path, id: &str) -> &Call {
        let log = spool.join("log");
        self.one(&format!("record of {id}"), |call| {
            call.writes() && call.path.starts_with(&log) && call.arguments.contains(id)
        })
    }

    /// The last write of a mail's content to its file.
    fn content(&self, spool: &Path, id: &str) -> &Call {
        let start = spool.join("contents").join(id).display().to_string();
        let is =
            |call: &&Call| call.writes() && call.path.display().to_string().starts_with(&start);
        self.0.iter().rfind(is).unwrap_or_else(|| panic!("no content of {id} in the trace"))
    }
}

/// What clients were answered who had sent a mail, in this order.
fn answers<'a>(calls: &'a Calls) -> Vec<Answer<'a>> {
    let answer = |answered: &'a Call| {
        let Call { arguments, .. } = answered;
        let (_, id) = arguments.split_once("\"250 2.0.0 Ok: queued as ")?;
        let id = id.split(|c: char| !c.is_ascii_alphanumeric()).next()?.to_owned();
        Some(Answer { id, answered })
    };
    calls.0.iter().filter(|call| call.writes()).filter_map(answer).collect()
}

/// The flush of a path that begins when one call has returned, and has returned when another begins.
fn expect_flush<'a>(calls: &'a Calls, path: &Path, after: &Call, before: &Call) -> &'a Call {
    let flush = calls.0.iter().find(|call| {
        ["fsync", "fdatasync"].contains(&call.name.as_str())
            && call.path == path
            && call.begin > after.end
            && call.end < before.begin
    });
    flush.unwrap_or_else(|| {
        panic!("{} was not flushed between\n{after:?}\nand\n{before:?}", path.display())
    })
}
