//! Programs that send mail, and note what they were told.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hedwig_envelope::{Address, Content, Envelope, Outcome, ReversePath};
use hedwig_smtp::{ClientOptions, client::Connection};
use tokio::{sync::watch, time::sleep};

use crate::{
    chronicle::Chronicle,
    evidence::{Evidence, MailNumber, Submission, sender_of},
    mailman::SMTP_PORT,
    names::DOMAINS,
    network::{Network, Node},
    receivers::{FULL, NOBODY},
};

/// How many recipients a mail has at most.
const RECIPIENTS_MAX: usize = 6;

/// A program that sends one mail after the other until it is told to stop.
pub(crate) struct Client {
    pub(crate) chance: fastrand::Rng,
    pub(crate) network: Network,
    pub(crate) chronicle: Chronicle,
    pub(crate) evidence: Arc<Mutex<Evidence>>,
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) pause_max: Duration,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Client {
    pub(crate) async fn run(mut self) {
        while !*self.stop.borrow() {
            let mails = self.chance.usize(1..=3);
            let numbers: Vec<MailNumber> =
                (0..mails).map(|_| self.numbers.fetch_add(1, Ordering::Relaxed)).collect();
            let mails: Vec<_> =
                numbers.into_iter().map(|n| (n, recipients(&mut self.chance))).collect();
            self.send(&mails).await;
            sleep(self.pause_max.mul_f64(self.chance.f64())).await;
        }
    }

    /// Sends some mails over one connection. What is not taken is let go.
    async fn send(&self, mails: &[(MailNumber, Vec<Address>)]) {
        let mut connection = self.connect().await;
        for (number, recipients) in mails {
            let mut outcomes = Vec::new();
            if let Some(connection) = connection.as_mut().filter(|c| c.is_open()) {
                let sender: ReversePath = sender_of(*number).parse().expect("it is an address");
                let envelope = Envelope::new(sender, recipients.iter().cloned());
                let content = Content::new(message_of(*number).into());
                outcomes = match connection.send(&envelope, &content).await {
                    Ok(outcomes) => outcomes,
                    Err(error) => error.outcomes,
                };
            }
            self.note(*number, recipients, &outcomes);
        }
        if let Some(connection) = connection {
            connection.quit().await;
        }
    }

    async fn connect(&self) -> Option<Connection> {
        let mailman = Node::Mailman.address(SMTP_PORT);
        let stream = self.network.connect(Node::Clients, mailman).await.ok()?;
        let options = ClientOptions { hello_name: "client.example".into(), ..Default::default() };
        Connection::greet(stream, options).await.ok()
    }

    fn note(&self, number: MailNumber, recipients: &[Address], outcomes: &[Outcome]) {
        let mut submission = Submission { accepted: Vec::new(), not_accepted: Vec::new() };
        for (place, recipient) in recipients.iter().enumerate() {
            let taken = matches!(outcomes.get(place), Some(Outcome::Done(_)));
            let list = if taken { &mut submission.accepted } else { &mut submission.not_accepted };
            list.push(recipient.clone());
        }
        let answer = outcomes.first().map(|outcome| outcome.answer().reply.to_string());
        let (sent, taken) = (recipients.len(), submission.accepted.len());
        self.chronicle.note(format_args!("mail {number}: {taken} of {sent} taken, {answer:?}"));
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        evidence.submissions.insert(number, submission);
        evidence.accepted += outcomes.iter().filter(|o| matches!(o, Outcome::Done(_))).count();
    }
}

/// Recipients at several domains, some of whom nobody takes.
pub fn recipients(chance: &mut fastrand::Rng) -> Vec<Address> {
    let count = chance.usize(1..=RECIPIENTS_MAX);
    let mut recipients: Vec<Address> = (0..count)
        .map(|place| {
            let domain = DOMAINS[chance.usize(..DOMAINS.len())];
            let local = match chance.u8(..20) {
                0 => NOBODY.to_owned(),
                1 => FULL.to_owned(),
                _ => format!("u{place}"),
            };
            format!("{local}@{domain}").parse().expect("it is an address")
        })
        .collect();
    recipients.sort();
    recipients.dedup();
    recipients
}

/// The message of a number: some are short, some too large to lie in the log.
#[must_use]
pub fn message_of(number: MailNumber) -> String {
    let lines = if number.is_multiple_of(7) { 200 } else { 1 + number % 5 };
    let mut message = format!(
        "From: <{}>\r\nTo: undisclosed-recipients:;\r\nDate: Wed, 18 Nov 2026 11:06:40 +0000\r\n\
         Message-ID: <{number}@client.example>\r\nSubject: number {number}\r\n\r\n",
        sender_of(number)
    );
    for line in 0..lines {
        message.push_str(&format!(".line {line} of mail {number}, {:x}\r\n", number * 7919 + line));
    }
    message
}
