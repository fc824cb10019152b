//! A courier that runs, and a service whose answers the test gives.

use super::{at, mail, outcome, seconds};
use hedwig_envelope::{BoxError, Mail, MailId, MailService, Outcome, Receipt, Timestamp};
use hedwig_spool::{Clock, Courier, CourierOptions, Schedule, Spool, SpoolOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tower::service_fn;

/// A mail that came to a service, and the way to answer it.
pub(crate) type Call = (Mail, oneshot::Sender<Result<Outcome, BoxError>>);

/// A service whose answers the test gives, one outcome for all recipients.
pub(crate) fn asking() -> (impl MailService, mpsc::UnboundedReceiver<Call>) {
    let (calls, received) = mpsc::unbounded_channel();
    let service = service_fn(move |mail: Mail| {
        let calls = calls.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let (id, recipients) = (mail.id, mail.envelope.recipients.len());
            calls.send((mail, answer)).map_err(|_| "the test is over")?;
            Ok(Receipt::uniform(id, recipients, answered.await??))
        }
    });
    (service, received)
}

pub(crate) struct Running {
    pub(crate) spool: Spool,
    pub(crate) calls: mpsc::UnboundedReceiver<Call>,
    pub(crate) shutdown: oneshot::Sender<()>,
    pub(crate) courier: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(options: CourierOptions) -> Self {
        Self::by_clock(Clock::of_tokio(at(0)), options)
    }

    pub(crate) fn by_clock(clock: Clock, options: CourierOptions) -> Self {
        let spool = Spool::in_memory(SpoolOptions { clock, ..SpoolOptions::default() }).unwrap();
        let (service, calls) = asking();
        let (shutdown, stopped) = oneshot::channel();
        let courier = Courier::new(spool.clone(), service, options);
        let courier = tokio::spawn(courier.run(async { drop(stopped.await) }));
        Self { spool, calls, shutdown, courier }
    }

    /// With one mail, to one recipient.
    pub(crate) async fn with_a_mail(options: CourierOptions) -> Self {
        let running = Self::start(options);
        running.spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        running
    }

    pub(crate) async fn answer(&mut self, answer: Result<Outcome, BoxError>) -> Mail {
        let (mail, reply) = self.calls.recv().await.unwrap();
        reply.send(answer).unwrap();
        mail
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.spool.clock().now()
    }

    /// What is tried without time passing.
    pub(crate) async fn come(&mut self) -> Vec<Call> {
        self.settle().await;
        std::iter::from_fn(|| self.calls.try_recv().ok()).collect()
    }

    /// Lets everything happen that can without time passing.
    pub(crate) async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// Whatever is tried for a while, this mail is not.
    pub(crate) async fn assert_not_tried(&mut self, mail: MailId) {
        let calm = tokio::time::timeout(seconds(20 * 60), async {
            while let Some((other, _)) = self.calls.recv().await {
                assert_ne!(other.id, mail, "it is still being tried");
            }
        });
        assert!(calm.await.is_err());
    }

    pub(crate) async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.courier.await.unwrap();
    }
}

pub(crate) fn plain() -> CourierOptions {
    let schedule = Schedule { jitter: 0.0, ..Schedule::default() };
    CourierOptions { schedule, ..CourierOptions::default() }
}

pub(crate) fn ok() -> Result<Outcome, BoxError> {
    Ok(outcome(250, "Ok"))
}
