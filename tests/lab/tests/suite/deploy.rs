//! The files in `deploy/`: the daemons take every example as it is and with every line of it, systemd knows
//! every directive of the units, and what the units leave a daemon is little.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

struct Daemon {
    name: &'static str,
    settings: Vec<Setting>,
}

struct Setting {
    section: String,
    key: &'static str,
    default: Option<&'static str>,
    variable: String,
}

/// What a section is called in an example: a table that the operator names has the name of the containers there.
fn section(section: &str, is_named: bool) -> String {
    if is_named { format!("{section}.containers") } else { section.to_owned() }
}

fn mailman() -> Daemon {
    let scope = &hedwig_mailman::SCOPE;
    let settings = scope.table.iter().map(|s| Setting {
        section: section(s.section, s.is_named),
        key: s.key,
        default: s.default,
        variable: scope.variable(s),
    });
    Daemon { name: "mailman", settings: settings.collect() }
}

fn postoffice() -> Daemon {
    let scope = &hedwig_postoffice::SCOPE;
    let settings = scope.table.iter().map(|s| Setting {
        section: section(s.section, s.is_named),
        key: s.key,
        default: s.default,
        variable: scope.variable(s),
    });
    Daemon { name: "postoffice", settings: settings.collect() }
}

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

fn example(daemon: &Daemon) -> String {
    let path = deploy(&format!("{0}/{0}.toml", daemon.name));
    fs::read_to_string(path).expect("the example is there")
}

impl Daemon {
    /// What `check` says of a configuration whose files are in `directory`, and of these variables.
    fn check(
        &self,
        configuration: &str,
        variables: &[(String, String)],
        directory: &Path,
    ) -> Output {
        let file = directory.join("configuration.toml");
        fs::write(&file, configuration).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedwig-lab"));
        command.arg(self.name).arg("check").arg("--config").arg(&file);
        command.env_clear().envs(variables.iter().cloned());
        command.output().expect("it starts")
    }
}

#[track_caller]
fn assert_success(output: &Output) {
    let (told, wrong) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && wrong.is_empty(), "{}\n{told}\n{wrong}", output.status);
}

/// A directory with all the files that the examples name.
fn etc() -> TempDir {
    let etc = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(etc.path().join(name), text).expect("written");
    for token in ["token", "mailman.token", "postoffice.token", "admin.token"] {
        write(token, "d1c2a9c3\n");
    }
    let certified =
        rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).expect("a certificate");
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let with_certificate = [
        ["mailman.pem", "mailmen.pem", "postoffice.pem", "smtp.pem", "certificate"].as_slice(),
        &["authorities.pem", "smart-hosts.pem"],
    ];
    for name in with_certificate.concat() {
        write(name, &certificate);
    }
    for name in ["mailman.key", "postoffice.key", "smtp.key", "key"] {
        write(name, &key);
    }
    write("users", "");
    write("smart-hosts", "relay.example.org hedwig example\n");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(etc.path().join("smart-hosts"), mode).expect("it is ours");
    // The key of RFC 8080 §6.1, as if it were the root's.
    write("root.key", ". IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=\n");
    fs::create_dir_all(etc.path().join("dkim/example.org")).expect("made");
    let dkim = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    write("dkim/example.org/2026a.pem", &dkim.serialize_pem());
    etc
}

fn with_files_in(text: &str, etc: &Path) -> String {
    let here = format!("{}/", etc.display());
    text.replace("/etc/hedwig/", &here).replace("/run/secrets/", &here)
}

/// A line `#key = value` is a setting that is left at its default, `#[section]` a table that need not be.
fn set_everything(example: &str) -> String {
    let set = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    example.lines().map(set).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_taken_as_it_is_and_with_every_line_of_it() {
    for daemon in [mailman(), postoffice()] {
        let etc = etc();
        let example = with_files_in(&example(&daemon), etc.path());
        assert_success(&daemon.check(&example, &[], etc.path()));
        let everything = set_everything(&example);
        assert!(everything.lines().count() == example.lines().count() && everything != example);
        assert_success(&daemon.check(&everything, &[], etc.path()));
    }
}

/// The value of a setting in an example, and whether it is set there or only shown.
fn shown(example: &str, setting: &Setting) -> Vec<(String, bool)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in example.lines() {
        if let Some(name) = line.trim_start_matches('#').strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let bare = key.trim_start_matches('#').trim_end_matches("_file");
        if section == setting.section && bare == setting.key {
            let value = value.trim_matches(['[', ']', '"']).to_owned();
            found.push((value, !line.starts_with('#')));
        }
    }
    found
}

#[test]
fn the_example_names_every_setting_with_its_default() {
    for daemon in [mailman(), postoffice()] {
        let example = example(&daemon);
        for setting in &daemon.settings {
            let name = format!("[{}] {} in {}.toml", setting.section, setting.key, daemon.name);
            let shown = shown(&example, setting);
            let [(value, is_set)] = shown.as_slice() else { panic!("{name}: {shown:?}") };
            if let Some(default) = setting.default.filter(|_| !is_set) {
                assert_eq!(value, default, "{name}");
            }
        }
    }
}

#[test]
fn the_variables_of_each_compose_file_are_settings_and_taken() {
    for daemon in [mailman(), postoffice()] {
        let etc = etc();
        let path = deploy(&format!("{}/compose.yaml", daemon.name));
        let compose = fs::read_to_string(path).expect("it is there");
        let line = |line: &str| {
            let (name, value) = line.trim().split_once(": ")?;
            let value = with_files_in(value, etc.path());
            let value = value.replace("/dkim", &format!("{}/dkim", etc.path().display()));
            name.starts_with("HEDWIG_").then(|| (name.to_owned(), value))
        };
        let variables: BTreeMap<_, _> = compose.lines().filter_map(line).collect();
        assert!(variables.len() > 4, "{variables:?}");
        for name in variables.keys() {
            let stem = name.trim_end_matches("_FILE");
            assert!(daemon.settings.iter().any(|setting| setting.variable == stem), "{name}");
        }
        let variables: Vec<_> = variables.into_iter().collect();
        assert_success(&daemon.check("", &variables, etc.path()));
    }
}

/// What `systemd-analyze` says of the units, in a root of their own where the programs are there.
fn verify(change: impl Fn(String) -> String) -> Output {
    let root = tempfile::tempdir().expect("a directory");
    let (programs, units) =
        (root.path().join("usr/local/bin"), root.path().join("etc/systemd/system"));
    fs::create_dir_all(&programs).and_then(|()| fs::create_dir_all(&units)).expect("made");
    let mut names = Vec::new();
    for daemon in ["mailman", "postoffice"] {
        let program = programs.join(format!("hedwig-{daemon}"));
        fs::write(&program, "").expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
        for kind in ["service", "socket"] {
            let name = format!("hedwig-{daemon}.{kind}");
            let unit = fs::read_to_string(deploy(&format!("systemd/{name}"))).expect("it is there");
            fs::write(units.join(&name), change(unit)).expect("written");
            names.push(name);
        }
    }
    let mut command = Command::new("/usr/bin/systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]);
    command.arg("--root").arg(root.path()).args(names);
    command.output().expect("systemd-analyze runs; ./test installs it")
}

#[test]
fn systemd_knows_every_directive_of_the_units() {
    assert_success(&verify(|unit| unit));
    // What it does not know it would tell.
    let wrong = verify(|unit| unit.replace("ProtectHome=", "ProtectHouse="));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("ProtectHouse"), "{wrong:?}");
}

#[test]
fn what_the_units_leave_a_daemon_is_little() {
    for daemon in ["mailman", "postoffice"] {
        let unit = deploy(&format!("systemd/hedwig-{daemon}.service"));
        let mut command = Command::new("/usr/bin/systemd-analyze");
        // In tenths: 1.5 of 10, where an ordinary service has 9.6.
        command.args(["security", "--offline=true", "--no-pager", "--threshold=15"]).arg(&unit);
        let output = command.output().expect("systemd-analyze runs; ./test installs it");
        assert_success(&output);
    }
}
