//! What `/metrics` says of those whom mailman turns away.

use std::process::Stdio;

use hedwig_lab::{DaemonOptions, Half, HouseOptions, Program, Result, SENDER, World, eventually};
use tokio::{io::AsyncWriteExt, process::Command};

/// From here a proxy comes, which speaks for strangers too.
const PROXY: &str = "127.0.0.2";

async fn metrics(world: &World) -> Result<String> {
    world.house.mailman.metrics("admin").await
}

/// Waits for a line of the metrics: what is counted may come a moment after its reply.
async fn assert_counted(world: &World, line: &str) -> Result<()> {
    let is_there = async || Ok(metrics(world).await?.lines().any(|its| its == line).then_some(()));
    eventually(line, is_there).await
}

async fn swaks(world: &World, how: &[&str]) -> Result<String> {
    let port = world.house.mailman.address("door").port().to_string();
    let mut command = Command::new("/usr/bin/swaks");
    command.args(["--server", "127.0.0.1", "--port", &port, "--helo", "client.example"]);
    command.args(["--from", SENDER, "--to", "bob@example.com"]).args(how);
    let output = command.stdin(Stdio::null()).output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn who_is_turned_away_is_counted() -> Result<()> {
    let files = tempfile::tempdir()?;
    let users = files.path().join("users");
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let mut add = program.command(Half::Mailman);
    add.args(["user", "add", "alice", "--file"]).arg(&users).stdin(Stdio::piped());
    let mut add = add.spawn()?;
    add.stdin.take().expect("a pipe").write_all(b"tan staaf\n").await?;
    assert!(add.wait().await?.success());
    let set = |options: HouseOptions| {
        let mut mailman: DaemonOptions = options.mailman.arguments(["--admin", "127.0.0.1:0"]);
        mailman = mailman.arguments(["--users".to_owned(), users.display().to_string()]);
        for (key, value) in [
            ("listen", "127.0.0.1:0"),
            ("proxies", PROXY),
            ("in_clear_text", "true"),
            ("per_client", "1/h"),
        ] {
            mailman = mailman.set(Half::Mailman, "listener_door", key, value);
        }
        HouseOptions { mailman, ..options }
    };
    let world = World::start(&program, &["example.com"], set).await?;
    assert_counted(&world, "hedwig_authentication_failures_total 0").await?;
    let before = metrics(&world).await?;
    for name in ["relays_refused_total{", "rates_exceeded_total{"] {
        assert!(!before.contains(name), "{before}");
    }

    let said = swaks(&world, &["--auth", "PLAIN", "-au", "alice", "-ap", "wrong"]).await?;
    assert!(said.contains("535 5.7.8"), "{said}");
    assert_counted(&world, "hedwig_authentication_failures_total 1").await?;

    let stranger = [
        ["--local-interface", PROXY],
        ["--proxy-family", "TCP4"],
        ["--proxy-source", "203.0.113.1"],
        ["--proxy-source-port", "4711"],
        ["--proxy-dest", "198.51.100.2"],
        ["--proxy-dest-port", "25"],
    ];
    let said = swaks(&world, &stranger.concat()).await?;
    assert!(said.contains("550 5.7.1 Relaying is only for this host"), "{said}");
    assert_counted(&world, "hedwig_relays_refused_total{listener=\"door\"} 1").await?;

    let said = swaks(&world, &[]).await?;
    assert!(said.contains("Ok: queued as"), "{said}");
    let said = swaks(&world, &[]).await?;
    assert!(said.contains("450 4.7.1 Too many mails"), "{said}");
    let line = "hedwig_rates_exceeded_total{listener=\"door\",limit=\"client\"} 1";
    assert_counted(&world, line).await?;
    assert_counted(&world, "hedwig_mails_accepted_total 1").await?;
    world.close().await?;
    Ok(())
}
