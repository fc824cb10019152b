//! Carrying mails to a postoffice, a request at a time, for as long as any wait.

use std::sync::Arc;

use hedwig_envelope::Receipt;
use hedwig_smtp::batch::{self, BatchMail};

use super::{
    Shared,
    answer::Failure,
    queue::{Caller, Waiting},
};
use crate::body::Chunks;

pub(super) struct Carrier {
    shared: Arc<Shared>,
    retired: bool,
}

impl Carrier {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, retired: false }
    }

    pub(super) async fn run(mut self) {
        // Let those who call in the same breath come along.
        tokio::task::yield_now().await;
        loop {
            while let Some(batch) = self.shared.queue.take() {
                self.carry(batch).await;
            }
            if self.shared.queue.retire() {
                self.retired = true;
                return;
            }
        }
    }

    async fn carry(&self, batch: Vec<Waiting>) {
        let traceparent = common_traceparent(&batch);
        let (mails, callers): (Vec<BatchMail>, Vec<Caller>) =
            batch.into_iter().map(|waiting| (waiting.mail, waiting.caller)).unzip();
        match self.hand_over(&mails, traceparent.as_deref()).await {
            Err(failure) if failure.may_be_of_one_mail() && mails.len() > 1 => {
                self.carry_one_by_one(&mails, callers, traceparent.as_deref()).await;
            }
            result => self.tell(&mails, callers, result),
        }
    }

    /// One bad mail must not condemn the others: each goes for itself, for as long as somebody answers.
    async fn carry_one_by_one(
        &self,
        mails: &[BatchMail],
        callers: Vec<Caller>,
        traceparent: Option<&str>,
    ) {
        let mut unreachable = None;
        for (mail, caller) in mails.iter().zip(callers).filter(|(_, caller)| caller.is_there()) {
            let alone = std::slice::from_ref(mail);
            let result = match &unreachable {
                Some(failure) => Err(Failure::clone(failure)),
                None => self.hand_over(alone, traceparent).await,
            };
            if let Err(failure @ Failure::Unreachable(_)) = &result {
                unreachable = Some(failure.clone());
            }
            self.tell(alone, vec![caller], result);
        }
    }

    async fn hand_over(
        &self,
        mails: &[BatchMail],
        traceparent: Option<&str>,
    ) -> Result<Vec<Receipt>, Failure> {
        let chunks = Chunks::new(batch::encode(mails));
        self.shared.postoffices.hand_over(mails, chunks, traceparent).await
    }

    fn tell(
        &self,
        mails: &[BatchMail],
        callers: Vec<Caller>,
        result: Result<Vec<Receipt>, Failure>,
    ) {
        let results: Vec<_> = match result {
            Ok(receipts) => receipts.into_iter().map(Ok).collect(),
            Err(failure) => {
                let result = |(caller, mail): (&Caller, &BatchMail)| {
                    failure.result(caller.id, mail.envelope.recipients.len())
                };
                callers.iter().zip(mails).map(result).collect()
            }
        };
        for ((caller, mail), result) in callers.into_iter().zip(mails).zip(results) {
            let is_settled = result.is_ok();
            if caller.tell(result) && is_settled {
                self.shared.postoffices.told(mail);
            }
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if !self.retired {
            self.shared.queue.lose_carrier();
        }
    }
}

/// The trace that a request belongs to: that of its mails, unless they belong to several.
fn common_traceparent(batch: &[Waiting]) -> Option<String> {
    let mut traces = batch.iter().filter_map(|waiting| waiting.traceparent.as_ref());
    let first = traces.next()?;
    traces.all(|trace| trace == first).then(|| first.clone())
}
