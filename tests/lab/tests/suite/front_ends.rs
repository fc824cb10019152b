//! Mail that comes to mailman through a proxy or a front end: it counts for whom they speak. The clients are swaks, which
//! knows XCLIENT, and Python's smtplib, before which a header of the PROXY protocol is written.

use std::{net::SocketAddr, process::Stdio};

use hedwig_lab::{Half, HouseOptions, Program, Result, SENDER, World};
use tokio::{io::AsyncWriteExt, process::Command};

/// From here proxies come, from here front ends, and from here whoever else is on this host.
const PROXY: &str = "127.0.0.2";
const FRONT_END: &str = "127.0.0.3";
const OTHER: &str = "127.0.0.4";

/// A house whose mailman relays for 192.0.2.0/24 what comes through its listener `front`, two mails an hour each.
async fn house() -> Result<World> {
    let set = |options: HouseOptions| {
        let set = |options: hedwig_lab::DaemonOptions, key: &str, value: &str| {
            options.set(Half::Mailman, "listener_front", key, value)
        };
        let mut mailman = options.mailman.arguments(["--admin", "127.0.0.1:0"]);
        for (key, value) in [
            ("listen", "127.0.0.1:0"),
            ("proxies", PROXY),
            ("xclients", FRONT_END),
            ("clients", "192.0.2.0/24"),
            ("per_client", "2/h"),
        ] {
            mailman = set(mailman, key, value);
        }
        HouseOptions { mailman, ..options }
    };
    World::start(&Program::at(env!("CARGO_BIN_EXE_hedwig-lab")), &["example.com"], set).await
}

fn front(world: &World) -> SocketAddr {
    world.house.mailman.address("front")
}

/// Sends a mail with smtplib from this address, after these bytes; what came of it.
async fn smtplib(world: &World, from: &str, header: &[u8]) -> Result<String> {
    const SCRIPT: &str = "
import smtplib, sys
port, source, sender = sys.argv[1:]
header = sys.stdin.buffer.read()
class Client(smtplib.SMTP):
    def _get_socket(self, host, port, timeout):
        connection = super()._get_socket(host, port, timeout)
        connection.sendall(header)
        return connection
try:
    with Client('127.0.0.1', int(port), 'client.example', 30, (source, 0)) as client:
        client.sendmail(sender, ['bob@example.com'], b'Subject: x\\r\\n\\r\\nx\\r\\n')
        print('taken')
except (smtplib.SMTPException, OSError) as error:
    print(repr(error))
";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT, &front(world).port().to_string(), from, SENDER]);
    run(command, header).await
}

/// Sends a mail with swaks from this address; its transcript.
async fn swaks(world: &World, from: &str, how: &[&str]) -> Result<String> {
    let mut command = Command::new("/usr/bin/swaks");
    command.args(["--server", "127.0.0.1", "--port", &front(world).port().to_string()]);
    command.args(["--local-interface", from, "--helo", "front-end.example"]);
    command.args(["--from", SENDER, "--to", "bob@example.com"]).args(how);
    run(command, b"").await
}

async fn run(mut command: Command, input: &[u8]) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    // Dropped at the end of the statement, so that the client sees the end of it.
    child.stdin.take().expect("a pipe").write_all(input).await?;
    let output = child.wait_with_output().await?;
    Ok([output.stdout, output.stderr]
        .map(|said| String::from_utf8_lossy(&said).into_owned())
        .concat())
}

/// The message that arrived as number `count`.
async fn arrived(world: &World, count: usize) -> Result<String> {
    let mails = world.receiver.wait_for(count).await?;
    Ok(String::from_utf8_lossy(&mails[count - 1].content.to_bytes()).into_owned())
}

fn version_2(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[198, 51, 100, 2, 0x12, 0x67, 0, 25]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..]].concat()
}

#[tokio::test]
async fn a_proxys_client_is_who_counts() -> Result<()> {
    let mut world = house().await?;
    // Both versions; the third mail of this client is one too many.
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 25\r\n";
    assert_eq!(smtplib(&world, PROXY, line).await?.trim(), "taken");
    assert_eq!(smtplib(&world, PROXY, &version_2([192, 0, 2, 7])).await?.trim(), "taken");
    let refused = smtplib(&world, PROXY, line).await?;
    assert!(refused.contains("450, b'4.7.1 "), "{refused}");
    assert_eq!(smtplib(&world, PROXY, &version_2([192, 0, 2, 8])).await?.trim(), "taken");
    for count in 1..=2 {
        let mail = arrived(&world, count).await?;
        assert!(mail.contains("Received: from client.example ([192.0.2.7])"), "{mail}");
    }
    let mail = arrived(&world, 3).await?;
    assert!(mail.contains("Received: from client.example ([192.0.2.8])"), "{mail}");

    // The same of a program that we did not write.
    for (version, family, count) in [("1", "TCP4", 4), ("2", "AF_INET", 5)] {
        let how = ["--proxy-version", version, "--proxy-family", family];
        let from = ["--proxy-source", "192.0.2.9", "--proxy-source-port", "4711"];
        let to = ["--proxy-dest", "198.51.100.2", "--proxy-dest-port", "25"];
        let said = swaks(&world, PROXY, &[how, from, to].concat()).await?;
        assert!(said.contains("Ok: queued as"), "{said}");
        let mail = arrived(&world, count).await?;
        assert!(mail.contains("Received: from front-end.example ([192.0.2.9])"), "{mail}");
    }

    // The proxy is on this host, but its client may not relay.
    let refused = smtplib(&world, PROXY, &version_2([203, 0, 113, 1])).await?;
    assert!(refused.contains("550, b'5.7.1 "), "{refused}");
    // Nobody is taken for the proxy: not who says nothing, not who says nonsense.
    for header in [&b""[..], b"PROXY UNKNOWN\r\n"] {
        let refused = smtplib(&world, PROXY, header).await?;
        assert!(refused.contains("SMTPServerDisconnected"), "{refused}");
    }
    // And so it stands in the log.
    let log = |client: &str| format!("\"client\":\"{client}");
    let accepted = |line: &str| line.contains(&log("192.0.2.8:4711")).then_some(());
    world.house.mailman.process().find_in_log(accepted).await?;
    world.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_header_from_anywhere_else_is_refused() -> Result<()> {
    let world = house().await?;
    for header in
        [&b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 25\r\n"[..], &version_2([192, 0, 2, 7])]
    {
        for from in [OTHER, FRONT_END] {
            let refused = smtplib(&world, from, header).await?;
            assert!(
                refused.contains("(421, b'4.7.0 No PROXY header")
                    || refused.contains("Disconnected"),
                "{refused}"
            );
        }
    }
    assert_eq!(smtplib(&world, OTHER, b"").await?.trim(), "taken");
    let mail = arrived(&world, 1).await?;
    assert!(mail.contains(&format!("Received: from client.example ([{OTHER}])")), "{mail}");
    assert_eq!(world.close().await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_front_ends_client_is_who_counts() -> Result<()> {
    let world = house().await?;
    let stranger = ["--xclient-addr", "203.0.113.1", "--xclient-name", "client.example"];
    let said = swaks(&world, FRONT_END, &stranger).await?;
    assert!(said.contains("-> XCLIENT ") && said.contains("<** 550 5.7.1 "), "{said}");

    // The same client, and as whom the front end has authenticated it.
    let user =
        [&stranger[..], &["--xclient-login", "alice", "--xclient-helo", "her.example"]].concat();
    let said = swaks(&world, FRONT_END, &user).await?;
    assert!(said.contains("Ok: queued as"), "{said}");
    let mail = arrived(&world, 1).await?;
    assert!(mail.contains("Received: from her.example ([203.0.113.1])"), "{mail}");
    assert!(mail.contains(" with ESMTPA "), "{mail}");

    // Of two commands the first is not forgotten.
    let friend = ["--xclient-addr", "192.0.2.7", "--xclient-delim", "--xclient-port", "4711"];
    let said = swaks(&world, FRONT_END, &friend).await?;
    assert!(said.matches("-> XCLIENT ").count() == 2 && said.contains("Ok: queued as"), "{said}");
    let mail = arrived(&world, 2).await?;
    assert!(mail.contains("Received: from front-end.example ([192.0.2.7])"), "{mail}");
    world.close().await?;
    Ok(())
}

#[tokio::test]
async fn xclient_from_anywhere_else_is_refused() -> Result<()> {
    let world = house().await?;
    let said = swaks(&world, OTHER, &["--xclient-addr", "192.0.2.7"]).await?;
    assert!(said.contains("did not advertise XCLIENT"), "{said}");
    const SCRIPT: &str = "
import smtplib, sys
with smtplib.SMTP('127.0.0.1', int(sys.argv[1]), 'client.example', 30, (sys.argv[2], 0)) as client:
    client.ehlo()
    print(client.docmd('XCLIENT', 'ADDR=192.0.2.7 LOGIN=alice'))
";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT, &front(&world).port().to_string(), OTHER]);
    let said = run(command, b"").await?;
    assert!(said.contains("(550, b\"5.7.0 "), "{said}");
    assert_eq!(world.close().await?, 0);
    Ok(())
}
