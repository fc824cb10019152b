//! A real Postfix as the smart host of all mail: over TLS with a certificate of its own, and AUTH by a real Dovecot.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_lab::{
    Client, Half, HouseOptions, MailServer, MailServerOptions, Postfix, PostfixOptions, Program,
    Result, SENDER, Submission, World, loopback_address, message::assert_unchanged, start_dovecot,
};
use serde_json::Value;
use tempfile::TempDir;

const RELAY: &str = "relay.lab.example";
const DOMAIN: &str = "example.com";
const PASSWORD: &str = "through-the-looking-glass";

/// The smart host, who takes mail from nobody but `alice`.
struct SmartHost {
    postfix: Postfix,
    /// It says whose password is right.
    _dovecot: MailServer,
    directory: TempDir,
}

impl SmartHost {
    async fn start(mechanisms: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("lab-smart-host-")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let socket = directory.path().join("auth");
        let dovecot = start_dovecot(&MailServerOptions {
            configuration: authentication(&socket, mechanisms),
            ..MailServerOptions::new((loopback_address(), 0).into(), DOMAIN)
        })
        .await?;
        let postfix = Postfix::start(&PostfixOptions {
            hostname: RELAY.to_owned(),
            domains: vec![DOMAIN.to_owned()],
            tls: true,
            main_cf: vec![
                "smtpd_sasl_auth_enable = yes".to_owned(),
                "smtpd_sasl_type = dovecot".to_owned(),
                format!("smtpd_sasl_path = {}", socket.display()),
                "smtpd_tls_auth_only = yes".to_owned(),
                "smtpd_recipient_restrictions = permit_sasl_authenticated, reject".to_owned(),
            ],
            ..PostfixOptions::default()
        })
        .await?;
        Ok(Self { postfix, _dovecot: dovecot, directory })
    }

    /// A world all of whose mail goes by the smart host, where we log in with this password.
    async fn world(&self, password: &str, trust: Option<&Path>) -> Result<World> {
        let credentials = self.directory.path().join("credentials");
        fs::write(&credentials, format!("{RELAY} alice {password}\n"))?;
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600))?;
        let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
        let route = format!("*=smtp://{RELAY}:{}", self.postfix.address().port());
        let world = World::start(&program, &[], |mut options: HouseOptions| {
            let set = |(section, key, value)| (Half::Postoffice, section, key, value);
            let credentials = credentials.display().to_string();
            let mut settings = vec![
                set(("mx", "credentials", credentials)),
                set(("delivery", "retry", "1h".to_owned())),
                set(("log", "level", "debug".to_owned())),
            ];
            let trust = trust.map(|file| file.display().to_string());
            settings.extend(trust.map(|file| set(("mx", "route_authorities", file))));
            options.postoffice = options.postoffice.arguments(["--route", &route]);
            for (half, section, key, value) in settings {
                options.postoffice = options.postoffice.set(half, section, key, &value);
            }
            options
        })
        .await?;
        world.dns.address_of(RELAY, self.postfix.address().ip()).await;
        Ok(world)
    }
}

/// What makes Dovecot say at this socket whose password is right. Whose is wrong need not wait for the answer.
fn authentication(socket: &Path, mechanisms: &str) -> Vec<String> {
    let socket = socket.display();
    let text = format!(
        "auth_mechanisms = {mechanisms}\n\
         auth_failure_delay = 0\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n  username_filter = alice\n}}\n\
         service auth {{\n  unix_listener {socket} {{\n    mode = 0666\n  }}\n}}"
    );
    text.lines().map(str::to_owned).collect()
}

async fn sent(world: &World) -> Result<(Submission, String)> {
    let mail = Submission::new(SENDER, &["bob@example.com"], "Hello\r\n");
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    let id = reply.split_once("queued as ").expect("an id").1.trim().to_owned();
    Ok((mail, id))
}

/// The only attempt at the only recipient, once it has ended like this.
async fn attempt(world: &World, id: &str, state: &str) -> Result<Value> {
    let is = |status: &Value| status["recipients"][0]["state"] == state;
    let status = world.house.postoffice.message_when(id, is).await?;
    Ok(status["recipients"][0]["attempts"][0].clone())
}

/// Fails if a password is told, or what BASE64 makes of it wherever it stands.
#[track_caller]
fn assert_no_secret(told: &str, password: &str) {
    assert!(!told.contains(password), "{told}");
    for before in 0..3 {
        let text = STANDARD.encode([&vec![0; before], password.as_bytes()].concat());
        // What the octets around it take part in may be other.
        let sure = &text[4..text.len() - 4];
        assert!(!told.contains(sure), "{sure} is in {told}");
    }
}

#[tokio::test]
async fn a_postfix_with_a_certificate_of_its_own_takes_mail_from_who_logs_in() -> Result<()> {
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
        let host = SmartHost::start(&mechanism.to_ascii_lowercase()).await?;
        let mut world = host.world(PASSWORD, Some(&host.postfix.certificate())).await?;
        let (mail, id) = sent(&world).await?;
        let attempt = attempt(&world, &id, "delivered").await?;
        let policy = format!("verified: a password is set for {RELAY}");
        assert_eq!(attempt["tls_policy"], policy, "{attempt:#}");
        assert!(attempt["tls"].as_str().expect("TLS").starts_with("TLSv1.3"), "{attempt:#}");
        assert_unchanged(&host.postfix.wait_for(1).await?[0], &mail.message);
        let user = format!("sasl_method={mechanism}, sasl_username=alice");
        host.postfix.find_in_log(&user).await?;
        world.house.postoffice.stop().await?;
        assert_no_secret(&world.house.postoffice.process().log().join("\n"), PASSWORD);
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_told_and_shown_to_nobody() -> Result<()> {
    let host = SmartHost::start("plain").await?;
    let wrong = "not-quite-the-looking-glass";
    let mut world = host.world(wrong, Some(&host.postfix.certificate())).await?;
    let (_, id) = sent(&world).await?;
    let attempt = attempt(&world, &id, "deferred").await?;
    let reply = attempt["reply"].as_str().expect("a reply");
    assert!(reply.starts_with("451 4.7.8 ") && reply.contains("535 5.7.8"), "{attempt:#}");
    let explained = world.house.postoffice.explain(&[&id]).await?;
    assert!(explained.contains("> AUTH PLAIN ****") && explained.contains("alice"), "{explained}");
    let listed = format!("{:?}", world.house.postoffice.queue_list().await?);
    host.postfix.find_in_log("SASL PLAIN authentication failed").await?;
    world.house.postoffice.stop().await?;
    let log = world.house.postoffice.process().log().join("\n");
    assert!(log.contains("not logged in"), "{log}");
    for told in [&attempt.to_string(), &explained, &listed, &log] {
        assert_no_secret(told, wrong);
    }
    assert!(host.postfix.messages()?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_postfix_whose_certificate_nobody_listed_is_shown_no_password() -> Result<()> {
    let host = SmartHost::start("plain").await?;
    let world = host.world(PASSWORD, None).await?;
    let (_, id) = sent(&world).await?;
    let attempt = attempt(&world, &id, "deferred").await?;
    let reply = attempt["reply"].as_str().expect("a reply");
    assert!(reply.contains(" 4.7.5 ") && reply.contains("certificate"), "{attempt:#}");
    world.close().await?;
    assert!(!host.postfix.log().contains("sasl_"), "{}", host.postfix.log());
    Ok(())
}
