//! A postoffice that a test plays: it gets each mail, and says what becomes of it.

use std::{future::ready, net::SocketAddr};

use hedwig_envelope::{
    BoxError, Mail, MailId, MailStatus, Outcome, Receipt, Refusal, Reply, Status,
};
use hedwig_transport::{MESSAGES_PATH, MessagesOptions, Router, messages, serve};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tower::service_fn;

/// A mail that waits for its answer.
pub(crate) struct Asked {
    pub(crate) mail: Mail,
    answer: oneshot::Sender<Result<Receipt, BoxError>>,
}

impl Asked {
    /// Takes the mail.
    pub(crate) fn accept(self) -> Mail {
        let outcome = Outcome::of_reply(Reply::with_status(250, Status::OK, "Kept"), None);
        let receipt = Receipt::uniform(self.mail.id, self.mail.envelope.recipients.len(), outcome);
        // Whoever asked may have gone.
        let _ = self.answer.send(Ok(receipt));
        self.mail
    }

    /// Refuses the mail.
    pub(crate) fn refuse(self, refusal: Refusal) {
        let _ = self.answer.send(Err(refusal.into()));
    }
}

pub(crate) struct FakePostoffice {
    pub(crate) address: SocketAddr,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl FakePostoffice {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ask, asked) = mpsc::unbounded_channel();
        let service = service_fn(move |mail: Mail| {
            let (answer, answered) = oneshot::channel();
            ask.send(Asked { mail, answer }).unwrap();
            async move { answered.await? }
        });
        let tracker = service_fn(|_: MailId| ready(Ok::<Option<MailStatus>, BoxError>(None)));
        let options = MessagesOptions { open: true, ..MessagesOptions::default() };
        let router = Router::new().route(MESSAGES_PATH, messages(service, tracker, options));
        tokio::spawn(serve(listener, router).into_future());
        Self { address, asked }
    }

    /// The next mail that is handed in.
    pub(crate) async fn next(&mut self) -> Asked {
        super::patiently(self.asked.recv()).await.unwrap()
    }
}
