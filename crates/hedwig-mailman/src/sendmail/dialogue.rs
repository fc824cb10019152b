//! `-bs`: SMTP on standard input and output, as inetd and some mail programs want it.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use hedwig_daemon::reporter;
use hedwig_envelope::{Answer, Content, Mail, MailId, Outcome, Receipt, Recipient, Reply, Status};
use hedwig_smtp::{
    Dialect, LineEndings, ServerOptions, Session as _,
    server::{Event as SessionEvent, Session, replies_for},
};
use hedwig_spool::{Event, Owed};

use super::{hand_over::hand_over, new_id, surroundings::Surroundings};
use crate::Senders;

/// So many recipients are named in a reply.
const LEFT_OUT_NAMED_MAX: usize = 20;

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
            SessionEvent::Question(question) => question.yes(),
            SessionEvent::Mail { envelope, content } => {
                let (id, now) = new_id();
                let mail = Mail {
                    id,
                    envelope: Arc::unwrap_or_clone(envelope),
                    content: Content::new(content),
                    origin: session.peer().origin(now),
                };
                runtime.block_on(take(surroundings, mail))
            }
            // Neither AUTH nor TLS is on offer.
            SessionEvent::Authenticate(_) | SessionEvent::StartTls | SessionEvent::Closed(_) => {
                return Ok(true);
            }
        };
        session.reply(&reply).map_err(io::Error::other)?;
    }
}

async fn take(surroundings: &Surroundings, mail: Mail) -> Reply {
    let id = mail.id;
    let handed_over = hand_over(surroundings, id, mail.envelope.clone(), mail.content.clone());
    let left_out = match handed_over.await {
        Err(error) if !error.is_stored => {
            return Reply::with_status(451, Status::transient(3, 0), error.to_string());
        }
        Ok(done) if !done.is_stored => {
            let outcomes = done.refused.into_iter().map(|(_, answer)| Outcome::Failed(answer));
            let replies = replies_for(&Receipt { id, outcomes: outcomes.collect() }, Dialect::Smtp);
            return replies.into_iter().next().unwrap_or_else(|| taken(id));
        }
        Ok(done) => done.refused,
        Err(error) => error.left_out,
    };
    // One reply stands for all recipients (RFC 5321 §4.2.5), and it is stored for some of them: of the others the
    // sender is told by mail.
    match report(surroundings, mail, &left_out).await {
        Ok(()) => taken(id),
        Err(NotTold) => not_taken_for(&left_out),
    }
}

/// Nobody took the report.
struct NotTold;

/// Tells the sender who will not get a mail (RFC 5321 §6.1), if it wants to know.
async fn report(
    surroundings: &Surroundings,
    mut mail: Mail,
    left_out: &[(Recipient, Answer)],
) -> Result<(), NotTold> {
    // A sender at a host that the world does not know is at home here, as for mail that is picked up.
    let domain = surroundings.domain.as_str().into();
    Senders { domain, ..Senders::default() }.changing()(&mut mail);
    let (id, at) = new_id();
    let owed = |(index, (_, answer)): (usize, &(Recipient, Answer))| {
        (index, Owed { event: Event::Failed, answer: answer.clone(), at })
    };
    let owed: Vec<_> = left_out.iter().enumerate().map(owed).collect();
    mail.envelope.recipients = left_out.iter().map(|(recipient, _)| recipient.clone()).collect();
    // Nothing is tried any more, so no expiry is told.
    let reporter = reporter(&surroundings.hostname, Duration::ZERO);
    let Some(report) = reporter.write(&mail, Event::Failed, &owed, at) else { return Ok(()) };
    match hand_over(surroundings, id, report.envelope, report.content).await {
        Ok(done) if done.is_stored => Ok(()),
        _ => Err(NotTold),
    }
}

fn taken(id: MailId) -> Reply {
    Reply::with_status(250, Status::OK, format!("Ok: queued as {id}"))
}

/// For whom a mail is not, when all that is left to be told by is the reply. It is a final one: the whole sent again
/// would be a second copy for the others.
fn not_taken_for(left_out: &[(Recipient, Answer)]) -> Reply {
    let lines = left_out.iter().take(LEFT_OUT_NAMED_MAX).map(|(recipient, answer)| {
        let word: String = answer.reply.to_string().chars().take(128).collect();
        format!("\n{}: {word}", recipient.address)
    });
    let lines: String = lines.collect();
    let text =
        format!("Taken for others, but not for {} of the recipients:{lines}", left_out.len());
    Reply::with_status(554, Status::permanent(3, 0), text)
}
