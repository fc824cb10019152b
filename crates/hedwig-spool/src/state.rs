//! What the log's records say, and how a unit's state follows from them. Pure: the same records in the
//! same order always lead to the same state.

use std::borrow::Cow;

use hedwig_envelope::{
    Address, Answer, Attempt, Conversation, Diagnosis, Envelope, Mail, MailId, Origin, Outcome,
    RecipientStatus, State, Status, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::{Event, Grouping, Owed};

/// A mail, as a record of the log holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MailRecord {
    pub(crate) id: MailId,
    pub(crate) envelope: Envelope,
    pub(crate) origin: Origin,
    pub(crate) content: StoredContent,
    /// Tells mails apart that come with one key: xxh3-128 of envelope and message, in hexadecimal.
    pub(crate) fingerprint: String,
    /// When this was written.
    pub(crate) at: Timestamp,
    pub(crate) units: Vec<Unit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished_at: Option<Timestamp>,
}

/// Where a mail's content is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredContent {
    /// How much of it was added on the way, in bytes: what comes before the message.
    pub(crate) added: u64,
    /// All of it, in bytes.
    pub(crate) size: u64,
    #[serde(rename = "in")]
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// Behind the metadata.
    Record,
    /// In a file of its own.
    File {
        /// Its name in the directory of contents.
        name: String,
        /// xxh3-64 of all of it.
        checksum: u64,
    },
    /// Nowhere: the mail is finished.
    Nowhere,
}

/// A mail's recipients at one destination, and how far they have come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unit {
    pub(crate) destination: String,
    /// When it is tried next; nothing when it is held or done with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<Timestamp>,
    /// An operator holds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) held: bool,
    /// An operator wants it to fail with these words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) give_up: Option<Answer>,
    /// Its sender was told of the delay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) delay_reported: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) attempts: u32,
    /// How many of these failed because its destination was at fault.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) unreached: u32,
    /// When it is to be returned, or its sender told that it is late (RFC 2852); nothing when that was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) recipients: Vec<UnitRecipient>,
    /// What was said in the last attempts that did not go well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conversations: Vec<Recorded>,
}

/// What was said in an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// As in the attempts of the recipients.
    pub(crate) at: Timestamp,
    pub(crate) conversation: Conversation,
}

/// Of so many attempts at a unit it is kept what was said; the oldest go first.
const CONVERSATIONS_KEPT: usize = 5;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnitRecipient {
    /// Its place in the envelope.
    pub(crate) position: u32,
    pub(crate) address: Address,
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Status>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attempts: Vec<Attempt>,
    /// What the mail's sender is yet to be told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owed: Option<Owed>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What became of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settlement {
    pub(crate) mail: MailId,
    pub(crate) unit: u32,
    pub(crate) at: Timestamp,
    /// Each recipient's place in the envelope, and its outcome.
    pub(crate) outcomes: Vec<(u32, Outcome)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_due: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) delay_reported: bool,
    /// Its sender was told that it is late, or need not be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deadline_over: bool,
    /// What was said, if it did not go well and somebody recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversation: Option<Conversation>,
    /// What the mail's sender is yet to be told, and of whom: each by its place in the envelope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) owed: Vec<(u32, Owed)>,
}

/// A mail's sender was told: the reports are the mails before this, and count together with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) mail: MailId,
    pub(crate) at: Timestamp,
    /// Which units' recipients it was told of, by their places in the envelope, and what.
    pub(crate) recipients: Vec<ToldRecipient>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldRecipient {
    pub(crate) unit: u32,
    pub(crate) position: u32,
    pub(crate) event: Event,
}

/// What was said in the attempt that these are the outcomes of. One that leads to several places has several
/// conversations: the first is kept.
pub(crate) fn conversation_of(outcomes: &[Outcome]) -> Option<Conversation> {
    let said = outcomes.iter().find_map(|outcome| outcome.answer().conversation.as_ref());
    said.map(|said| Conversation::clone(said)).filter(|said| !said.is_empty())
}

/// What an operator did, to which units.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Action {
    pub(crate) act: Act,
    pub(crate) at: Timestamp,
    pub(crate) units: Vec<(MailId, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    Retry,
    Hold,
    Release,
    Fail,
    Drop,
}

/// The units of a mail that is new at `now`.
pub(crate) fn units_of(mail: &Mail, grouping: Grouping, now: Timestamp) -> Vec<Unit> {
    let hold = mail.envelope.parameters.hold.map(|hold| hold.release_at(mail.origin.received_at));
    let hold = hold.filter(|release_at| *release_at > now);
    let state = if hold.is_some() { State::Held } else { State::Queued };
    let deadline = mail.envelope.parameters.deadline(mail.origin.received_at);
    let mut units: Vec<Unit> = Vec::new();
    let mut places = std::collections::HashMap::<Cow<'_, str>, usize>::new();
    for (position, recipient) in mail.envelope.recipients.iter().enumerate() {
        let destination = destination_of(&recipient.address, grouping);
        let place = *places.entry(destination.clone()).or_insert_with(|| {
            units.push(Unit {
                destination: destination.into_owned(),
                due: Some(hold.unwrap_or(now)),
                held: false,
                give_up: None,
                delay_reported: false,
                attempts: 0,
                unreached: 0,
                deadline,
                recipients: Vec::new(),
                conversations: Vec::new(),
            });
            units.len() - 1
        });
        units[place].recipients.push(UnitRecipient {
            position: position as u32,
            address: recipient.address.clone(),
            state,
            status: None,
            attempts: Vec::new(),
            owed: None,
        });
    }
    units
}

fn destination_of(address: &Address, grouping: Grouping) -> Cow<'_, str> {
    match (grouping, address.domain_text()) {
        (Grouping::Whole, _) | (_, None) => Cow::Borrowed(""),
        // Addresses fold ASCII only; a U-label may have other capitals.
        (_, Some(domain)) if domain.is_ascii() => Cow::Borrowed(domain),
        (_, Some(domain)) => Cow::Owned(domain.to_lowercase()),
    }
}

impl Unit {
    /// Whether no recipient waits any more.
    pub(crate) fn is_final(&self) -> bool {
        self.recipients.iter().all(|recipient| recipient.state.is_final())
    }

    /// Whether the mail's sender is yet to be told of a recipient.
    pub(crate) fn owes(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.owed.is_some())
    }

    /// Whether nothing more is to be done for any recipient.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_final() && !self.owes()
    }

    /// Those of its recipients that still wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &UnitRecipient> {
        self.recipients.iter().filter(|recipient| !recipient.state.is_final())
    }

    fn waiting_mut(&mut self) -> impl Iterator<Item = &mut UnitRecipient> {
        self.recipients.iter_mut().filter(|recipient| !recipient.state.is_final())
    }

    pub(crate) fn settle(&mut self, settlement: &Settlement, attempts_kept_max: usize) {
        self.attempts = self.attempts.saturating_add(1);
        let unreached = settlement.outcomes.iter().all(|(_, outcome)| outcome.answer().unreached);
        self.unreached += u32::from(unreached);
        self.delay_reported |= settlement.delay_reported;
        self.deadline = self.deadline.filter(|_| !settlement.deadline_over);
        self.give_up = None;
        if let Some(conversation) = &settlement.conversation {
            let (at, conversation) = (settlement.at, conversation.clone());
            self.conversations.push(Recorded { at, conversation });
            let surplus = self.conversations.len().saturating_sub(CONVERSATIONS_KEPT);
            self.conversations.drain(..surplus);
        }
        let expired = settlement.next_due.is_none();
        let held = self.held;
        for (position, outcome) in &settlement.outcomes {
            let mut waiting = self.waiting_mut();
            if let Some(recipient) = waiting.find(|recipient| recipient.position == *position) {
                recipient.settle(outcome, settlement.at, attempts_kept_max);
                recipient.state = match outcome {
                    Outcome::Done(_) => State::Delivered,
                    Outcome::Failed(_) => State::Failed,
                    Outcome::Deferred(_) if expired => State::Expired,
                    Outcome::Deferred(_) if held => State::Held,
                    Outcome::Deferred(_) => State::Deferred,
                };
                let owed = settlement.owed.iter().find(|(owed, _)| owed == position);
                // That it was late is no news of one that came to its end.
                if owed.is_some() || recipient.state.is_final() {
                    recipient.owed = owed.map(|(_, owed)| owed.clone());
                }
            }
        }
        self.due = settlement.next_due.filter(|_| !self.held && !self.is_final());
    }

    /// Does what an operator wants; tells to how many recipients.
    pub(crate) fn act(&mut self, act: Act, at: Timestamp) -> u64 {
        let count = self.waiting().count() as u64;
        if count == 0 {
            return 0;
        }
        match act {
            Act::Retry if self.is_held() => return 0,
            Act::Release if !self.is_held() => return 0,
            Act::Retry => self.due = Some(at),
            Act::Hold => {
                (self.held, self.due) = (true, None);
                self.waiting_mut().for_each(|recipient| recipient.state = State::Held);
            }
            Act::Release => self.release(at),
            Act::Fail => {
                self.release(at);
                self.give_up = Some(given_up());
            }
            Act::Drop => {
                self.due = None;
                self.waiting_mut().for_each(|recipient| {
                    (recipient.state, recipient.owed) = (State::Dropped, None);
                });
            }
        }
        count
    }

    /// The mail's sender was told this of the recipient at this place, and is not owed it any more.
    pub(crate) fn tell(&mut self, position: u32, event: Event) {
        let told = self.recipients.iter_mut().find(|recipient| recipient.position == position);
        if let Some(recipient) = told.filter(|recipient| recipient.owes(event)) {
            recipient.owed = None;
        }
    }

    fn is_held(&self) -> bool {
        self.waiting().any(|recipient| recipient.state == State::Held)
    }

    fn release(&mut self, at: Timestamp) {
        (self.held, self.due) = (false, Some(at));
        let state = if self.attempts == 0 { State::Queued } else { State::Deferred };
        self.waiting_mut().for_each(|recipient| recipient.state = state);
    }

    /// What is shown of its recipients.
    pub(crate) fn statuses(&self, leased: bool) -> impl Iterator<Item = (u32, RecipientStatus)> {
        self.statuses_due(leased, self.due)
    }

    /// What is shown of its recipients, with the time at which they are really going to be tried.
    pub(crate) fn statuses_due(
        &self,
        leased: bool,
        due: Option<Timestamp>,
    ) -> impl Iterator<Item = (u32, RecipientStatus)> {
        self.recipients.iter().map(move |recipient| {
            let waits = !recipient.state.is_final();
            let status = RecipientStatus {
                address: recipient.address.clone(),
                state: if leased && waits { State::Delivering } else { recipient.state },
                status: recipient.status,
                next_due: due.filter(|_| waits),
                attempts: recipient.attempts.clone(),
                report_due: recipient.owed.is_some(),
            };
            (recipient.position, status)
        })
    }
}

impl UnitRecipient {
    /// Whether the mail's sender is yet to be told this of it.
    pub(crate) fn owes(&self, event: Event) -> bool {
        self.owed.as_ref().is_some_and(|owed| owed.event == event)
    }

    fn settle(&mut self, outcome: &Outcome, at: Timestamp, attempts_kept_max: usize) {
        let answer = outcome.answer();
        self.status = Some(answer.status);
        let relay = answer.relay.as_ref();
        self.attempts.push(Attempt {
            at,
            host: relay.map(|relay| relay.host.clone()),
            address: relay.and_then(|relay| relay.address),
            source: relay.and_then(|relay| relay.source),
            tls: relay.and_then(|relay| relay.tls.clone()),
            tls_policy: relay.and_then(|relay| relay.tls_policy.clone()),
            reply: answer.reply.to_string(),
            outcome: match outcome {
                Outcome::Done(_) => Verdict::Done,
                Outcome::Deferred(_) => Verdict::Deferred,
                Outcome::Failed(_) => Verdict::Failed,
            },
            diagnosis: Diagnosis::of(answer),
            ambiguous: answer.ambiguous,
        });
        let surplus = self.attempts.len().saturating_sub(attempts_kept_max.max(1));
        self.attempts.drain(..surplus);
    }
}

/// RFC 3463 §3.8: the failure is a person's will.
fn given_up() -> Answer {
    let status = Status::permanent(7, 0);
    let text = "Given up by the operator of the queue";
    let reply = hedwig_envelope::Reply::with_status(554, status, text);
    Answer::new(status, reply, None)
}
