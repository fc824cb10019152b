//! `docs/standards.md` names files and tests: they exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What stands between backquotes.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn problem(row: &str) -> Option<String> {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [sections, what, place, proof] = cells[..] else { return Some("not four cells".into()) };
    if !sections.contains(|c: char| c.is_ascii_digit()) || what.is_empty() {
        return Some("no section, or nothing said of it".into());
    }
    let ([file], [test_file, function @ ..]) = (&named(place)[..], &named(proof)[..]) else {
        return Some("no file, or no test".into());
    };
    if !root().join(file).is_file() {
        return Some(format!("there is no file {file}"));
    }
    let Ok(test) = fs::read_to_string(root().join(test_file)) else {
        return Some(format!("there is no file {test_file}"));
    };
    match function {
        [] => None,
        [name] => {
            let is_there = test.contains(&format!("fn {name}("));
            (!is_there).then(|| format!("there is no test {name} in {test_file}"))
        }
        _ => Some("more than one test".into()),
    }
}

#[test]
fn every_file_and_test_that_the_table_of_standards_names_exists() {
    let table = fs::read_to_string(root().join("docs/standards.md")).expect("it is there");
    let rows = table.lines().filter(|line| line.starts_with('|'));
    let rows: Vec<&str> =
        rows.filter(|row| !row.starts_with("| RFC") && !row.starts_with("| ---")).collect();
    assert!(rows.len() > 60, "the table has only {} rows", rows.len());
    let problems: Vec<String> = rows
        .iter()
        .filter_map(|row| problem(row).map(|problem| format!("{problem}: {row}")))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn what_is_not_there_is_noticed() {
    for (row, expected) in [
        ("| 1 §1 | x | `Cargo.toml` | `Cargo.toml` `no_such_test` |", "there is no test"),
        ("| 1 §1 | x | `no/such.rs` | `Cargo.toml` |", "there is no file no/such.rs"),
        ("| 1 §1 | x | `Cargo.toml` | `no/such.rs` |", "there is no file no/such.rs"),
        ("| 1 §1 | x | Cargo.toml | `Cargo.toml` |", "no file"),
        ("| 1 §1 | `Cargo.toml` | `Cargo.toml` |", "not four cells"),
    ] {
        let found = problem(row).unwrap_or_default();
        assert!(found.contains(expected), "{row}: {found:?}");
    }
}
