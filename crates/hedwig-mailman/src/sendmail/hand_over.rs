//! The way of a prepared mail: to the mailman that runs here, or else into its drop.

use std::{io, time::Duration};

use hedwig_envelope::{Answer, Content, Envelope, MailId, Outcome, Recipient};
use hedwig_smtp::client::{ClientOptions, Connection, TimeLimits};
use tokio::{net::TcpStream, time::timeout};

use super::{
    drop::{self, DropDirectories},
    surroundings::Surroundings,
};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// What became of a mail that was taken for some recipients at least, or for none by a final word.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    /// Whether it is stored for somebody.
    pub(crate) is_stored: bool,
    /// Who will not get it, and the word on it.
    pub(crate) refused: Vec<(Recipient, Answer)>,
}

/// Gives a mail to mailman over SMTP. Whoever could not be taken just now, or all when nobody answers, is
/// taken into the drop.
///
/// When the connection breaks after the whole mail was sent, mailman may have it, and the drop has it
/// too: a second copy is better than none (RFC 1047).
///
/// # Errors
/// When it was not stored for all who could be taken.
pub(crate) async fn hand_over(
    surroundings: &Surroundings,
    id: MailId,
    envelope: Envelope,
    content: Content,
) -> Result<HandedOver, NotStored> {
    let mut done = HandedOver::default();
    let (mut waiting, mut deferred) = (Vec::new(), Vec::new());
    match over_smtp(surroundings, &envelope, &content).await {
        None => waiting.clone_from(&envelope.recipients),
        Some(outcomes) => {
            for (recipient, outcome) in envelope.recipients.iter().zip(outcomes) {
                match outcome {
                    Outcome::Done(_) => done.is_stored = true,
                    Outcome::Deferred(answer) => {
                        waiting.push(recipient.clone());
                        deferred.push((recipient.clone(), answer));
                    }
                    Outcome::Failed(answer) => done.refused.push((recipient.clone(), answer)),
                }
            }
        }
    }
    if waiting.is_empty() {
        return Ok(done);
    }
    let directories = DropDirectories::of_spool(&surroundings.spool);
    let left = Envelope { recipients: waiting, ..envelope };
    match drop::write(&directories, id, left, content) {
        Ok(()) => Ok(HandedOver { is_stored: true, ..done }),
        Err(error) => {
            let HandedOver { is_stored, refused: mut left_out } = done;
            left_out.append(&mut deferred);
            Err(NotStored { servers: tried(surroundings), error, is_stored, left_out })
        }
    }
}

/// Nobody took the mail, and the drop did not either.
#[derive(Debug, thiserror::Error)]
#[error("no mailman took it at {servers}, and it cannot be left in its drop: {error}")]
pub(crate) struct NotStored {
    servers: String,
    error: io::Error,
    /// Whether it was stored for some recipients all the same.
    pub(crate) is_stored: bool,
    /// Of whom a server spoke, and will not get it, and its word on them.
    pub(crate) left_out: Vec<(Recipient, Answer)>,
}

fn tried(surroundings: &Surroundings) -> String {
    surroundings.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The word of a server on each recipient; `None` when none could be asked.
async fn over_smtp(
    surroundings: &Surroundings,
    envelope: &Envelope,
    content: &Content,
) -> Option<Vec<Outcome>> {
    let mut connection = connect(surroundings).await?;
    match connection.send(envelope, content).await {
        Ok(outcomes) => {
            connection.quit().await;
            Some(outcomes)
        }
        Err(error) => Some(error.outcomes),
    }
}

async fn connect(surroundings: &Surroundings) -> Option<Connection> {
    for server in &surroundings.servers {
        let Ok(Ok(stream)) = timeout(CONNECT_TIME_MAX, TcpStream::connect(server)).await else {
            continue;
        };
        let options = ClientOptions {
            hello_name: surroundings.hostname.to_string(),
            time_limits: time_limits(),
            ..ClientOptions::default()
        };
        if let Ok(connection) = Connection::greet(stream, options).await {
            return Some(connection);
        }
    }
    None
}

/// The server is on this host, and somebody waits: there is the drop. Only the last reply may take its
/// time, for a mail that is given up then may come twice.
fn time_limits() -> TimeLimits {
    let seconds = Duration::from_secs;
    TimeLimits {
        greeting: seconds(10),
        hello: seconds(10),
        mail: seconds(30),
        recipient: seconds(30),
        data_initiation: seconds(30),
        data_block: seconds(60),
        data_termination: seconds(300),
        quit: seconds(1),
    }
}
