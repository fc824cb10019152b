//! `sendmail(1)`: how programs that know no server send mail. cron, PHP's `mail()`, `git send-email` and
//! mailx call it; also as `mailq` and `newaliases`.
//!
//! ```text
//! arguments ─▶ Invocation ─┐
//! standard input ─▶ message ┴▶ prepare: envelope and content ─▶ hand_over ─┬▶ mailman, over SMTP
//!                                                                          └▶ its drop, when none answers
//! ```
//!
//! It runs with the rights of whoever calls it and is not set-user-id: all it can do is to speak SMTP
//! to this host, and to write into the [drop](DropDirectories).

mod address_list;
mod caller;
mod dialogue;
mod drop;
mod exit;
mod hand_over;
mod header;
mod invocation;
mod message;
mod prepare;
mod surroundings;

use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use hedwig_envelope::{MailId, Timestamp};
use tokio::runtime::Runtime;

pub(crate) use self::address_list::{Mention, addresses};
use self::{
    caller::Caller,
    hand_over::{HandedOver, NotStored, hand_over},
    invocation::{Invocation, Submission},
    message::ReadError,
    prepare::PrepareError,
    surroundings::Surroundings,
};
use crate::Mailman;

pub use drop::{DropDirectories, PickUp, PickUpOptions};
pub use exit::Exit;

const HELP: &str = "\
Takes a message on standard input and sends it.

Usage: sendmail [flags] [recipient...]

  -t           send to the addresses in To, Cc and Bcc too, and remove Bcc
  -i, -oi      a line with nothing but a dot does not end the message
  -f, -r ADDR  the envelope's sender; <> for the null sender
  -F NAME      the sender's full name, for a message without From
  -N WHEN      report: never, or a list of success, failure, delay
  -R PART      return in reports: full or hdrs
  -V ID        the envelope's id, for reports
  -B TYPE      the body is 7BIT or 8BITMIME
  -bm          take a message (what is done without a mode)
  -bs          speak SMTP on standard input and output
  -bp          show the queue, as mailq does
  -bi          rebuild the aliases, as newaliases does: there are none
  -q           try now what waits

Flags of other sendmails (-A -C -D -G -L -O -T -U -X -c -d -e -h -m -n -o -p -s -v -x) are taken and
ignored. Settings come from the configuration of hedwig-mailman: its file and its environment.
";

/// By which name the program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CalledAs {
    /// `sendmail`, or `hedwig-mailman sendmail`.
    Sendmail,
    /// `mailq`.
    Mailq,
    /// `newaliases`.
    Newaliases,
}

/// Whether these arguments, the first being the program's name, call one of the names of
/// sendmail(1); and how many of them do.
pub(crate) fn called_as(arguments: &[OsString]) -> Option<(CalledAs, usize)> {
    let name = Path::new(arguments.first()?).file_name()?;
    match name.to_str() {
        Some("sendmail") => Some((CalledAs::Sendmail, 1)),
        Some("mailq") => Some((CalledAs::Mailq, 1)),
        Some("newaliases") => Some((CalledAs::Newaliases, 1)),
        _ if arguments.get(1)? == OsStr::new("sendmail") => Some((CalledAs::Sendmail, 2)),
        _ => None,
    }
}

/// Does what the arguments behind the name ask for. Messages for the caller go to standard error.
pub(crate) fn run(called_as: CalledAs, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let invocation = match invocation::parse(arguments) {
        Ok(invocation) => invocation,
        Err(error) => return complain(error, Exit::Usage).into(),
    };
    match (called_as, invocation) {
        (_, Invocation::Help) => help().into(),
        (CalledAs::Newaliases, _) | (_, Invocation::RebuildAliases) => Exit::Done.into(),
        (CalledAs::Mailq, _) | (_, Invocation::ListQueue) => queue(&["list"]),
        (_, Invocation::FlushQueue) => queue(&["retry", "--all"]),
        (_, Invocation::Daemon) => {
            complain("the daemon is started with: hedwig-mailman serve", Exit::Usage).into()
        }
        (_, Invocation::Smtp) => with_surroundings(talk).into(),
        (_, Invocation::Submit(submission)) => {
            with_surroundings(|surroundings, runtime| submit(&submission, surroundings, runtime))
                .into()
        }
    }
}

fn help() -> Exit {
    match io::stdout().write_all(HELP.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(error) => complain(error, Exit::Unavailable),
    }
}

/// The queue commands of the daemon's own command line.
fn queue(arguments: &[&str]) -> ExitCode {
    let line = ["hedwig-mailman", "queue"].iter().chain(arguments).map(OsString::from);
    hedwig_daemon::run::<Mailman>(line)
}

fn with_surroundings(act: impl FnOnce(&Surroundings, &Runtime) -> Exit) -> Exit {
    let surroundings = match Surroundings::gather(std::env::vars_os().collect()) {
        Ok(surroundings) => surroundings,
        Err(problems) => {
            problems.0.iter().for_each(say);
            return Exit::Configuration;
        }
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => act(&surroundings, &runtime),
        Err(error) => complain(error, Exit::TryAgain),
    }
}

fn talk(surroundings: &Surroundings, runtime: &Runtime) -> Exit {
    match dialogue::talk(surroundings, runtime, io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => Exit::Done,
        Err(error) => complain(error, Exit::TryAgain),
    }
}

fn submit(submission: &Submission, surroundings: &Surroundings, runtime: &Runtime) -> Exit {
    let bytes_max = surroundings.message_bytes_max;
    let written = match message::read(io::stdin().lock(), submission.dot_ends_message, bytes_max) {
        Ok(written) => written,
        Err(error @ ReadError::TooLarge { .. }) => return complain(error, Exit::Data),
        Err(error @ ReadError::Io(_)) => return complain(error, Exit::TryAgain),
    };
    let (id, now) = new_id();
    let caller = Caller::of_process();
    let prepared = prepare::prepare(submission, &caller, &surroundings.domain, &written, (id, now));
    let fit = prepared.and_then(|(envelope, content)| {
        prepare::refuse_excess(&envelope, &content, bytes_max).map(|()| (envelope, content))
    });
    match fit {
        Ok((envelope, content)) => {
            let handed_over = hand_over(surroundings, id, envelope, content);
            told(runtime.block_on(handed_over), surroundings)
        }
        Err(error @ PrepareError::NobodyNamed) => complain(error, Exit::Usage),
        Err(error @ PrepareError::Loop { .. }) => complain(error, Exit::Unavailable),
        Err(error) => complain(error, Exit::Data),
    }
}

/// Tells the caller what became of a mail.
fn told(handed_over: Result<HandedOver, NotStored>, surroundings: &Surroundings) -> Exit {
    match handed_over {
        Ok(done) => {
            for (recipient, answer) in &done.refused {
                say(format_args!("{}: {}", recipient.address, answer.reply));
            }
            done.refused.first().map_or(Exit::Done, |(_, answer)| Exit::of_refusal(answer))
        }
        // Trying the whole again would make second copies.
        Err(error) if error.is_stored => {
            for (recipient, answer) in &error.left_out {
                say(format_args!("{}: {}", recipient.address, answer.reply));
            }
            complain(error, Exit::Unavailable)
        }
        Err(error) => {
            surroundings.problems.iter().for_each(say);
            complain(error, Exit::TryAgain)
        }
    }
}

/// The id of a mail that comes to be now.
fn new_id() -> (MailId, Timestamp) {
    let now = Timestamp::now();
    (MailId::new(now, fastrand::u128(..)), now)
}

fn complain(problem: impl Display, exit: Exit) -> Exit {
    say(problem);
    exit
}

fn say(what: impl Display) {
    // Who closed standard error does not want to know; the exit code still tells.
    let _ = writeln!(io::stderr(), "sendmail: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_by_several_names() {
        let called = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            called_as(&arguments)
        };
        assert_eq!(called("/usr/sbin/sendmail -t"), Some((CalledAs::Sendmail, 1)));
        assert_eq!(called("mailq"), Some((CalledAs::Mailq, 1)));
        assert_eq!(called("/usr/bin/newaliases"), Some((CalledAs::Newaliases, 1)));
        assert_eq!(called("hedwig-mailman sendmail -t"), Some((CalledAs::Sendmail, 2)));
        assert_eq!(called("hedwig-mailman serve"), None);
        assert_eq!(called("hedwig-mailman"), None);
    }

    #[test]
    fn the_help_names_every_flag_that_means_something() {
        for flag in
            ["-t", "-i", "-f", "-r", "-F", "-N", "-R", "-V", "-B", "-bm", "-bs", "-bp", "-q"]
        {
            assert!(HELP.contains(flag), "{flag}");
        }
    }
}
