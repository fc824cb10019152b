//! The servers of the recipients, each with its moods: it defers, refuses, hangs up before or after it took
//! a mail, or lets its client wait in vain for a reply.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hedwig_envelope::{BoxError, Mail, Outcome, Receipt, Reply, Status};
use hedwig_smtp::{Question, ServerOptions, Stream, server::serve_connection};
use tokio::{task::JoinSet, time::sleep};
use tower::service_fn;

use crate::{
    chronicle::Chronicle,
    clients::message_of,
    evidence::{Copy, Evidence, HOME, Report, id_of_the_hop, number_of},
    names::AT_HOME,
    network::{Incoming, Network, Node},
};

/// This one is refused always, by every server.
pub(crate) const NOBODY: &str = "nobody";
/// This one is deferred always, until its mail is given up.
pub const FULL: &str = "full";
/// Longer than a client waits for the reply to a content (RFC 5321 §4.5.3.2.6).
const TOO_LONG: Duration = Duration::from_mins(15);
/// A connection breaks off after so many octets at most: within the first mail, or the second.
const OCTETS_MAX: u64 = 6000;

/// One step in so many goes wrong; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moods {
    /// How rare that is.
    pub one_wrong_in: u32,
    /// Whether a reply may be withheld for longer than any client waits: in virtual time.
    pub withhold_replies: bool,
}

/// Ends a connection at once.
pub type HangUp = Arc<dyn Fn() + Send + Sync>;

/// All receiving servers. Clones are the same.
#[derive(Clone)]
pub struct Receivers {
    moods: Arc<Mutex<(Moods, fastrand::Rng)>>,
    evidence: Arc<Mutex<Evidence>>,
    chronicle: Chronicle,
}

/// What a server does with a whole mail.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Take,
    Defer,
    Refuse,
    HangUpBefore,
    HangUpAfter,
    TakeAndSayNothing,
}

impl Receivers {
    /// Servers in these moods, who note what they take.
    #[must_use]
    pub fn new(
        chance: fastrand::Rng,
        moods: Moods,
        evidence: Arc<Mutex<Evidence>>,
        chronicle: Chronicle,
    ) -> Self {
        Self { moods: Arc::new(Mutex::new((moods, chance))), evidence, chronicle }
    }

    /// Starts the server of a host.
    pub(crate) fn start(&self, network: &Network, node: Node) {
        let mut incoming = network.listen(node.address(25));
        let receivers = self.clone();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(connection) = incoming.recv().await {
                let Incoming { stream, client, breaker } = connection;
                let hang_up: HangUp = Arc::new(move || breaker.break_off());
                let receivers = receivers.clone();
                connections.spawn(receivers.serve(node == AT_HOME, stream, client, hang_up));
            }
        });
    }

    /// From now on all are in a good mood.
    pub fn calm_down(&self) {
        lock(&self.moods).0 = Moods::default();
    }

    /// After how many octets a new connection breaks off, in the middle of whatever is said, if it does.
    #[must_use]
    pub fn breaks_off_after(&self) -> Option<u64> {
        if !self.goes_wrong() {
            return None;
        }
        self.chronicle.count("connections to receivers that broke off at some octet");
        Some(lock(&self.moods).1.u64(..OCTETS_MAX))
    }

    /// Serves one client of a server; that of the senders' own domain takes reports.
    pub async fn serve(
        self,
        at_home: bool,
        stream: impl Stream + 'static,
        client: SocketAddr,
        hang_up: HangUp,
    ) {
        let judge = self.clone();
        let policy = hedwig_smtp::policy::policy_fn(move |question| judge.judge(question));
        let keeper = self;
        let service =
            service_fn(move |mail: Mail| keeper.clone().take(at_home, mail, hang_up.clone()));
        let options =
            ServerOptions { hostname: "receiver.example".into(), ..ServerOptions::default() };
        serve_connection(stream, Some(client), policy, service, options).await;
    }

    fn judge(&self, question: &Question) -> Reply {
        match question {
            Question::Recipient { recipient, .. } => match recipient.address.local_part() {
                NOBODY => Reply::with_status(550, Status::permanent(1, 1), "No such user"),
                FULL => Reply::with_status(452, Status::transient(2, 2), "The mailbox is full"),
                _ if self.goes_wrong() => {
                    self.chronicle.count("recipients that a receiver deferred");
                    Reply::with_status(450, Status::transient(2, 0), "Not this one now")
                }
                _ => question.yes(),
            },
            Question::Connect { .. } | Question::Mail { .. } if self.goes_wrong() => {
                self.chronicle.count("greetings and senders refused as too busy");
                Reply::with_status(421, Status::transient(3, 2), "Too busy")
            }
            _ => question.yes(),
        }
    }

    async fn take(self, at_home: bool, mail: Mail, hang_up: HangUp) -> Result<Receipt, BoxError> {
        let deed = match self.deed() {
            // Nobody is told of a report that is refused for good: it would prove nothing here.
            Deed::Refuse if at_home => Deed::Defer,
            deed => deed,
        };
        let sender = mail.envelope.sender.to_string();
        let to: Vec<_> = mail.envelope.recipients.iter().map(|r| r.address.as_str()).collect();
        self.chronicle.note(format_args!("{deed:?}: {sender} to {}", to.join(" ")));
        self.chronicle.count(match deed {
            Deed::Take => "mails that a receiver took, and said so",
            Deed::Defer => "mails deferred by a receiver",
            Deed::Refuse => "mails refused by a receiver",
            Deed::HangUpBefore => "connections a receiver closed before it took a mail",
            Deed::HangUpAfter => "connections a receiver closed after it took a mail",
            Deed::TakeAndSayNothing => "mails a receiver took and did not answer",
        });
        if matches!(deed, Deed::Take | Deed::HangUpAfter | Deed::TakeAndSayNothing) {
            self.keep(&mail);
        }
        let reply = match deed {
            Deed::Take => Reply::with_status(250, Status::OK, "Kept"),
            Deed::Defer => Reply::with_status(451, Status::transient(3, 0), "Come again"),
            Deed::Refuse => Reply::with_status(554, Status::permanent(7, 1), "Not here"),
            Deed::HangUpBefore | Deed::HangUpAfter => {
                hang_up();
                // No reply may be written before the connection is gone.
                return std::future::pending().await;
            }
            Deed::TakeAndSayNothing => {
                sleep(TOO_LONG).await;
                Reply::with_status(250, Status::OK, "Kept, in the end")
            }
        };
        let recipients = mail.envelope.recipients.len();
        Ok(Receipt::uniform(mail.id, recipients, Outcome::of_reply(reply, None)))
    }

    fn keep(&self, mail: &Mail) {
        let content = mail.content.to_bytes();
        let mut evidence = lock(&self.evidence);
        for recipient in &mail.envelope.recipients {
            let address = &recipient.address;
            // Reports are all that is sent home.
            if address.domain_text() == Some(HOME) {
                let number = number_of(address.as_str());
                evidence.reports.extend(number.map(|number| Report::read(number, &content)));
                continue;
            }
            let sender = mail.envelope.sender.to_string();
            let Some(number) = number_of(&sender) else { continue };
            evidence.copies.push(Copy {
                number,
                recipient: address.clone(),
                taken_as: id_of_the_hop(&content).unwrap_or_default(),
                intact: content.ends_with(message_of(number).as_bytes()),
            });
        }
    }

    fn goes_wrong(&self) -> bool {
        let (moods, chance) = &mut *lock(&self.moods);
        moods.one_wrong_in > 0 && chance.u32(..moods.one_wrong_in) == 0
    }

    fn deed(&self) -> Deed {
        if !self.goes_wrong() {
            return Deed::Take;
        }
        let (moods, chance) = &mut *lock(&self.moods);
        let deeds = [
            Deed::Defer,
            Deed::Refuse,
            Deed::HangUpBefore,
            Deed::HangUpAfter,
            Deed::HangUpAfter,
            Deed::TakeAndSayNothing,
        ];
        let deeds = if moods.withhold_replies { &deeds[..] } else { &deeds[..deeds.len() - 1] };
        deeds[chance.usize(..deeds.len())]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
