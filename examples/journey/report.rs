//! What the journey prints: one line a step, with the time since the start.

use std::{
    fmt::Display,
    io::{IsTerminal, stdout},
    process::ExitCode,
    time::Instant,
};

use hedwig_lab::BoxError;

const PARTY_WIDTH: usize = 10;
/// A detail begins where the text of a step does.
const INDENT: usize = 2 + 9 + 2 + PARTY_WIDTH + 2;

/// Prints as it goes, and remembers whether all went well.
pub(crate) struct Report {
    begun: Instant,
    colours: bool,
    checks: usize,
    failures: usize,
}

impl Report {
    pub(crate) fn new() -> Self {
        let colours = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { begun: Instant::now(), colours, checks: 0, failures: 0 }
    }

    pub(crate) fn title(&self, text: &str) {
        println!("\n{}\n", self.paint("1", text));
    }

    /// One party does one thing.
    pub(crate) fn step(&self, party: &str, text: impl Display) {
        let milliseconds = self.begun.elapsed().as_secs_f64() * 1000.0;
        let time = self.paint("2", &format!("{milliseconds:6.0} ms"));
        let party = self.paint("36", &format!("{party:<PARTY_WIDTH$}"));
        println!("  {time}  {party}  {text}");
    }

    /// More about the last step.
    pub(crate) fn detail(&self, text: impl Display) {
        println!("{:INDENT$}{}", "", self.paint("2", &text.to_string()));
    }

    /// A text as it is, line by line.
    pub(crate) fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("    {}", self.paint("2", line));
        }
    }

    /// Something that must be true.
    pub(crate) fn check(&mut self, holds: bool, what: impl Display) {
        self.checks += 1;
        let mark = if holds { self.paint("32", " ok ") } else { self.paint("31", "FAIL") };
        self.failures += usize::from(!holds);
        println!("  {mark}  {what}");
    }

    /// The last line, and the exit code.
    pub(crate) fn end(&self) -> ExitCode {
        let seconds = self.begun.elapsed().as_secs_f64();
        println!();
        // A journey that checked nothing has shown nothing.
        if self.failures == 0 && self.checks > 0 {
            println!("{} checks, all true; {seconds:.1} s in all.\n", self.checks);
            return ExitCode::SUCCESS;
        }
        println!("{} of {} checks FAILED; {seconds:.1} s in all.\n", self.failures, self.checks);
        ExitCode::FAILURE
    }

    /// The journey could not go on.
    pub(crate) fn stopped(&self, error: &BoxError) -> ExitCode {
        println!("\n{} {error}\n", self.paint("31", "The journey ended early:"));
        ExitCode::FAILURE
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
