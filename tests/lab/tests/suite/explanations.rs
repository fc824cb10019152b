//! An operator asks why a mail waits, and is told what was said, by whom, and what comes next.

use std::{fs, future::IntoFuture, net::SocketAddr, os::unix::fs::PermissionsExt};

use hedwig_envelope::{BoxError, Mail, Outcome, Receipt, Reply, Status};
use hedwig_lab::{Client, Fault, Half, HouseOptions, Program, Result, SENDER, Submission, World};
use hedwig_smtp::{
    Question, ServerOptions,
    policy::policy_fn,
    sasl::{Answer, Authenticator, Mechanism, Secret},
    serve,
};
use serde_json::Value;
use tokio::net::TcpListener;

fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_hedwig-lab"))
}

fn patient(mut options: HouseOptions) -> HouseOptions {
    options.postoffice = options.postoffice.set(Half::Postoffice, "delivery", "retry", "1h");
    options
}

fn not_now() -> Reply {
    Reply::with_status(450, Status::transient(2, 2), "Mailbox full, come back later")
}

async fn deferred(world: &World, recipient: &str) -> Result<String> {
    let mail = Submission::new(SENDER, &[recipient], "Hello, nobody else\r\n");
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    let id = reply.split_once("queued as ").expect("an id").1.trim().to_owned();
    let is_deferred = |status: &Value| status["recipients"][0]["state"] == "deferred";
    world.house.postoffice.message_when(&id, is_deferred).await?;
    Ok(id)
}

/// Whether lines that hold these words are there, in this order.
fn assert_told(text: &str, wanted: &[&str]) {
    let mut lines = text.lines();
    let missing = wanted.iter().find(|wanted| !lines.any(|line| line.contains(**wanted)));
    assert_eq!(missing, None, "in this order in:\n{text}");
}

#[tokio::test]
async fn a_mail_that_waits_is_explained_with_all_that_was_said_and_all_that_decides() -> Result<()>
{
    let world = World::start(&program(), &["126.com"], patient).await?;
    world.receiver.script(|step| step.recipient().map(|_| not_now()));
    let id = deferred(&world, "bob@126.com").await?;
    let postoffice = &world.house.postoffice;
    let text = postoffice.explain(&[&id]).await?;
    let address = world.receiver.address();
    assert_told(
        &text,
        &[
            &format!("mail:        {id} from <{SENDER}>"),
            "signed by geneegroup.com, selector",
            "to:          <bob@126.com>, deferred, 4.2.2",
            "waits for:   its own schedule, after 1 attempt(s): next try 20",
            "given up:    20",
            "destination: 0 mails under way of ",
            "route:       no rule for 126.com: its mail exchangers",
            "DNSSEC:      does not vouch",
            "MX 10 mx.126.com (smtp)",
            &format!("{address}, 1 connection open"),
            "last:      it answered, 20",
            "TLS:       opportunistic -- TLS where it is offered",
            "attempt:     20",
            "deferred by mx.126.com: 450 4.2.2 Mailbox full, come back later",
            &format!("* smtp to mx.126.com [{address}]; TLS: opportunistic"),
            "< 220 receiver.lab.example",
            "> EHLO postoffice.lab.example",
            &format!("> MAIL FROM:<{SENDER}>"),
            "> RCPT TO:<bob@126.com>",
            "< 450 4.2.2 Mailbox full, come back later",
        ],
    );
    assert!(!text.contains("nobody else"), "no content is in it:\n{text}");
    println!("{text}");

    let json: Value = serde_json::from_str(&postoffice.explain(&["--json", &id]).await?)?;
    let way = &json["ways"][0];
    assert_eq!(way["waits_for"], "for-schedule", "{json:#}");
    assert_eq!(way["destination"]["ceiling"], 20, "{json:#}");
    assert_eq!(way["road"]["servers"][0]["addresses"][0]["address"], address.to_string());
    let said = way["tries"][0]["conversation"].as_array().expect("a conversation");
    assert!(said.iter().any(|line| line == "< 450 4.2.2 Mailbox full, come back later"));

    let url = format!("http://{}", postoffice.address("http"));
    let token = postoffice.token_file().display().to_string();
    let remote = ["--url", &url, "--url-token-file", &token, &id];
    assert_told(&postoffice.explain(&remote).await?, &["waits for:   its own schedule"]);
    let refused = postoffice.explain(&["--url", &url, &id]).await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");

    postoffice.queue(&["hold", &id]).await?;
    assert_told(&postoffice.explain(&[&id]).await?, &["waits for:   an operator holds it"]);
    Ok(())
}

#[tokio::test]
async fn how_a_mail_would_go_is_explained_before_there_is_one_and_without_a_daemon() -> Result<()> {
    let route = |mut options: HouseOptions| {
        let rule = "*.example.net=smtp://127.0.0.9:1";
        options.postoffice = options.postoffice.arguments(["--route", rule]);
        options
    };
    let mut world = World::start(&program(), &["126.com"], route).await?;
    let postoffice = &mut world.house.postoffice;
    let text = postoffice.explain(&["bob@a.example.net", "--from", SENDER]).await?;
    assert_told(
        &text,
        &[
            "signed by geneegroup.com",
            "when:        a new mail is tried at once",
            "route:       *.example.net=smtp://127.0.0.9:1 (for a.example.net)",
            "127.0.0.9:1, no connection open",
        ],
    );
    assert!(!text.contains("mail:"), "{text}");
    let nowhere = postoffice.explain(&["bob@nowhere.example"]).await?;
    assert_told(&nowhere, &["nothing signs: whose mail?", "answer:      5"]);
    let unknown = postoffice.explain(&["01ja0000000000000000000000"]).await.unwrap_err();
    assert!(unknown.to_string().contains("no such mail"), "{unknown}");

    postoffice.stop().await?;
    let text = postoffice.explain(&["bob@a.example.net"]).await?;
    assert_told(&text, &["daemon:      none runs on this spool", "route:       "]);
    Ok(())
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_part_of_the_explanation() -> Result<()> {
    let world = World::start(&program(), &["126.com"], patient).await?;
    world.dns.break_name("silent.example", Fault::Silence);
    let text = world.house.postoffice.explain(&["bob@silent.example"]).await?;
    assert_told(
        &text,
        &["route:       no rule for silent.example", "answer:      not known: DNS gave no answer"],
    );
    world.dns.break_name("mx.126.com", Fault::Silence);
    let text = world.house.postoffice.explain(&["bob@126.com"]).await?;
    assert_told(&text, &["MX 10 mx.126.com", "problem:   "]);
    assert!(!text.contains("address:"), "{text}");
    Ok(())
}

/// Knows alice, whose password is wonderland.
struct Directory;

impl Authenticator for Directory {
    fn mechanisms(&self) -> Vec<Mechanism> {
        vec![Mechanism::Plain]
    }

    fn check_password<'a>(&'a self, user: &'a str, password: &'a Secret) -> Answer<'a, bool> {
        Box::pin(async move { Ok(user == "alice" && password.reveal() == "wonderland") })
    }
}

/// A server that wants to know who we are, and then has no room.
async fn smart_host() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let policy = policy_fn(|question| match question {
        Question::Recipient { .. } => not_now(),
        other => other.yes(),
    });
    let keeper = tower::service_fn(async |mail: Mail| {
        let recipients = mail.envelope.recipients.len();
        let outcome = Outcome::of_reply(not_now(), None);
        Ok::<_, BoxError>(Receipt::uniform(mail.id, recipients, outcome))
    });
    let options = ServerOptions { authentication_in_clear_text: true, ..ServerOptions::default() };
    let server = serve(listener, policy, keeper).authenticator(std::sync::Arc::new(Directory));
    tokio::spawn(server.options(options).into_future());
    Ok(address)
}

#[tokio::test]
async fn a_password_for_a_smart_host_is_in_no_explanation() -> Result<()> {
    let host = smart_host().await?;
    let file = tempfile::NamedTempFile::new()?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600))?;
    fs::write(file.path(), "127.0.0.1 alice wonderland\n")?;
    let credentials = file.path().display().to_string();
    let by_host = |options: HouseOptions| {
        let mut options = patient(options);
        options.postoffice = options
            .postoffice
            .arguments(["--route", &format!("*=smtp://{host}")])
            .set(Half::Postoffice, "mx", "credentials", &credentials);
        options
    };
    let world = World::start(&program(), &[], by_host).await?;
    let id = deferred(&world, "bob@example.net").await?;
    let id = id.as_str();
    for form in [&["--json", id][..], &[id][..]] {
        let told = world.house.postoffice.explain(form).await?;
        assert!(told.contains("AUTH PLAIN ****") && told.contains("235 ****"), "{told}");
        assert!(told.contains("450 4.2.2 Mailbox full") && told.contains("alice"), "{told}");
        // The end of NUL alice NUL wonderland, in BASE64.
        for secret in ["wonderland", "AGFsaWNlAHdvbmRlcmxhbmQ", "b25kZXJsYW5k"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    Ok(())
}
