//! Sends a mail from inside a program: no SMTP, no mailman, one request to a postoffice.
//!
//! ```sh
//! cargo run -p hedwig-examples --bin send -- http://127.0.0.1:8025 token alice@example.org bob@example.net < mail.eml
//! ```
//!
//! Done means that the postoffice has the mail on stable storage. After an error nothing is known to be
//! lost or sent: send the same mail again under the same key, and it is sent once.

use std::{error::Error, io::Read, process::ExitCode};

use hedwig_envelope::{
    Address, Content, Envelope, IdempotencyKey, Mail, MailId, Origin, Outcome, ReversePath,
    Timestamp,
};
use hedwig_transport::{Client, ClientOptions};
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token_file, sender, recipients @ ..] = arguments.as_slice() else {
        eprintln!("usage: send URL TOKEN_FILE SENDER RECIPIENT... < MESSAGE");
        return Ok(ExitCode::from(64));
    };
    let client = Client::new(ClientOptions {
        urls: vec![url.clone()],
        token: Some(std::fs::read_to_string(token_file)?.trim().parse()?),
        ..ClientOptions::default()
    })?;
    let mail = mail(sender.parse()?, recipients, message()?)?;
    let recipients = mail.envelope.recipients.clone();
    let receipt = client.oneshot(mail).await?;
    for (recipient, outcome) in recipients.iter().zip(&receipt.outcomes) {
        println!("{}: {}", recipient.address, outcome.answer().reply);
    }
    let done = receipt.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_)));
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mail(
    sender: ReversePath,
    recipients: &[String],
    message: Vec<u8>,
) -> Result<Mail, Box<dyn Error + Send + Sync>> {
    let recipients =
        recipients.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>()?;
    let now = Timestamp::now();
    // A program that sends again after a crash takes a key of its own instead: the number of an
    // invoice, say. Whatever is sent under it later is the same mail.
    let id =
        MailId::new(now, (u128::from(fastrand::u64(..)) << 64) | u128::from(fastrand::u64(..)));
    Ok(Mail {
        id,
        envelope: Envelope::new(sender, recipients),
        content: Content::new(message.into()),
        origin: Origin { idempotency_key: Some(IdempotencyKey::from(id)), ..Origin::local(now) },
    })
}

/// Standard input, with the CRLF line ends that a message has on its way.
fn message() -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    let mut message = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                message.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                message.extend_from_slice(b"\r\n");
            }
            None => message.extend_from_slice(line),
        }
    }
    Ok(message)
}
