//! `-bs`: SMTP on standard input and output, as inetd and some mail programs want it.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use hedwig_envelope::{Answer, Content, Envelope, Outcome, Receipt, Reply, Status};
use hedwig_smtp::{
    Dialect, LineEndings, ServerOptions, Session as _,
    server::{Event, Session, replies_for},
};

use super::{hand_over::hand_over, new_id, surroundings::Surroundings};

/// Talks with whoever is at the other end until it says QUIT or nothing more.
///
/// Each mail is handed over like one that `-bm` takes; mailman completes it.
///
/// # Errors
/// When the input cannot be read or the output not written.
pub(crate) fn talk(
    surroundings: &Surroundings,
    runtime: &tokio::runtime::Runtime,
    mut input: impl Read,
    mut output: impl Write,
) -> io::Result<()> {
    let options = ServerOptions {
        hostname: surroundings.hostname.to_string(),
        content_bytes_max: surroundings.message_bytes_max,
        line_endings: LineEndings::Normalise,
        ..ServerOptions::default()
    };
    let mut session = Session::new(Arc::new(options), None, false, Instant::now());
    let mut unread = BytesMut::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let closed = answer(surroundings, runtime, &mut session, &mut unread)?;
        let mut answers = BytesMut::new();
        while session.poll_transmit(&mut answers) {}
        output.write_all(&answers)?;
        output.flush()?;
        if closed {
            return Ok(());
        }
        let length = input.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        unread.extend_from_slice(&chunk[..length]);
    }
}

/// Reads what can be read and answers what is asked; whether the session has ended.
fn answer(
    surroundings: &Surroundings,
    runtime: &tokio::runtime::Runtime,
    session: &mut Session,
    unread: &mut BytesMut,
) -> io::Result<bool> {
    loop {
        session.receive(unread, Instant::now());
        let Some(event) = session.poll_event() else { return Ok(false) };
        let reply = match event {
            Event::Question(question) => question.yes(),
            Event::Mail { envelope, content } => {
                let envelope = Arc::unwrap_or_clone(envelope);
                let content = Content::new(content);
                runtime.block_on(take(surroundings, envelope, content))
            }
            // Neither AUTH nor TLS is on offer.
            Event::Authenticate(_) | Event::StartTls | Event::Closed(_) => return Ok(true),
        };
        session.reply(&reply).map_err(io::Error::other)?;
    }
}

async fn take(surroundings: &Surroundings, envelope: Envelope, content: Content) -> Reply {
    let (id, _) = new_id();
    let recipients = envelope.recipients.len();
    match hand_over(surroundings, id, envelope, content).await {
        Err(error) if !error.partly => {
            Reply::with_status(451, Status::transient(3, 0), error.to_string())
        }
        Ok(done) if !done.is_stored => {
            let outcomes = done.refused.into_iter().map(|(_, answer)| Outcome::Failed(answer));
            let replies = replies_for(&Receipt { id, outcomes: outcomes.collect() }, Dialect::Smtp);
            replies.into_iter().next().unwrap_or_else(|| taken(id))
        }
        // One reply stands for all recipients (RFC 5321 §4.2.5): it is stored for some of them.
        Ok(_) | Err(_) => {
            let outcome = Outcome::Done(Answer::new(Status::OK, taken(id), None));
            let replies = replies_for(&Receipt::uniform(id, recipients, outcome), Dialect::Smtp);
            replies.into_iter().next().unwrap_or_else(|| taken(id))
        }
    }
}

fn taken(id: hedwig_envelope::MailId) -> Reply {
    Reply::with_status(250, Status::OK, format!("Ok: queued as {id}"))
}
