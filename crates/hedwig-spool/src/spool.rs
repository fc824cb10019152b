use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use hedwig_envelope::{
    Answer, BoxError, Mail, MailId, MailStatus, Outcome, Receipt, Reply, Status, Timestamp,
};
use tokio::sync::{oneshot, watch};
use tower::Service;

use crate::{
    Claim, Claimed, Clock, Counts, Grouping, Lease, Owed, SpoolError, SpoolOptions,
    disk::Disk,
    driver::Driver,
    engine::{Engine, Request, Settle, Wanted},
    error::Refused,
    finding::Limits,
    log::Readers,
    pace::Paces,
    prepare::{Prepared, blocks, fingerprint, prepare},
    record::{Encoded, Kind},
    schedule::later,
    state::{Act, Action, Settlement, conversation_of},
};

/// A durable queue of mails. A cheap handle: clones share the queue, which closes with the last.
///
/// Calls that were begun are carried out even if their future is dropped; the caller just does not learn
/// how they ended.
#[derive(Clone, Debug)]
pub struct Spool {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) driver: Driver,
    pub(crate) readers: Arc<Readers>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: SpoolOptions,
    pub(crate) changed: watch::Receiver<u64>,
    pub(crate) quarantined: Arc<AtomicU64>,
    /// Where notes of attempts could not be read when it was opened.
    pub(crate) damaged_notes: Vec<String>,
    pub(crate) paces: Arc<Paces>,
}

impl Spool {
    /// Stores a mail. `Ok` means it is on stable storage: done for every recipient.
    ///
    /// A mail whose idempotency key (or id) is known stands for the earlier one, whose id is returned.
    ///
    /// # Errors
    /// [`SpoolError::KeyReused`] when the key belongs to another mail; [`SpoolError::NoSpace`] or
    /// [`SpoolError::Io`] when it could not be stored, and was not.
    pub async fn commit(&self, mail: Mail) -> Result<Receipt, SpoolError> {
        let recipients = mail.envelope.recipients.len();
        let fingerprint = fingerprint(&mail);
        // Before its content takes the room that is left.
        if blocks(&mail, &self.shared.options)
            && let Some(known) = self.known_or_room(&mail, fingerprint.clone()).await?
        {
            return Ok(queued(known, recipients));
        }
        let prepared = Box::new(self.prepare_with(mail, fingerprint).await?);
        let id = self.request(|reply| Request::Commit { prepared, reply }).await?;
        Ok(queued(id, recipients))
    }

    async fn known_or_room(
        &self,
        mail: &Mail,
        fingerprint: String,
    ) -> Result<Option<MailId>, SpoolError> {
        let (id, key) = (mail.id, mail.origin.idempotency_key.clone());
        self.ask_index(move |engine| {
            let key = key.as_ref().map(|key| key.as_str());
            engine.known_or_room(&Wanted { id, key, fingerprint: &fingerprint })
        })
        .await
    }

    /// Leases what is due at `now`.
    ///
    /// # Errors
    /// When the index cannot be read. A mail that cannot be read is held, and the error logged.
    pub async fn claim(&self, now: Timestamp, claim: Claim) -> Result<Claimed, SpoolError> {
        let found = self.ask_index(move |engine| engine.claim(now, Limits::Plain(claim))).await?;
        let leases = self.load_all(found.granted).await?;
        Ok(Claimed { leases, more: found.more, next_due: found.next_due })
    }

    /// Makes a lease hold for another [`SpoolOptions::lease`], counted from `now`.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`] when somebody else has the unit, or it is done with.
    pub async fn extend(&self, lease: &Lease, now: Timestamp) -> Result<(), SpoolError> {
        let (key, token) = ((lease.mail.id, lease.unit), lease.token);
        let until = later(now, self.shared.options.lease);
        let holds = self.ask(move |engine| engine.leases.extend(key, token, until)).await?;
        if holds { Ok(()) } else { Err(SpoolError::LeaseLost) }
    }

    /// Stores what became of a unit's recipients, in the order of the lease's mail, and the mails that
    /// follow from it, in one commit. What is deferred is due again at `next_due`; without one it is
    /// given up, and its state is expired.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`] when somebody else has the unit, or it is done with: nothing was stored.
    /// After any other error the lease still holds, and this may be tried again.
    pub async fn finish(
        &self,
        lease: &Lease,
        outcomes: Vec<Outcome>,
        next_due: Option<Timestamp>,
        follow_ups: Vec<Mail>,
    ) -> Result<(), SpoolError> {
        self.settle(lease, outcomes, next_due, follow_ups, Vec::new()).await
    }

    /// As [`finish`](Self::finish), without a report: what the mail's sender is owed, and of whom (by their
    /// places in the lease's mail), stays with the mail until it is [told](Self::tell).
    ///
    /// # Errors
    /// As for [`finish`](Self::finish).
    pub async fn finish_owing(
        &self,
        lease: &Lease,
        outcomes: Vec<Outcome>,
        next_due: Option<Timestamp>,
        owed: Vec<(usize, Owed)>,
    ) -> Result<(), SpoolError> {
        self.settle(lease, outcomes, next_due, Vec::new(), owed).await
    }

    pub(crate) async fn settle(
        &self,
        lease: &Lease,
        outcomes: Vec<Outcome>,
        next_due: Option<Timestamp>,
        follow_ups: Vec<Mail>,
        owed: Vec<(usize, Owed)>,
    ) -> Result<(), SpoolError> {
        let (wanted, given) = (lease.positions.len(), outcomes.len());
        if wanted != given {
            return Err(SpoolError::OutcomesMismatch { wanted, given });
        }
        let mut placed = Vec::with_capacity(owed.len());
        for (index, owed) in owed {
            let position = lease.positions.get(index);
            let given = index.saturating_add(1);
            let mismatch = SpoolError::OutcomesMismatch { wanted, given };
            placed.push((*position.ok_or(mismatch)?, owed));
        }
        let mut prepared = Vec::with_capacity(follow_ups.len());
        for mail in follow_ups {
            prepared.push(self.prepare(mail).await?);
        }
        let conversation = conversation_of(&outcomes);
        let settlement = Settlement {
            mail: lease.mail.id,
            unit: lease.unit,
            at: self.shared.options.clock.now(),
            outcomes: lease.positions.iter().copied().zip(outcomes).collect(),
            next_due,
            delay_reported: lease.delay_reported,
            deadline_over: lease.deadline_over,
            conversation,
            owed: placed,
        };
        let encoded = Encoded::new(Kind::Settlement, &settlement, Default::default());
        let (token, follow_ups) = (lease.token, prepared);
        self.request(|reply| {
            Request::Settle(Box::new(Settle { token, settlement, encoded, follow_ups, reply }))
        })
        .await
    }

    /// Gives a unit back untried: it is due as before.
    ///
    /// # Errors
    /// When the spool is closed.
    pub async fn give_back(&self, lease: Lease) -> Result<(), SpoolError> {
        let key = (lease.mail.id, lease.unit);
        self.ask(move |engine| engine.give_back(key, lease.token)).await
    }

    /// How far a mail has come; `None` when it is not known (any more).
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn show(&self, id: MailId) -> Result<Option<MailStatus>, SpoolError> {
        self.ask_index(move |engine| engine.show(id)).await
    }

    /// How many recipients are in each state; of those that are final, since their retention began.
    ///
    /// # Errors
    /// When the spool is closed.
    pub async fn counts(&self) -> Result<Counts, SpoolError> {
        self.ask(|engine| engine.leases.overlay(engine.index.counts())).await
    }

    /// How many damaged places were found in the log and set aside in `quarantine/`, since it was opened.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.shared.quarantined.load(Ordering::Relaxed)
    }

    /// Waits until all that was asked is done, and closes the spool for every handle.
    pub async fn close(&self) {
        let Some(thread) = self.shared.driver.close() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the committing thread did not end well");
        }
    }

    pub(crate) fn grouping(&self) -> Grouping {
        self.shared.options.grouping
    }

    /// How long a lease holds.
    pub(crate) fn lease_length(&self) -> std::time::Duration {
        self.shared.options.lease
    }

    /// The clock this spool goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.options.clock
    }

    /// Changes whenever a mail was committed, or a unit may have become due in another way.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.clone()
    }

    pub(crate) async fn act_on(
        &self,
        act: Act,
        units: Vec<(MailId, u32)>,
    ) -> Result<u64, SpoolError> {
        let action = Action { act, at: self.shared.options.clock.now(), units };
        let encoded = Encoded::new(Kind::Action, &action, Default::default());
        self.request(|reply| Request::Act { action, encoded, reply }).await
    }

    /// Lets the engine answer a question.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, SpoolError> {
        let (sender, receiver) = oneshot::channel();
        let ask = Box::new(move |engine: &mut Engine| {
            // Whoever asked may have gone; that changes nothing.
            let _ = sender.send(question(engine));
        });
        self.shared.driver.send(self.shared.options.clock.now(), Request::Ask(ask))?;
        receiver.await.map_err(|_| SpoolError::Closed)
    }

    /// Lets the engine answer a question from the index: again, if that has to be made anew first.
    pub(crate) async fn ask_index<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Engine) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        self.ask(move |engine| match question(engine) {
            Err(error) if engine.rebuild_if_damaged(&error) => question(engine),
            answer => answer,
        })
        .await?
    }

    pub(crate) async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, SpoolError>>) -> Request,
    ) -> Result<T, SpoolError> {
        let (sender, receiver) = oneshot::channel();
        self.shared.driver.send(self.shared.options.clock.now(), request(sender))?;
        receiver.await.map_err(|_| SpoolError::Closed)?
    }

    pub(crate) async fn prepare(&self, mail: Mail) -> Result<Prepared, SpoolError> {
        let fingerprint = fingerprint(&mail);
        self.prepare_with(mail, fingerprint).await
    }

    async fn prepare_with(&self, mail: Mail, fingerprint: String) -> Result<Prepared, SpoolError> {
        let shared = self.shared.clone();
        let now = shared.options.clock.now();
        let blocks = blocks(&mail, &shared.options) && !shared.driver.is_inline();
        let task = move || prepare(mail, fingerprint, now, &shared.options, &shared.disk);
        if !blocks {
            return task();
        }
        tokio::task::spawn_blocking(task).await.map_err(|_| SpoolError::Closed)?
    }
}

fn queued(id: MailId, recipients: usize) -> Receipt {
    let reply = Reply::with_status(250, Status::OK, format!("queued as {id}"));
    let answer = Answer::new(Status::OK, reply, None);
    Receipt::uniform(id, recipients, Outcome::Done(answer))
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl Service<Mail> for Spool {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// [Commits](Spool::commit) the mail.
    fn call(&mut self, mail: Mail) -> Self::Future {
        let spool = self.clone();
        Box::pin(async move { spool.commit(mail).await.map_err(|e| Refused::from(e).into()) })
    }
}
