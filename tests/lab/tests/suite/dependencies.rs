//! What is absent, on purpose: which crates each part of Hedwig must not draw in, that there is one of
//! each stack, where everything comes from, and under which licences.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

/// Licences that ask for no more than that they be kept with the code.
const ALLOWED_LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "Apache-2.0 WITH LLVM-exception",
];

const ONE_OF_EACH: [&str; 12] = [
    "rustls",
    "hickory-proto",
    "hickory-resolver",
    "hyper",
    "http",
    "tokio",
    "tower",
    "bytes",
    "mail-auth",
    "aws-lc-rs",
    "rusqlite",
    "jiff",
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--locked")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The names of the crates that a package of the workspace draws in, itself included.
fn drawn_in(package: &str, further: &[&str]) -> BTreeSet<String> {
    let mut arguments = vec!["tree", "--edges", "normal", "--prefix", "none", "--package", package];
    arguments.extend_from_slice(further);
    let tree = cargo(&arguments);
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[track_caller]
fn assert_absent(package: &str, further: &[&str], unwanted: &[&str]) {
    let drawn_in = drawn_in(package, further);
    assert!(drawn_in.contains(package), "cargo tree does not show {package}: {drawn_in:?}");
    for name in unwanted {
        assert!(!drawn_in.contains(*name), "{package} {further:?} draws in {name}");
    }
}

#[test]
fn the_envelope_does_no_io() {
    let unwanted =
        ["tokio", "hyper", "rustls", "hickory-resolver", "rusqlite", "fastrand", "rand", "mio"];
    assert_absent("hedwig-envelope", &[], &unwanted);
}

#[test]
fn smtp_without_its_tokio_feature_has_no_socket_and_no_runtime() {
    let unwanted = ["tokio", "mio", "socket2", "rustls", "tokio-rustls", "hyper"];
    assert_absent("hedwig-smtp", &["--no-default-features"], &unwanted);
    assert!(drawn_in("hedwig-smtp", &[]).contains("tokio"), "by default it has its drivers");
}

#[test]
fn smtp_parses_for_itself() {
    assert_absent("hedwig-smtp", &[], &["smtp-proto", "mail-parser", "mail-send"]);
}

#[test]
fn the_spool_knows_neither_smtp_nor_http_nor_dns() {
    let unwanted = [
        "hedwig-smtp",
        "hedwig-transport",
        "hedwig-mx",
        "hyper",
        "http",
        "rustls",
        "hickory-resolver",
        "hickory-proto",
    ];
    assert_absent("hedwig-spool", &[], &unwanted);
}

#[test]
fn the_transport_knows_neither_the_spool_nor_dns() {
    let unwanted = ["hedwig-spool", "hedwig-mx", "rusqlite", "hickory-resolver"];
    assert_absent("hedwig-transport", &[], &unwanted);
}

#[test]
fn the_road_to_the_mx_knows_no_spool() {
    let unwanted = ["hedwig-spool", "hedwig-transport", "rusqlite", "clap", "toml_edit"];
    assert_absent("hedwig-mx", &[], &unwanted);
}

#[test]
fn mailman_needs_no_dns_and_no_signing() {
    assert_absent("hedwig-mailman", &[], &["hedwig-mx", "hickory-resolver", "mail-auth"]);
}

#[test]
fn no_library_reads_a_configuration() {
    for library in
        ["hedwig-envelope", "hedwig-smtp", "hedwig-spool", "hedwig-transport", "hedwig-mx"]
    {
        assert_absent(library, &[], &["clap", "toml_edit", "toml", "hedwig-daemon"]);
    }
}

fn packages() -> Vec<Value> {
    let host = cargo(&["version", "--verbose"]);
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let metadata = cargo(&["metadata", "--format-version", "1", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo writes JSON");
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let is_used = |package: &&Value| package["id"].as_str().is_some_and(|id| used.contains(id));
    packages.iter().filter(is_used).cloned().collect()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a name")
}

#[test]
fn there_is_one_of_each_stack() {
    // Unlike the metadata, the tree leaves out what no feature turns on.
    let tree = cargo(&["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"]);
    let crates: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()))
        .collect();
    let versions = |wanted: &str| crates.iter().filter(|(name, _)| *name == wanted).count();
    for stack in ONE_OF_EACH {
        assert_eq!(versions(stack), 1, "versions of {stack}");
    }
    for unwanted in ["openssl", "openssl-sys", "native-tls", "ring", "async-std", "chrono"] {
        let invert = format!("cargo tree --workspace --invert {unwanted}");
        assert_eq!(versions(unwanted), 0, "{unwanted} is drawn in; see: {invert}");
    }
}

#[test]
fn every_dependency_comes_from_crates_io() {
    for package in packages() {
        match package["source"].as_str() {
            Some(source) => assert_eq!(
                source,
                "registry+https://github.com/rust-lang/crates.io-index",
                "{} comes from elsewhere",
                name(&package)
            ),
            None => assert!(name(&package).starts_with("hedwig-"), "{} is a path", name(&package)),
        }
    }
}

#[test]
fn every_licence_is_one_that_we_can_keep() {
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        assert!(Licences(&licence).is_allowed(), "{} is under {licence:?}", name(&package));
    }
}

#[test]
fn a_licence_expression_is_read_with_its_operators() {
    for (expression, allowed) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-3.0-only", true),
        ("MIT AND GPL-3.0-only", false),
        ("ISC AND (GPL-3.0-only OR MIT) AND (Apache-2.0)", true),
        ("(MIT OR Apache-2.0) AND OpenSSL", false),
        ("Apache-2.0 WITH LLVM-exception OR LGPL-2.1-or-later", true),
        ("", false),
    ] {
        assert_eq!(Licences(expression).is_allowed(), allowed, "{expression}");
    }
}

/// An SPDX licence expression: AND binds closer than OR, parentheses closer than both.
struct Licences<'a>(&'a str);

impl Licences<'_> {
    fn is_allowed(&self) -> bool {
        let spaced = self.0.replace('(', " ( ").replace(')', " ) ");
        let mut words = spaced.split_whitespace().peekable();
        any(&mut words) && words.next().is_none()
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>) -> bool {
    let mut allowed = all(words);
    while words.next_if_eq(&"OR").is_some() {
        allowed |= all(words);
    }
    allowed
}

fn all(words: &mut Words<'_>) -> bool {
    let mut allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => any(words) & (words.next() == Some(")")),
        Some(name) if words.next_if_eq(&"WITH").is_some() => {
            let name = format!("{name} WITH {}", words.next().unwrap_or_default());
            ALLOWED_LICENCES.contains(&name.as_str())
        }
        Some(name) => ALLOWED_LICENCES.contains(&name),
        None => false,
    }
}
