//! What `fuzz/run` makes of its arguments. A compiler and a target that are played tell what they are asked.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use hedwig_lab::Result;
use tempfile::TempDir;

/// Makes the target that it is asked for; that one prints its arguments.
const CARGO: &str = r#"#!/bin/sh
mkdir -p target/played/release
printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' >target/played/release/address
chmod +x target/played/release/address
"#;
const RUSTC: &str = "#!/bin/sh\necho host: played\n";

/// A copy of `fuzz/` with one target, and a caller's directory beside it.
fn place() -> Result<TempDir> {
    let place = TempDir::with_prefix("lab-fuzz-")?;
    for directory in ["fuzz/targets", "bin", "caller"] {
        fs::create_dir_all(place.path().join(directory))?;
    }
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/run");
    fs::copy(run, place.path().join("fuzz/run"))?;
    fs::write(place.path().join("fuzz/targets/address.rs"), "")?;
    fs::write(place.path().join("caller/finding"), "")?;
    for (name, text) in [("cargo", CARGO), ("rustc", RUSTC)] {
        let program = place.path().join("bin").join(name);
        fs::write(&program, text)?;
        fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(place)
}

fn run(place: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(place.join("fuzz/run"));
    let path = format!("{}:/usr/bin:/bin", place.join("bin").display());
    Ok(command.current_dir(place.join("caller")).env("PATH", path).args(arguments).output()?)
}

#[test]
fn a_file_is_found_from_where_the_caller_is_and_what_follows_is_passed_on() -> Result<()> {
    let place = place()?;
    let finding = place.path().canonicalize()?.join("caller/finding").display().to_string();
    let output = run(place.path(), &["address", "finding", "-minimize_crash=1", "-runs=10"])?;
    let asked = String::from_utf8(output.stdout)?;
    let asked: Vec<&str> = asked.lines().collect();
    assert!(asked.contains(&"-minimize_crash=1") && asked.contains(&"-runs=10"), "{asked:?}");
    assert_eq!(asked.last(), Some(&&*finding), "{asked:?}");

    let output = run(place.path(), &["address", "7", "-max_len=9"])?;
    let asked = String::from_utf8(output.stdout)?;
    assert!(asked.contains("-max_total_time=7\n") && asked.contains("-max_len=9\n"), "{asked}");
    Ok(())
}

#[test]
fn what_is_neither_a_file_nor_seconds_is_told_before_anything_is_built() -> Result<()> {
    let place = place()?;
    let output = run(place.path(), &["address", "fnding"])?;
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(error, "fuzz/run: fnding is neither a file nor a number of seconds\n");
    assert!(!place.path().join("fuzz/target").exists());
    Ok(())
}
