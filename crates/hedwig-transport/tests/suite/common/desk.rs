//! A mail service for tests.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use hedwig_envelope::{BoxError, Mail, Receipt};
use tokio::sync::oneshot;
use tower::Service;

use super::taken;

/// What a [`Desk`] does with the next mail.
pub type Plan =
    Box<dyn FnOnce(Mail) -> Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>> + Send>;

/// A mail service that remembers what it was given, and takes everything unless it was told otherwise.
#[derive(Clone, Default)]
pub struct Desk {
    pub mails: Arc<Mutex<Vec<Mail>>>,
    plans: Arc<Mutex<VecDeque<Plan>>>,
}

impl Desk {
    /// Does this with the next mail.
    pub fn next(&self, answer: impl FnOnce(&Mail) -> Result<Receipt, BoxError> + Send + 'static) {
        self.plan(move |mail| Box::pin(std::future::ready(answer(&mail))));
    }

    pub fn plan(
        &self,
        plan: impl FnOnce(Mail) -> Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>
        + Send
        + 'static,
    ) {
        self.plans.lock().unwrap().push_back(Box::new(plan));
    }

    /// Keeps the next mail back, until it is let go.
    pub fn hold_back(&self) -> HeldBack {
        let (come, has_come) = oneshot::channel();
        let (let_go, may_go) = oneshot::channel();
        self.plan(move |mail| {
            Box::pin(async move {
                // A test may have no ear for the one, and be done before the other.
                let _ = come.send(());
                let _ = may_go.await;
                taken(&mail)
            })
        });
        HeldBack { has_come, let_go }
    }

    pub fn count(&self) -> usize {
        self.mails.lock().unwrap().len()
    }

    pub fn only(&self) -> Mail {
        let mails = self.mails.lock().unwrap();
        assert_eq!(mails.len(), 1);
        mails[0].clone()
    }
}

impl Service<Mail> for Desk {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        self.mails.lock().unwrap().push(mail.clone());
        match self.plans.lock().unwrap().pop_front() {
            Some(plan) => plan(mail),
            None => Box::pin(std::future::ready(taken(&mail))),
        }
    }
}

/// A mail that a [`Desk`] does not answer yet.
pub struct HeldBack {
    has_come: oneshot::Receiver<()>,
    let_go: oneshot::Sender<()>,
}

impl HeldBack {
    /// Waits until the mail has come.
    pub async fn has_come(&mut self) {
        (&mut self.has_come).await.unwrap();
    }

    /// Lets the desk take it.
    pub fn let_go(self) {
        self.let_go.send(()).unwrap();
    }
}
