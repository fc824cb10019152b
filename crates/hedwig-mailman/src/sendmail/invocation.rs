//! What the arguments of `sendmail`, `mailq` and `newaliases` ask for.
//!
//! Flags may stand before and after recipients, until `--`; a flag's value stands in the same argument
//! or in the next one. No flag names a file that is read or written: a web application's mistake in
//! quoting must not become more than a mail (`-C`, `-X`, `-O`, `-D` are taken with their values and
//! ignored, `-be` and its like are refused).

use std::ffi::OsString;

use hedwig_envelope::{Body, Notify, Ret};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Take a message from standard input (`-bm`, or no mode at all).
    Submit(Submission),
    /// Speak SMTP on standard input and output (`-bs`).
    Smtp,
    /// Show the queue (`-bp`, `mailq`).
    ListQueue,
    /// Try now what waits (`-q`).
    FlushQueue,
    /// Rebuild the alias database (`-bi`, `newaliases`): there is none, so this is done already.
    RebuildAliases,
    /// Run as a daemon (`-bd`).
    Daemon,
    /// Say how it is used (`--help`).
    Help,
}

/// How a message is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submission {
    /// The recipients named as arguments.
    pub(crate) recipients: Vec<String>,
    /// Whether To, Cc and Bcc name recipients too (`-t`).
    pub(crate) recipients_from_header: bool,
    /// Whether a line with nothing but a dot ends the message; not with `-i` or `-oi`.
    pub(crate) dot_ends_message: bool,
    /// The envelope's sender (`-f`, `-r`); empty or `<>` for the null sender.
    pub(crate) sender: Option<String>,
    /// The sender's full name, for a missing From (`-F`).
    pub(crate) full_name: Option<String>,
    /// `-N`.
    pub(crate) notify: Option<Notify>,
    /// `-R`.
    pub(crate) ret: Option<Ret>,
    /// `-V`.
    pub(crate) envid: Option<String>,
    /// `-B`.
    pub(crate) body: Option<Body>,
}

impl Default for Submission {
    fn default() -> Self {
        Self {
            recipients: Vec::new(),
            recipients_from_header: false,
            dot_ends_message: true,
            sender: None,
            full_name: None,
            notify: None,
            ret: None,
            envid: None,
            body: None,
        }
    }
}

/// Arguments that make no sense. It names the argument, with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{0:?} is not UTF-8")]
    NotUtf8(OsString),
    #[error("there is no flag {0:?}; see --help")]
    UnknownFlag(String),
    #[error("the flag -{0} wants a value")]
    NoValue(char),
    #[error("there is no mode {0:?}; -bm, -bs, -bp and -bi are offered")]
    UnknownMode(String),
    #[error("-{flag}: {reason}")]
    BadValue { flag: char, reason: String },
}

/// Reads the arguments that follow the name `sendmail`.
///
/// # Errors
/// When they make no sense.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Invocation, UsageError> {
    let mut reading = Reading::default();
    let mut arguments = arguments.into_iter();
    let mut only_recipients = false;
    while let Some(argument) = arguments.next() {
        let argument = argument.into_string().map_err(UsageError::NotUtf8)?;
        match argument.strip_prefix('-') {
            _ if only_recipients => reading.submission.recipients.push(argument),
            None => reading.submission.recipients.push(argument),
            Some("-") => only_recipients = true,
            Some("-help") => return Ok(Invocation::Help),
            Some("") => return Err(UsageError::UnknownFlag(argument)),
            Some(flags) => reading.cluster(&argument, flags, &mut arguments)?,
        }
    }
    Ok(reading.finish())
}

/// The flags whose value is in the same argument or in the next one.
const WITH_VALUE: &str = "ABCDFLMNOPRVXbefhopr";
/// The flags whose value, if they have one, is in the same argument: what goes on is not a flag.
const WITH_VALUE_ATTACHED: &str = "dq";
/// The flags that have no value, and that mean nothing here or only what is done anyway.
const IGNORED: &str = "GTUcmnsvx";

#[derive(Default)]
struct Reading {
    submission: Submission,
    mode: Option<Invocation>,
    queue: Option<Invocation>,
}

impl Reading {
    /// Reads `-tif` and the like: flags without a value, and at the end perhaps one with it.
    fn cluster(
        &mut self,
        argument: &str,
        flags: &str,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), UsageError> {
        let mut characters = flags.chars();
        while let Some(flag) = characters.next() {
            if WITH_VALUE.contains(flag) {
                let attached = characters.as_str();
                let value = match attached {
                    "" => rest.next().ok_or(UsageError::NoValue(flag))?,
                    _ => attached.into(),
                };
                return self.with_value(flag, value.into_string().map_err(UsageError::NotUtf8)?);
            }
            match flag {
                't' => self.submission.recipients_from_header = true,
                'i' => self.submission.dot_ends_message = false,
                'I' => self.mode = Some(Invocation::RebuildAliases),
                'q' => {
                    // With an interval (-q30m) it is meant for a daemon, which has its own schedule.
                    let interval = characters.as_str().starts_with(|c: char| c.is_ascii_digit());
                    self.queue =
                        Some(if interval { Invocation::Daemon } else { Invocation::FlushQueue });
                    return Ok(());
                }
                _ if WITH_VALUE_ATTACHED.contains(flag) => return Ok(()),
                _ if IGNORED.contains(flag) => {}
                _ => return Err(UsageError::UnknownFlag(argument.to_owned())),
            }
        }
        Ok(())
    }

    fn with_value(&mut self, flag: char, value: String) -> Result<(), UsageError> {
        let wrong = |error: &dyn std::fmt::Display| UsageError::BadValue {
            flag,
            reason: error.to_string(),
        };
        let submission = &mut self.submission;
        match flag {
            'b' => self.mode = mode(&value)?,
            'f' | 'r' => submission.sender = Some(value),
            'F' => submission.full_name = Some(value),
            'N' => submission.notify = Some(value.parse().map_err(|e| wrong(&e))?),
            'R' => submission.ret = Some(value.parse().map_err(|e| wrong(&e))?),
            'V' if value.contains(|c: char| !(' '..='~').contains(&c)) || value.len() > 100 => {
                return Err(wrong(&"an envelope id is up to 100 printable ASCII characters"));
            }
            'V' => submission.envid = Some(value),
            'B' => submission.body = Some(value.parse().map_err(|e| wrong(&e))?),
            'o' if value == "i" => submission.dot_ends_message = false,
            // Options of other programs: files (-C, -X, -O, -D), and ways to go about it (-o, -e, -h, -L...).
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Invocation {
        let says_what_to_send =
            !self.submission.recipients.is_empty() || self.submission.recipients_from_header;
        match (self.mode, self.queue) {
            (Some(mode), _) => mode,
            (None, Some(queue)) if !says_what_to_send => queue,
            _ => Invocation::Submit(self.submission),
        }
    }
}

fn mode(value: &str) -> Result<Option<Invocation>, UsageError> {
    Ok(Some(match value {
        "m" => return Ok(None),
        "s" => Invocation::Smtp,
        "p" => Invocation::ListQueue,
        "i" => Invocation::RebuildAliases,
        "d" | "D" => Invocation::Daemon,
        _ => return Err(UsageError::UnknownMode(format!("-b{value}"))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, UsageError> {
        // A tilde stands for an empty argument.
        parse(line.split_whitespace().map(|word| if word == "~" { "" } else { word }.into()))
    }

    fn submission(line: &str) -> Submission {
        match read(line) {
            Ok(Invocation::Submit(submission)) => submission,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn recipients_are_arguments_or_in_the_header() {
        let plain = submission("a@b c@d");
        assert_eq!(plain.recipients, ["a@b", "c@d"]);
        assert!(plain.dot_ends_message && !plain.recipients_from_header);
        assert!(submission("-t").recipients_from_header);
        let both = submission("-ti a@b");
        assert!(both.recipients_from_header && !both.dot_ends_message);
        assert_eq!(submission("-- -t").recipients, ["-t"]);
        assert_eq!(submission("a@b -f me -i c@d").recipients, ["a@b", "c@d"]);
    }

    #[test]
    fn a_value_is_attached_or_the_next_argument() {
        for line in ["-fme@x a@b", "-f me@x a@b", "-r me@x a@b", "-rme@x a@b", "-ifme@x a@b"] {
            assert_eq!(submission(line).sender.as_deref(), Some("me@x"), "{line}");
        }
        assert_eq!(submission("-f ~ a@b").sender.as_deref(), Some(""));
        assert_eq!(submission("-FCronDaemon root").full_name.as_deref(), Some("CronDaemon"));
        assert_eq!(read("-t -f"), Err(UsageError::NoValue('f')));
    }

    #[test]
    fn what_a_dot_means_is_told_in_two_ways() {
        for line in ["-i a@b", "-oi a@b", "-o i a@b", "-ti"] {
            assert!(!submission(line).dot_ends_message, "{line}");
        }
        assert!(submission("-oem -odi a@b").dot_ends_message);
    }

    #[test]
    fn dsn_flags_become_parameters() {
        let asked = submission("-N never -R hdrs -V QQ314159 -B8BITMIME a@b");
        assert_eq!(asked.notify, Some(Notify::NEVER));
        assert_eq!(asked.ret, Some(Ret::Hdrs));
        assert_eq!(asked.envid.as_deref(), Some("QQ314159"));
        assert_eq!(asked.body, Some(Body::EightBitMime));
        assert_eq!(submission("-Nfailure,delay a@b").notify, Some(Notify::default()));
        for line in ["-N sometimes a@b", "-R some a@b", "-B 9bit a@b", "-V é a@b"] {
            assert!(matches!(read(line), Err(UsageError::BadValue { .. })), "{line}");
        }
    }

    #[test]
    fn flags_of_others_are_taken_with_their_values_and_ignored() {
        let plain = submission("a@b");
        for line in [
            "-bm a@b",
            "-v -m -n -U -G a@b",
            "-h 5 a@b",
            "-h5 a@b",
            "-L tag a@b",
            "-Am a@b",
            "-Ac a@b",
            "-q30m a@b",
            "-q a@b",
            "-oem -odb -oi5 -o7 -ov a@b",
            "-o em a@b",
            "-em a@b",
            "-d0.1 a@b",
            "-p ESMTP:host a@b",
            "-X /tmp/log a@b",
            "-X/tmp/log a@b",
            "-C /etc/shadow a@b",
            "-C/etc/shadow a@b",
            "-O QueueDirectory=/tmp a@b",
            "-OQueueDirectory=/tmp a@b",
            "-D /tmp/x a@b",
        ] {
            assert_eq!(submission(line), plain, "{line}");
        }
    }

    #[test]
    fn modes_are_told_apart() {
        assert_eq!(read("-bs"), Ok(Invocation::Smtp));
        assert_eq!(read("-bp"), Ok(Invocation::ListQueue));
        assert_eq!(read("-bi"), Ok(Invocation::RebuildAliases));
        assert_eq!(read("-I"), Ok(Invocation::RebuildAliases));
        assert_eq!(read("-bd -q15m"), Ok(Invocation::Daemon));
        assert_eq!(read("-q30m"), Ok(Invocation::Daemon));
        assert_eq!(read("-q"), Ok(Invocation::FlushQueue));
        assert_eq!(read("-qRexample.com"), Ok(Invocation::FlushQueue));
        assert_eq!(read("--help"), Ok(Invocation::Help));
    }

    #[test]
    fn what_runs_or_reads_something_else_is_refused() {
        for line in ["-be", "-be ${run{/bin/sh}}", "-bP config", "-bt", "-bh 1.2.3.4", "-b"] {
            assert!(read(line).is_err(), "{line}");
        }
        assert_eq!(read("-Z a@b"), Err(UsageError::UnknownFlag("-Z".into())));
        assert_eq!(read("- a@b"), Err(UsageError::UnknownFlag("-".into())));
        assert!(matches!(read("--config=/tmp/x a@b"), Err(UsageError::UnknownFlag(_))));
        let error = parse(["-b\u{1b}[2J".into()]).unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}
