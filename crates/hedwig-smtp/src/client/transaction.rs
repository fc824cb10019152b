//! One mail on its way out: which command comes next, and what each reply means for whom.

use std::borrow::Cow;

use bytes::Bytes;
use hedwig_envelope::{Answer, Content, Envelope, Outcome, Relay, Reply, Status};

use super::{
    outbox::Outbox,
    plan::{Plan, failed},
};
use crate::{
    Command, CommandError,
    command::{MailLine, RecipientLine},
};

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) plan: Plan,
    envelope: Envelope,
    content: Content,
    next: Next,
    outcomes: Vec<Option<Outcome>>,
    /// The recipients that were taken, and have no outcome before the content has one.
    accepted: Vec<usize>,
    /// Whether the server took MAIL, so that it remembers a mail until it is told otherwise.
    is_open: bool,
    /// How much had been pushed to the outbox when the content ended.
    content_end: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Mail,
    Recipient(usize),
    Content,
    Nothing,
}

/// What was pushed, and so what is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Mail,
    Recipient(usize),
    Data,
    Content,
}

/// What a reply to DATA leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterData {
    /// The content was pushed.
    Content,
    /// A lone dot was pushed, since nobody is there to get the content (RFC 2920 §3.1).
    LoneDot,
    /// Nothing was pushed.
    Refused,
    /// Nothing was pushed, and the server is out of step.
    OutOfStep,
}

impl Transaction {
    pub(super) fn new(plan: Plan, envelope: Envelope, content: Content) -> Self {
        let outcomes = vec![None; envelope.recipients.len()];
        Self {
            plan,
            envelope,
            content,
            next: Next::Mail,
            outcomes,
            accepted: Vec::new(),
            is_open: false,
            content_end: None,
        }
    }

    /// Pushes the next command if it may go out; `all_replied` says whether all before it have their
    /// reply. `None`: wait, or it [is finished](Self::is_finished).
    pub(super) fn push_next(&mut self, outbox: &mut Outbox, all_replied: bool) -> Option<Pushed> {
        loop {
            if !self.plan.pipelining && !all_replied {
                return None;
            }
            let pushed = match self.next {
                Next::Mail => self.push_mail(outbox),
                Next::Recipient(index) => self.push_recipient(index, outbox),
                Next::Content => {
                    let is_decided = all_replied;
                    if is_decided && self.accepted.is_empty() {
                        self.next = Next::Nothing;
                    } else if self.plan.by_chunks && !is_decided && !self.plan.eager {
                        return None;
                    }
                    self.push_content(outbox)
                }
                Next::Nothing => return None,
            };
            if pushed.is_some() {
                return pushed;
            }
        }
    }

    fn push_mail(&mut self, outbox: &mut Outbox) -> Option<Pushed> {
        self.next = Next::Recipient(0);
        let line =
            MailLine { sender: &self.plan.sender, parameters: &self.plan.parameters, key: None };
        match outbox.write(|out| line.write(out)) {
            Ok(()) => Some(Pushed::Mail),
            Err(error) => {
                self.settle_all(&unwritable(&error));
                self.next = Next::Nothing;
                None
            }
        }
    }

    fn push_recipient(&mut self, index: usize, outbox: &mut Outbox) -> Option<Pushed> {
        let Some(recipient) = self.envelope.recipients.get(index) else {
            self.next = Next::Content;
            return None;
        };
        self.next = Next::Recipient(index + 1);
        if self.outcomes[index].is_some() {
            return None;
        }
        let address = if self.plan.ascii_domains {
            recipient.address.to_ascii()
        } else {
            Some(Cow::Borrowed(recipient.address.as_str()))
        };
        let result = match &address {
            None => Err(failed(1, 3, "The recipient's domain has no ASCII form").into()),
            Some(address) => {
                let line = RecipientLine {
                    address,
                    notify: recipient.notify.as_ref().filter(|_| self.plan.dsn),
                    original: recipient.original.as_ref().filter(|_| self.plan.dsn),
                };
                outbox.write(|out| line.write(out)).map_err(|error| unwritable(&error))
            }
        };
        match result {
            Ok(()) => Some(Pushed::Recipient(index)),
            Err(outcome) => {
                self.outcomes[index] = Some(outcome);
                None
            }
        }
    }

    fn push_content(&mut self, outbox: &mut Outbox) -> Option<Pushed> {
        if self.next == Next::Nothing {
            return None;
        }
        self.next = Next::Nothing;
        if !self.plan.by_chunks {
            push_command(outbox, &Command::Data);
            return Some(Pushed::Data);
        }
        push_command(outbox, &Command::Bdat { size: self.content.len() as u64, last: true });
        let content = std::mem::take(&mut self.content);
        outbox.push_chunk(&content);
        self.content_end = Some(outbox.pushed());
        Some(Pushed::Content)
    }

    pub(super) fn take_mail_reply(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done(_) => self.is_open = true,
            refused => {
                self.settle_all(&refused);
                if !self.plan.pipelining {
                    self.next = Next::Nothing;
                }
            }
        }
    }

    pub(super) fn take_recipient_reply(&mut self, index: usize, outcome: Outcome) {
        let slot = &mut self.outcomes[index];
        match outcome.personal() {
            _ if slot.is_some() => {}
            Outcome::Done(_) => self.accepted.push(index),
            Outcome::Failed(answer) if is_too_many_recipients(&answer.reply) => {
                let status = Status::transient(5, 3);
                *slot = Some(Outcome::Deferred(Answer { status, ..answer }));
            }
            refused => *slot = Some(refused),
        }
    }

    pub(super) fn take_data_reply(
        &mut self,
        reply: Reply,
        relay: Option<Relay>,
        outbox: &mut Outbox,
    ) -> AfterData {
        if reply.code() == 354 && self.accepted.is_empty() {
            outbox.push(Bytes::from_static(b".\r\n"));
            return AfterData::LoneDot;
        }
        if reply.code() == 354 {
            let content = std::mem::take(&mut self.content);
            outbox.push_stuffed(&content);
            self.content_end = Some(outbox.pushed());
            return AfterData::Content;
        }
        let is_refusal = reply.is_transient() || reply.is_permanent();
        let outcome = if is_refusal {
            Outcome::of_reply(reply, relay)
        } else {
            // A success here is none: the server has not seen the content.
            let status = Status::transient(5, 0);
            Outcome::Deferred(Answer::new(status, reply, relay))
        };
        self.settle_accepted(&outcome);
        if is_refusal { AfterData::Refused } else { AfterData::OutOfStep }
    }

    /// In SMTP the reply to the content is for all.
    pub(super) fn take_content_reply(&mut self, outcome: Outcome) {
        // Without success the server may remember what it was told: RFC 3030 §2 asks for RSET then.
        self.is_open = !matches!(outcome, Outcome::Done(_)) && self.plan.by_chunks;
        self.settle_accepted(&outcome);
    }

    /// In LMTP it is for one, in the order in which they were taken (RFC 2033 §4.2). Whether there is
    /// another.
    pub(super) fn take_one_content_reply(&mut self, outcome: Outcome) -> bool {
        self.is_open = false;
        if !self.accepted.is_empty() {
            let index = self.accepted.remove(0);
            self.outcomes[index] = Some(outcome.personal());
        }
        !self.accepted.is_empty()
    }

    /// Gives this outcome to all who have none.
    pub(super) fn settle_all(&mut self, outcome: &Outcome) {
        self.accepted.clear();
        for slot in &mut self.outcomes {
            slot.get_or_insert_with(|| outcome.clone());
        }
    }

    fn settle_accepted(&mut self, outcome: &Outcome) {
        for index in self.accepted.drain(..) {
            self.outcomes[index] = Some(outcome.clone());
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Whether the server must be told to forget the mail before it is offered another.
    pub(super) fn needs_reset(&self) -> bool {
        self.is_open
    }

    pub(super) fn all_settled(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// Whether the server has had the whole content when it has had so much.
    pub(super) fn was_sent_whole(&self, transmitted: u64) -> bool {
        self.content_end.is_some_and(|end| transmitted >= end)
    }

    pub(super) fn sends_content(&self) -> bool {
        self.content_end.is_some()
    }

    /// One outcome for each recipient; `other` for those who have none.
    pub(super) fn into_outcomes(self, other: impl Fn() -> Outcome) -> Vec<Outcome> {
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(&other)).collect()
    }
}

/// RFC 5321 §4.5.3.1.10: 552 after many recipients is an old way to say 452.
fn is_too_many_recipients(reply: &Reply) -> bool {
    let is_about_number = |status: Status| (status.subject, status.detail) == (5, 3);
    reply.code() == 552 && reply.status().is_none_or(is_about_number)
}

fn unwritable(error: &CommandError) -> Outcome {
    failed(5, 4, error.reply().text().to_owned()).into()
}

pub(super) fn push_command(outbox: &mut Outbox, command: &Command) {
    // Commands without text can always be written.
    let _ = outbox.write(|out| command.write(out));
}
