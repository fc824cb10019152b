//! A receiving server of your own: it takes mail for the recipients that it knows and for nobody else, and keeps each
//! mail as a file of a Maildir.
//!
//! ```sh
//! cargo run -p hedwig-examples --bin receive -- 127.0.0.1:2525 /tmp/Maildir bob@example.org carol@example.org
//! ```

use std::{error::Error, path::PathBuf, process::ExitCode};

use hedwig_envelope::{
    Address, ChangeLayer, Mail, Outcome, Receipt, Reply, Status, adding_received, trace,
};
use hedwig_smtp::{Question, policy::policy_fn, serve};
use tokio::{fs, net::TcpListener};
use tower::{Layer, service_fn};

const HOSTNAME: &str = "mx.example.org";

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, maildir, known @ ..] = arguments.as_slice() else {
        eprintln!("usage: receive LISTEN MAILDIR RECIPIENT...");
        return Ok(ExitCode::from(64));
    };
    let known = known.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>()?;
    let policy = policy_fn(move |question| match question {
        Question::Recipient { recipient, .. } if !known.contains(&recipient.address) => {
            Reply::with_status(550, Status::permanent(1, 1), "There is no such mailbox here")
        }
        _ => question.yes(),
    });

    let maildir = PathBuf::from(maildir);
    for directory in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(directory)).await?;
    }
    let service = service_fn(move |mail| keep(maildir.clone(), mail));
    let service = ChangeLayer::new(adding_received(HOSTNAME)).layer(service);

    let listener = TcpListener::bind(listen).await?;
    println!("listening at {}", listener.local_addr()?);
    serve(listener, policy, service).await?;
    Ok(ExitCode::SUCCESS)
}

/// A success promises that the mail is safe, so the file is on the disk before. An error becomes 451, and the client
/// comes again.
async fn keep(maildir: PathBuf, mail: Mail) -> Result<Receipt, Box<dyn Error + Send + Sync>> {
    let name = format!("{}.{HOSTNAME}", mail.id);
    let (written, kept) = (maildir.join("tmp").join(&name), maildir.join("new").join(&name));
    let return_path = trace::return_path(&mail.envelope.sender);
    fs::write(&written, [return_path.as_bytes(), &mail.content.to_bytes()].concat()).await?;
    fs::File::open(&written).await?.sync_all().await?;
    fs::rename(&written, &kept).await?;
    fs::File::open(maildir.join("new")).await?.sync_all().await?;
    let taken = Outcome::of_reply(Reply::with_status(250, Status::OK, "Kept"), None);
    Ok(Receipt::uniform(mail.id, mail.envelope.recipients.len(), taken))
}
