//! Tables with names that the operator gives.

use std::ffi::OsString;

use super::*;

static RELAY_FROM: Setting = Setting::list("smtp", "relay_from", "NETWORK").example("10.0.0.0/8");
static ROOM: Setting = Setting::text("smtp", "room", "N").default("7");
static LISTEN: Setting = Setting::list("listener", "listen", "ADDR").named();
static CLIENTS: Setting =
    Setting::list("listener", "clients", "NETWORK").named().otherwise(&RELAY_FROM);
static ITS_ROOM: Setting = Setting::text("listener", "its_room", "N").named().otherwise(&ROOM);
static HOST: Setting = Setting::text("listener", "host", "NAME").named();
static SCOPE: Scope = Scope {
    program: "hedwig-test",
    variable_prefix: "HEDWIG_TEST",
    file_default: "/nonexistent/hedwig-test.toml",
    table: &[&RELAY_FROM, &ROOM, &LISTEN, &CLIENTS, &ITS_ROOM, &HOST],
};

/// What is read of each table, or what is wrong, with the file called FILE.
fn read(file: &str, variables: &[(&str, &str)]) -> Result<Vec<String>, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.toml");
    std::fs::write(&path, file).unwrap();
    let environment = variables.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let environment = environment.collect();
    let shown = path.display().to_string();
    let sources = Sources { file: Some(path), environment, ..Sources::default() };
    let settings = Settings::gather(&SCOPE, sources);
    let mut read = Reading::of(&settings);
    let tables = read.each("listener", |read, name| {
        let listen = read.many::<std::net::SocketAddr>(&LISTEN);
        let clients = read.many::<String>(&CLIENTS);
        let room = read.one::<u16>(&ITS_ROOM);
        Some(format!("{name} {:?} {:?} {}", listen?, clients?, room?))
    });
    let problems = |problems: Problems| {
        problems.0.iter().map(|problem| problem.to_string().replace(&shown, "FILE")).collect()
    };
    read.finish(|| tables).map_err(problems)
}

#[test]
fn each_table_has_its_own_values_and_otherwise_those_of_all() {
    let file = "[smtp]\nrelay_from = 'all'\nroom = 8\n\
        [listener.inside]\nlisten = '127.0.0.1:1'\nclients = []\nits_room = 9\n\
        [listener.containers]\nlisten = ['127.0.0.1:2', '127.0.0.1:3']\n";
    let expected =
        [r#"containers [127.0.0.1:2, 127.0.0.1:3] ["all"] 8"#, "inside [127.0.0.1:1] [] 9"];
    assert_eq!(read(file, &[]).unwrap(), expected);
    assert_eq!(read("[listener.a]\n", &[]).unwrap(), ["a [] [] 7"]);
    assert_eq!(read("", &[]).unwrap(), [""; 0]);
}

#[test]
fn a_variable_makes_a_table_and_goes_over_the_file() {
    let variables = [
        ("HEDWIG_TEST_LISTENER_A_LISTEN", "127.0.0.1:9"),
        ("HEDWIG_TEST_LISTENER_B2_ITS_ROOM", "5"),
    ];
    let read = read("[listener.a]\nlisten = '127.0.0.1:1'\nits_room = 3\n", &variables);
    assert_eq!(read.unwrap(), ["a [127.0.0.1:9] [] 3", "b2 [] [] 5"]);
}

#[test]
fn a_value_comes_from_a_file_that_a_variable_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients").display().to_string();
    std::fs::write(&path, "10.0.0.0/8\n192.0.2.0/24\n").unwrap();
    let read = read("", &[("HEDWIG_TEST_LISTENER_A_CLIENTS_FILE", &path)]);
    assert_eq!(read.unwrap(), [r#"a [] ["10.0.0.0/8", "192.0.2.0/24"] 7"#]);
}

#[test]
fn what_is_wrong_in_a_table_is_told_with_its_name() {
    let file = "[listener.a]\nlisten = 'here'\nclient = 'x'\n[listener.In-side]\n\
        [listener]\nb = 1\n[smtp]\nclients = 'x'\n";
    assert_eq!(
        read(file, &[("HEDWIG_TEST_LISTENER_A_LISTENS", "x")]).unwrap_err(),
        [
            "FILE:3: [listener.a] client is no setting of hedwig-test; did you mean clients?",
            "FILE:4: [listener] In-side: a name has 1 to 32 small letters and digits; write it like [listener.example]",
            "FILE:6: [listener] b: each has a table of its own; write it like [listener.example]",
            "FILE:8: [smtp] clients is no setting of hedwig-test",
            "HEDWIG_TEST_LISTENER_A_LISTENS: this variable is no setting of hedwig-test; \
             did you mean HEDWIG_TEST_LISTENER_A_LISTEN?",
            "FILE:2: [listener.a] listen = \"here\": invalid socket address syntax",
        ]
    );
}

#[test]
fn a_missing_value_is_told_with_the_table_that_lacks_it() {
    let file = "\n[listener.a]\nlisten = '127.0.0.1:1'\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    let settings = Settings::gather(&SCOPE, sources);
    let mut read = Reading::of(&settings);
    let hosts = read.each("listener", |read, _| read.one::<String>(&HOST));
    assert_eq!(
        read.finish(|| hosts).unwrap_err().to_string().replace(&path.display().to_string(), "FILE"),
        "FILE:2: [listener.a] host is missing; set it with HEDWIG_TEST_LISTENER_A_HOST \
         or in the configuration file"
    );
}

#[test]
fn the_help_tells_whose_value_holds_otherwise() {
    let help = settings_without_flag(&SCOPE);
    assert!(
        help.contains("[listener.NAME] clients, HEDWIG_TEST_LISTENER_NAME_CLIENTS\n"),
        "{help}"
    );
    assert!(help.contains("[default: as [smtp] relay_from]"), "{help}");
}
