//! The figures as a table.

use std::time::Duration;

use crate::{load::Load, usage::Usage};

/// What one way did with one load.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// Until the client had its last 250.
    pub(crate) accepted_after: Duration,
    /// Until the sink had the last mail.
    pub(crate) delivered_after: Duration,
    /// Each server's part.
    pub(crate) usage: Vec<(&'static str, Usage)>,
}

impl Measured {
    fn cpu(&self) -> Duration {
        self.usage.iter().map(|(_, usage)| usage.cpu).sum()
    }

    fn memory_bytes(&self) -> u64 {
        self.usage.iter().map(|(_, usage)| usage.memory_bytes).sum()
    }
}

/// Prints one load's figures: a line for each way, and a line for each server of it.
pub(crate) fn print(load: &Load, rows: &[Measured]) {
    let connections = if load.connections == 1 { "connection" } else { "connections" };
    println!(
        "\n{} mails of {} bytes over {} {connections}",
        thousands(load.mails as f64),
        thousands(load.size_bytes as f64),
        load.connections
    );
    println!(
        "  {:<16}{:>12}{:>12}{:>14}{:>12}",
        "", "accepted/s", "delivered/s", "CPU us/mail", "MiB"
    );
    for row in rows {
        print_row(load, row);
    }
    if let [first, others @ ..] = rows {
        for other in others {
            print_ratio(first, other);
        }
    }
}

fn print_row(load: &Load, row: &Measured) {
    let rate = |duration: Duration| thousands(load.mails as f64 / duration.as_secs_f64());
    println!(
        "  {:<16}{:>12}{:>12}{:>14}{:>12.1}",
        row.name,
        rate(row.accepted_after),
        rate(row.delivered_after),
        thousands(microseconds_a_mail(load, row.cpu())),
        mebibytes(row.memory_bytes()),
    );
    if row.usage.len() > 1 {
        for (name, usage) in &row.usage {
            println!(
                "    {:<14}{:>12}{:>12}{:>14}{:>12.1}",
                name,
                "",
                "",
                thousands(microseconds_a_mail(load, usage.cpu)),
                mebibytes(usage.memory_bytes),
            );
        }
    }
}

/// How much better the first is: above 1 is faster, or costs less.
fn print_ratio(first: &Measured, other: &Measured) {
    let times = |ratio: f64| format!("x{ratio:.1}");
    let seconds = |duration: Duration| duration.as_secs_f64();
    println!(
        "  {:<16}{:>12}{:>12}{:>14}{:>12}",
        format!("vs {}", other.name),
        times(seconds(other.accepted_after) / seconds(first.accepted_after)),
        times(seconds(other.delivered_after) / seconds(first.delivered_after)),
        times(seconds(other.cpu()) / seconds(first.cpu())),
        times(other.memory_bytes() as f64 / first.memory_bytes() as f64),
    );
}

fn microseconds_a_mail(load: &Load, cpu: Duration) -> f64 {
    cpu.as_secs_f64() * 1_000_000.0 / load.mails as f64
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// A whole number with commas between its thousands.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(7.4), "7");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }
}
