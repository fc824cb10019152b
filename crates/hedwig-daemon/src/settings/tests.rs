use std::{ffi::OsString, io::Write, path::Path};

use hedwig_transport::Token;

use super::*;

static LISTEN: Setting = Setting::list("smtp", "listen", "ADDR")
    .flag("listen")
    .help("Take mail here")
    .default("127.0.0.1:25");
static WITHIN: Setting = Setting::text("postoffice", "within", "SPAN").help("Wait").default("2s");
static TOKEN: Setting = Setting::secret("postoffice", "token").flag("token").help("A token");
static LOOPBACK: Setting =
    Setting::switch("mx", "allow_loopback").flag("allow-loopback").help("Allow");
static HOST: Setting =
    Setting::text("server", "hostname", "NAME").flag("hostname").example("mail.example.org");
static SCOPE: Scope = Scope {
    program: "hedwig-test",
    variable_prefix: "HEDWIG_TEST",
    file_default: "/nonexistent/hedwig-test.toml",
    table: &[&LISTEN, &WITHIN, &TOKEN, &LOOPBACK, &HOST],
};

/// Settings from a file's text, variables and flags, and the file's path as messages name it.
struct Given {
    directory: tempfile::TempDir,
    settings: Settings,
}

fn given(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Given {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.toml");
    std::fs::write(&path, file).unwrap();
    let environment = variables.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let command = clap::Command::new("t").no_binary_name(true).args(arguments(&SCOPE));
    let flags = command.try_get_matches_from(flags).unwrap();
    let settings = Settings::gather(
        &SCOPE,
        Sources { flags: Some(&flags), file: Some(path), environment: environment.collect() },
    );
    Given { directory, settings }
}

impl Given {
    fn listen(&self) -> Vec<std::net::SocketAddr> {
        let mut read = Reading::of(&self.settings);
        let listen = read.many(&LISTEN);
        read.finish(|| listen).unwrap()
    }

    /// What is wrong, with the configuration file called FILE.
    fn problems(&self) -> Vec<String> {
        let mut read = Reading::of(&self.settings);
        let listen = read.many::<std::net::SocketAddr>(&LISTEN);
        let within = read.one::<Span>(&WITHIN);
        let token = read.many::<Token>(&TOKEN);
        let loopback = read.one::<bool>(&LOOPBACK);
        let build = || Some((listen?, within?, token?, loopback?));
        let path = self.directory.path().join("h.toml").display().to_string();
        let problems = read.finish(build).expect_err("something is wrong").0;
        problems.iter().map(|problem| problem.to_string().replace(&path, "FILE")).collect()
    }
}

fn secret_file(directory: &Path, text: &str) -> String {
    let path = directory.join("secret");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path.display().to_string()
}

#[test]
fn a_flag_goes_over_a_variable_over_the_file_over_the_default() {
    let file = "[smtp]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
    let variable = ("HEDWIG_TEST_SMTP_LISTEN", "127.0.0.1:3,127.0.0.1:4");
    let ports = |given: Given| given.listen().iter().map(|a| a.port()).collect::<Vec<_>>();
    assert_eq!(ports(given("", &[], &[])), [25]);
    assert_eq!(ports(given(file, &[], &[])), [1, 2]);
    assert_eq!(ports(given(file, &[variable], &[])), [3, 4]);
    let flags = ["--listen", "127.0.0.1:5", "--listen", "127.0.0.1:6"];
    assert_eq!(ports(given(file, &[variable], &flags)), [5, 6]);
}

#[test]
fn one_text_is_a_list_of_one() {
    assert_eq!(given("[smtp]\nlisten = '[::1]:25'", &[], &[]).listen().len(), 1);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    let problems = given("# hi\n[smtp]\nlistn = 'x'\n\n[smpt]\na = 1\n", &[], &[]).problems();
    assert_eq!(
        problems,
        [
            "FILE:3: [smtp] listn is no setting of hedwig-test; did you mean listen?",
            "FILE:5: [smpt] is no section of hedwig-test; did you mean [smtp]?",
        ]
    );
    let problems = given("[smtp]\nqqq = 1\n", &[], &[]).problems();
    assert_eq!(problems, ["FILE:2: [smtp] qqq is no setting of hedwig-test"]);
}

#[test]
fn a_key_outside_of_a_section_is_shown_its_home() {
    let problems = given("hostname = 'a.b'\n", &[], &[]).problems();
    assert_eq!(problems, ["FILE:1: hostname stands in no section; put it under [server]"]);
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let problems = given("[smtp]\nlisten = \n", &[], &[]).problems();
    assert!(problems[0].starts_with("FILE:2: not TOML: "), "{problems:?}");
}

#[test]
fn a_wrong_value_is_told_with_place_value_reason_and_way_out() {
    let reason = "invalid socket address syntax; write it like 127.0.0.1:25";
    assert_eq!(
        given("[smtp]\nlisten = ['[::1]:1',\n 'nonsense']", &[], &[]).problems(),
        [format!("FILE:3: [smtp] listen = \"nonsense\": {reason}")]
    );
    assert_eq!(
        given("", &[("HEDWIG_TEST_SMTP_LISTEN", "x\ny")], &[]).problems(),
        ["x", "y"].map(|v| format!("HEDWIG_TEST_SMTP_LISTEN: [smtp] listen = {v:?}: {reason}"))
    );
    assert_eq!(
        given("", &[], &["--listen", "25"]).problems(),
        [format!("--listen: [smtp] listen = \"25\": {reason}")]
    );
}

#[test]
fn every_mistake_is_told_and_not_only_the_first() {
    let file = "[smtp]\nlisten='x'\n[postoffice]\nwithin='soon'\n[mx]\nallow_loopback='yes'\n";
    let problems = given(file, &[("HEDWIG_TEST_NOTHING_AT_ALL", "")], &[]).problems();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems[2].contains("[postoffice] within = \"soon\": a time is"), "{problems:?}");
}

#[test]
fn a_table_or_a_list_where_one_value_belongs_is_refused() {
    let problems = given("[postoffice]\nwithin = ['2s']\n", &[], &[]).problems();
    assert_eq!(problems, ["FILE:2: [postoffice] within is a single value, not array"]);
}

#[test]
fn an_unknown_variable_is_told_with_the_nearest_one() {
    let problems = given("", &[("HEDWIG_TEST_SMTP_LISTENS", "x")], &[]).problems();
    assert_eq!(
        problems,
        ["HEDWIG_TEST_SMTP_LISTENS: this variable is no setting of hedwig-test; \
          did you mean HEDWIG_TEST_SMTP_LISTEN?"]
    );
}

#[test]
fn the_variables_of_a_container_platform_are_none_of_ours() {
    let links = [
        ("HEDWIG_TEST_SERVICE_HOST", "10.0.0.1"),
        ("HEDWIG_TEST_SERVICE_PORT_SMTP", "25"),
        ("HEDWIG_TEST_PORT", "tcp://10.0.0.1:25"),
        ("HEDWIG_TEST_PORT_25_TCP_ADDR", "10.0.0.1"),
        ("HEDWIG_TESTING", "1"),
    ];
    assert_eq!(given("", &links, &[]).listen().len(), 1);
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = secret_file(directory.path(), "hunter2\nnext-token\n");
    let toml = format!("[postoffice]\ntoken_file = '{path}'\n");
    let variable = ("HEDWIG_TEST_POSTOFFICE_TOKEN_FILE", path.as_str());
    for given in [
        given(&toml, &[], &[]),
        given("", &[variable], &[]),
        given("", &[], &["--token-file", &path]),
    ] {
        let mut read = Reading::of(&given.settings);
        let tokens = read.many::<Token>(&TOKEN).unwrap();
        assert!(tokens[0].matches(b"hunter2") && tokens[1].matches(b"next-token"));
        assert_eq!(tokens.len(), 2);
        assert!(!format!("{:?} {tokens:?}", given.settings).contains("hunter2"));
    }
    let problems = given("[postoffice]\ntoken = 'hunter 2'\n", &[], &[]).problems();
    assert_eq!(
        problems,
        [
            "FILE:2: [postoffice] token: a token is 1 to 4096 visible ASCII characters without white space in it"
        ]
    );
}

#[test]
fn a_file_that_a_variable_names_must_be_there() {
    let problems =
        given("", &[("HEDWIG_TEST_SERVER_HOSTNAME_FILE", "/nonexistent/name")], &[]).problems();
    assert!(
        problems[0].starts_with(
            "/nonexistent/name (HEDWIG_TEST_SERVER_HOSTNAME_FILE): \
             [server] hostname cannot be read from this file: No such file"
        ),
        "{problems:?}"
    );
}

#[test]
fn a_variable_and_its_file_are_not_both_taken() {
    let both = [("HEDWIG_TEST_SERVER_HOSTNAME", "a.b"), ("HEDWIG_TEST_SERVER_HOSTNAME_FILE", "f")];
    assert_eq!(
        given("", &both, &[]).problems(),
        ["HEDWIG_TEST_SERVER_HOSTNAME and HEDWIG_TEST_SERVER_HOSTNAME_FILE are both set; \
          unset one of them"]
    );
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let settings = Settings::gather(
        &SCOPE,
        Sources { file: Some("/nonexistent/x.toml".into()), ..Sources::default() },
    );
    let problems = Reading::of(&settings).finish(|| Some(())).unwrap_err().to_string();
    assert!(problems.starts_with("the configuration file /nonexistent/x.toml cannot be read: "));
}

#[test]
fn a_missing_value_is_told_with_every_way_to_give_it() {
    let given = given("", &[], &[]);
    let mut read = Reading::of(&given.settings);
    let host = read.one::<String>(&HOST);
    assert_eq!(
        read.finish(|| host).unwrap_err().to_string(),
        "[server] hostname is missing; set it with --hostname, HEDWIG_TEST_SERVER_HOSTNAME \
         or in the configuration file"
    );
}

#[test]
fn a_switch_is_a_flag_without_a_value() {
    for given in [
        given("[mx]\nallow_loopback = true\n", &[], &[]),
        given("", &[("HEDWIG_TEST_MX_ALLOW_LOOPBACK", "true")], &[]),
        given("", &[], &["--allow-loopback"]),
    ] {
        assert_eq!(Reading::of(&given.settings).one::<bool>(&LOOPBACK), Some(true));
    }
}
