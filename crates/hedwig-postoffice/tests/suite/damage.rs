//! What `check` says of a spool.

use std::path::Path;

use crate::{daemon::Daemon, run};

/// Every file below a directory, and what is in it.
fn files(directory: &Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

#[test]
fn check_finds_damage_in_a_spool_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let ids = ["a", "b", "c"].map(|name| daemon.mail(&format!("{name}%40example.net")));
    ids.iter().for_each(|id| daemon.wait_for_state(id, "deferred"));
    let spool = daemon.spool.clone();
    drop(daemon);
    let check = || {
        let before = files(Path::new(&spool));
        let told = run(&["check", "--spool", &spool]);
        assert_eq!(files(Path::new(&spool)), before, "a look changes nothing");
        told
    };
    let (code, out, error) = check();
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("recipients deferred: 3\nThe spool is whole.\n"), "{out}");

    let log = Path::new(&spool).join("log/0000000001.segment");
    let whole = std::fs::read(&log).unwrap();
    let find = |text: &[u8], until: usize| {
        whole[..until].windows(text.len()).rposition(|part| part == text).unwrap()
    };
    let mut bytes = whole.clone();
    // The second mail's own record comes before all that tells of it.
    let first = whole.windows(13).position(|part| part == b"b@example.net").unwrap();
    bytes[first] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (code, out, error) = check();
    assert_eq!((code, error.as_str()), (65, ""), "{out}");
    let place = find(b"HdwR", first);
    assert!(out.contains(&format!("damaged: log/0000000001.segment at octet {place}\n")), "{out}");
    assert!(out.contains("recipients deferred: 2\n"), "{out}");
    assert!(!out.contains("whole"), "{out}");

    std::fs::write(&log, whole).unwrap();
    std::fs::write(Path::new(&spool).join("format"), "{").unwrap();
    let (code, _, error) = check();
    assert_eq!(code, 65);
    assert!(error.contains("format"), "{error}");
}
