//! The log: lines of text or JSON on standard error.

use std::{
    io::{self, Write},
    str::FromStr,
};

use tracing_subscriber::fmt::MakeWriter;

use crate::settings::Setting;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: `TIME LEVEL message field=value`.
    Text,
    /// For programs: one JSON object, its fields at the top.
    Json,
}

/// The setting for a [`Format`].
pub static FORMAT: Setting = Setting::text("log", "format", "text|json")
    .flag("log-format")
    .help("How a line of the log looks")
    .default("text");

/// The setting for a [`Filter`].
pub static LEVEL: Setting = Setting::text("log", "level", "LEVEL")
    .help("What is logged: error, warn, info, debug or trace; also for a part, as hedwig_mx=debug")
    .default("info")
    .example("info,hedwig_mx=debug");

/// What is logged, in the words of `RUST_LOG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

/// What a daemon logs, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How a line looks.
    pub format: Format,
    /// What is logged.
    pub filter: Filter,
}

/// Sends what is logged from here on to standard error.
///
/// In a program that has its own subscriber, that one stays. A panic becomes a line like any other.
pub fn start(options: &Options) {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        let reason = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(location, reason, "a part of the program panicked");
    }));
    let filter = tracing_subscriber::EnvFilter::new(&options.filter.0);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(CleanLines);
    // Refused only where somebody else has set a subscriber, whose business it is then.
    let _ = match options.format {
        Format::Text => lines.with_ansi(false).with_target(false).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("the log is text or json"),
        }
    }
}

impl FromStr for Filter {
    type Err = tracing_subscriber::filter::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        tracing_subscriber::EnvFilter::builder().parse(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// Standard error, where each event is one line and nothing that could move a cursor gets through:
/// replies of other servers are in it.
struct CleanLines;

impl<'a> MakeWriter<'a> for CleanLines {
    type Writer = CleanLine<io::StderrLock<'static>>;

    fn make_writer(&'a self) -> Self::Writer {
        CleanLine(io::stderr().lock())
    }
}

struct CleanLine<W>(W);

impl<W: Write> Write for CleanLine<W> {
    /// Takes a whole event, as the subscriber writes it: all of it is written, or an error told.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = text.replace(char::is_control, "?");
        line.push('\n');
        // At once: standard error has no buffer, and each write is a call of the system.
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_cannot_forge_a_line_or_move_the_cursor() {
        let mut out = CleanLine(Vec::new());
        out.write_all("reply=550 no\r\nERROR forged \u{1b}[2J\u{9b}1m ü\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out.0).unwrap(), "reply=550 no??ERROR forged ?[2J?1m ü\n");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        assert!("info,hedwig_mx=debug".parse::<Filter>().is_ok());
        assert!("hedwig_mx=loud".parse::<Filter>().is_err());
        assert_eq!("xml".parse::<Format>(), Err("the log is text or json"));
    }
}
