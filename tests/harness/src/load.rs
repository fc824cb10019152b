//! Programs that send mail as quickly as it is taken.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hedwig_envelope::{Content, Envelope, Outcome, ReversePath};
use hedwig_simulation::{
    clients::{message_of, recipients},
    evidence::{Evidence, Submission, sender_of},
};
use hedwig_smtp::{ClientOptions, client::Connection};
use tokio::{net::TcpStream, sync::watch, time::sleep};

use crate::fragile::fragile;

/// How many mails go over one connection at most.
const MAILS_PER_CONNECTION: usize = 20;
/// How long a program waits before it tries again to connect, and between two mails.
const PAUSE: Duration = Duration::from_millis(10);
/// One connection in so many breaks off, after so many octets at most.
const ONE_BREAKS_OFF_IN: u32 = 20;
const OCTETS_MAX: u64 = 12_000;

pub(crate) struct Client {
    pub(crate) chance: fastrand::Rng,
    pub(crate) server: SocketAddr,
    pub(crate) evidence: Arc<Mutex<Evidence>>,
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Client {
    /// Sends one mail after the other. What is not taken is let go.
    pub(crate) async fn run(mut self) {
        while !*self.stop.borrow() {
            if let Some(mut connection) = self.connect().await {
                for _ in 0..MAILS_PER_CONNECTION {
                    if !connection.is_open() || *self.stop.borrow() {
                        break;
                    }
                    self.send(&mut connection).await;
                    sleep(PAUSE).await;
                }
                connection.quit().await;
            }
            sleep(PAUSE).await;
        }
    }

    async fn connect(&mut self) -> Option<Connection> {
        let stream = TcpStream::connect(self.server).await.ok()?;
        let options = ClientOptions { hello_name: "client.example".into(), ..Default::default() };
        if self.chance.u32(..ONE_BREAKS_OFF_IN) > 0 {
            return Connection::greet(stream, options).await.ok();
        }
        let octets = self.chance.u64(..OCTETS_MAX);
        Connection::greet(fragile(stream, octets), options).await.ok()
    }

    async fn send(&mut self, connection: &mut Connection) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let recipients = recipients(&mut self.chance);
        let sender: ReversePath = sender_of(number).parse().expect("it is an address");
        let envelope = Envelope::new(sender, recipients.iter().cloned());
        // Noted before it is sent: a server may have it before we are told.
        self.note(number, Submission { accepted: Vec::new(), not_accepted: recipients.clone() });
        let content = Content::new(message_of(number).into());
        let outcomes = match connection.send(&envelope, &content).await {
            Ok(outcomes) => outcomes,
            Err(error) => error.outcomes,
        };
        let mut submission = Submission { accepted: Vec::new(), not_accepted: Vec::new() };
        let accepted = outcomes.iter().filter(|o| matches!(o, Outcome::Done(_))).count();
        for (recipient, outcome) in recipients.into_iter().zip(outcomes) {
            let taken = matches!(outcome, Outcome::Done(_));
            let list = if taken { &mut submission.accepted } else { &mut submission.not_accepted };
            list.push(recipient);
        }
        self.note(number, submission);
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).accepted += accepted;
    }

    fn note(&self, number: u64, submission: Submission) {
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        evidence.submissions.insert(number, submission);
    }
}
