use std::{
    future::Future,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, MailId, MailStatus, Outcome, Receipt, Timestamp};
use tower::Service;

use crate::{
    Claim, Claimed, Counts, Filter, Lease, Selection, SpoolError, SpoolOptions, error::Refused,
};

/// A durable queue of mails. A cheap handle: clones share the queue, which closes with the last.
#[derive(Clone, Debug)]
pub struct Spool {}

impl Spool {
    /// Opens the spool in this directory, and makes it if there is none.
    ///
    /// Blocks while it reads what the index does not know yet: open before you serve.
    pub fn open(directory: impl AsRef<Path>, options: SpoolOptions) -> Result<Self, SpoolError> {
        let _ = (directory, options);
        todo!()
    }

    /// A spool that forgets everything with its last handle: for tests, and for relays that answer
    /// only after the next server did.
    pub fn in_memory(options: SpoolOptions) -> Result<Self, SpoolError> {
        let _ = options;
        todo!()
    }

    /// Stores a mail. `Ok` means it is on stable storage.
    ///
    /// A mail whose idempotency key (or id) is known stands for the earlier one, whose id is returned.
    pub async fn commit(&self, mail: Mail) -> Result<Receipt, SpoolError> {
        let _ = mail;
        todo!()
    }

    /// Leases what is due at `now`.
    pub async fn claim(&self, now: Timestamp, claim: Claim) -> Result<Claimed, SpoolError> {
        let _ = (now, claim);
        todo!()
    }

    /// Makes a lease hold for another [`SpoolOptions::lease`], counted from `now`.
    pub async fn extend(&self, lease: &Lease, now: Timestamp) -> Result<(), SpoolError> {
        let _ = (lease, now);
        todo!()
    }

    /// Stores what became of a unit's recipients, in the order of the lease's mail, and the mails that
    /// follow from it, in one commit. What is deferred is due again at `next_due`; without one it is
    /// given up, and its state is expired.
    pub async fn finish(
        &self,
        lease: Lease,
        outcomes: Vec<Outcome>,
        next_due: Option<Timestamp>,
        follow_ups: Vec<Mail>,
    ) -> Result<(), SpoolError> {
        let _ = (lease, outcomes, next_due, follow_ups);
        todo!()
    }

    /// Gives a unit back untried: it is due as before.
    pub async fn give_back(&self, lease: Lease) -> Result<(), SpoolError> {
        let _ = lease;
        todo!()
    }

    /// How far a mail has come; `None` when it is not known (any more).
    pub async fn show(&self, id: MailId) -> Result<Option<MailStatus>, SpoolError> {
        let _ = id;
        todo!()
    }

    /// The mails that match, the oldest first.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<MailStatus>, SpoolError> {
        let _ = filter;
        todo!()
    }

    /// How many recipients are in each state.
    pub async fn counts(&self) -> Result<Counts, SpoolError> {
        todo!()
    }

    /// Makes the waiting due at once; what is held stays held. Returns how many recipients.
    pub async fn retry(&self, selection: &Selection) -> Result<u64, SpoolError> {
        let _ = selection;
        todo!()
    }

    /// Keeps recipients from being tried until they are released. Returns how many.
    pub async fn hold(&self, selection: &Selection) -> Result<u64, SpoolError> {
        let _ = selection;
        todo!()
    }

    /// Makes the held due at once. Returns how many recipients.
    pub async fn release(&self, selection: &Selection) -> Result<u64, SpoolError> {
        let _ = selection;
        todo!()
    }

    /// Gives recipients up: the courier lets them fail, and tells the sender. Returns how many.
    pub async fn fail(&self, selection: &Selection) -> Result<u64, SpoolError> {
        let _ = selection;
        todo!()
    }

    /// Removes recipients from the queue and tells nobody. Returns how many.
    pub async fn drop(&self, selection: &Selection) -> Result<u64, SpoolError> {
        let _ = selection;
        todo!()
    }

    /// How many damaged places were found in the log and set aside in `quarantine/`, since it was opened.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        todo!()
    }

    /// Waits until all that was asked is done, and closes the spool for every handle.
    pub async fn close(&self) {
        todo!()
    }
}

impl Service<Mail> for Spool {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// [Commits](Spool::commit) the mail: done for every recipient.
    fn call(&mut self, mail: Mail) -> Self::Future {
        let spool = self.clone();
        Box::pin(async move { spool.commit(mail).await.map_err(|e| Refused::from(e).into()) })
    }
}
