//! What processes have used, from `/proc` (see proc(5)).

use std::{fs, io, path::Path, time::Duration};

use hedwig_lab::{LabError, Result};

/// What a server has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time together.
    pub(crate) cpu: Duration,
    /// Memory in bytes: the most that a single process had at one time; of a family what it has at the
    /// moment, pages that several share counted once.
    pub(crate) memory_bytes: u64,
}

impl Usage {
    /// What was used between an earlier reading and this one.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), ..self }
    }
}

/// The usage of one process.
pub(crate) fn of_process(id: u32) -> Result<Usage> {
    let stat = Stat::read(id)?;
    Ok(Usage { cpu: ticks(stat.own), memory_bytes: resident_bytes_max(id)? })
}

/// The usage of a process, the children it has, and those it had.
pub(crate) fn of_family(parent: u32) -> Result<Usage> {
    let stat = Stat::read(parent)?;
    let mut sum = stat.own + stat.ended_children;
    let mut memory_bytes = proportional_bytes(parent)?;
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at; then its parent's figures have it.
        let Ok(stat) = Stat::read(id) else { continue };
        if stat.parent == parent {
            sum += stat.own + stat.ended_children;
            memory_bytes += proportional_bytes(id).unwrap_or(0);
        }
    }
    Ok(Usage { cpu: ticks(sum), memory_bytes })
}

struct Stat {
    parent: u32,
    own: u64,
    ended_children: u64,
}

impl Stat {
    fn read(id: u32) -> Result<Self> {
        let text = read(format!("/proc/{id}/stat"))?;
        Self::parse(&text).ok_or_else(|| LabError::new(format!("no process: {text:?}")).into())
    }

    /// The fields after the name, which may hold anything and ends at the last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            ended_children: number(13)? + number(14)?,
        })
    }
}

/// The kernel counts in hundredths of a second for every program, whatever its own clock is.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 10)
}

fn resident_bytes_max(id: u32) -> Result<u64> {
    Ok(bytes_in(&read(format!("/proc/{id}/status"))?, "VmHWM:"))
}

/// Its own pages, and its part of those that it shares.
fn proportional_bytes(id: u32) -> Result<u64> {
    Ok(bytes_in(&read(format!("/proc/{id}/smaps_rollup"))?, "Pss:"))
}

/// A process that is just ending has none left.
fn bytes_in(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes: Option<u64> = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn read(path: impl AsRef<Path>) -> io::Result<String> {
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_confuses_nobody() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4 1 2 3 4 50 6 70 8 20 0 1 0 99 1 2";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.own, stat.ended_children), (3, 56, 78));
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(of_process(std::process::id()).unwrap().memory_bytes > 100_000);
        assert!(of_family(std::process::id()).unwrap().memory_bytes > 100_000);
    }
}
