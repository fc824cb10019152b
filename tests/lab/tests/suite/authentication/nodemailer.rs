//! nodemailer, as an application in JavaScript sends.

use std::process::Output;

use hedwig_lab::{Result, Submission};
use tokio::process::Command;

use crate::authentication::{PASSWORD, Stage, USER, letter, run, said};

const SCRIPT: &str = "
const [port, secure, authority, user, pass, from, to] = process.argv.slice(1);
const nodemailer = require('/usr/share/nodejs/nodemailer');
const transport = nodemailer.createTransport({
    host: '127.0.0.1', port: Number(port), secure: secure === 'true', requireTLS: true, name: 'node.lab.example',
    tls: { ca: require('fs').readFileSync(authority) }, auth: { user, pass },
});
const raw = require('fs').readFileSync(0);
transport.sendMail({ envelope: { from, to: to.split(',') }, raw })
    .then((info) => { console.log(info.response); transport.close(); })
    .catch((error) => { console.error(error.response || error); process.exit(1); });
";

async fn nodemailer(
    stage: &Stage,
    is_implicit: bool,
    password: &str,
    mail: &Submission,
) -> Result<Output> {
    let port = stage.port(if is_implicit { "smtps" } else { "smtp" });
    let mut command = Command::new("/usr/bin/node");
    command.args(["-e", SCRIPT, "--", &port, &is_implicit.to_string()]).arg(stage.certificate());
    command.args([USER, password, &mail.sender, &mail.recipients.join(",")]);
    run(command, &mail.message).await
}

#[tokio::test]
async fn nodemailer_sends_after_starttls_and_over_tls_and_learns_of_a_wrong_password() -> Result<()>
{
    let stage = Stage::start().await?;
    for (index, is_implicit) in [false, true].into_iter().enumerate() {
        let mail = letter();
        let output = nodemailer(&stage, is_implicit, PASSWORD, &mail).await?;
        assert!(
            output.status.success() && said(&output).starts_with("250 2."),
            "{}",
            said(&output)
        );
        stage.assert_arrived(index + 1, &mail).await?;
    }
    let output = nodemailer(&stage, false, "wrong", &letter()).await?;
    assert!(!output.status.success() && said(&output).contains("535 5.7.8"), "{}", said(&output));
    assert_eq!(stage.world.close().await?, 2);
    Ok(())
}
