//! A receiving server that does what a test tells it.

use std::{
    future::{Ready, ready},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, Outcome, Receipt, Reply};
use hedwig_smtp::{
    Question, ServerOptions,
    policy::policy_fn,
    server::{LineEndings, serve},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tower::Service;

use crate::{LabError, PATIENCE, Result};

/// What a script sees of the dialogue; it answers, or says nothing to let it pass.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// A question before the content: connect, hello, sender, recipient, data.
    Question(&'a Question),
    /// A whole mail.
    Mail(&'a Mail),
}

impl Step<'_> {
    /// The recipient that is asked about, if this is such a question.
    #[must_use]
    pub fn recipient(&self) -> Option<&str> {
        match self {
            Self::Question(Question::Recipient { recipient, .. }) => {
                Some(recipient.address.as_str())
            }
            _ => None,
        }
    }
}

type Script = Box<dyn FnMut(&Step<'_>) -> Option<Reply> + Send>;

/// A server that keeps what it takes, and refuses what its script refuses.
///
/// It runs until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    mails: watch::Sender<Vec<Mail>>,
    count: watch::Sender<usize>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// A server that takes everything, on a port of its own at 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// A server that takes everything, at this address.
    ///
    /// # Errors
    /// When the address is in use.
    pub async fn start_at(address: SocketAddr) -> Result<Self> {
        Self::start_with(address, |options| options).await
    }

    /// A server at this address whose options `change` alters.
    ///
    /// # Errors
    /// When the address is in use.
    pub async fn start_with(
        address: SocketAddr,
        change: impl FnOnce(ServerOptions) -> ServerOptions,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|_| None)));
        let (mails, count) = (watch::Sender::new(Vec::new()), watch::Sender::new(0));
        let ask_script = Arc::clone(&script);
        let policy = policy_fn(move |question| {
            let answer = ask(&ask_script, &Step::Question(question));
            answer.unwrap_or_else(|| question.yes())
        });
        let keeper =
            Keeper { script: Arc::clone(&script), mails: mails.clone(), count: count.clone() };
        let options = ServerOptions {
            hostname: "receiver.lab.example".into(),
            content_bytes_max: 1 << 30,
            line_endings: LineEndings::Refuse,
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            ..ServerOptions::default()
        };
        let server = serve(listener, policy, keeper).options(change(options)).into_future();
        let server = tokio::spawn(async move {
            if let Err(error) = server.await {
                eprintln!("the lab's receiving server stopped: {error}");
            }
        });
        Ok(Self { address, script, mails, count, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this script answers, where it returns a reply; the rest is taken.
    pub fn script(&self, script: impl FnMut(&Step<'_>) -> Option<Reply> + Send + 'static) -> &Self {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
        self
    }

    /// From now on everything is taken.
    pub fn take_everything(&self) -> &Self {
        self.script(|_| None)
    }

    /// The mails it has taken.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.borrow().clone()
    }

    /// How many mails it has taken, from now on and before any of them is replied to.
    #[must_use]
    pub fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Waits until it has taken so many mails, and returns them.
    ///
    /// # Errors
    /// When it has not within [`PATIENCE`].
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Mail>> {
        let mut mails = self.mails.subscribe();
        match timeout(PATIENCE, mails.wait_for(|mails| mails.len() >= count)).await {
            Ok(mails) => Ok(mails?.clone()),
            Err(_) => {
                let taken = self.mails.borrow().len();
                Err(LabError::new(format!("{taken} mails arrived where {count} should")).into())
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Keeper {
    script: Arc<Mutex<Script>>,
    mails: watch::Sender<Vec<Mail>>,
    count: watch::Sender<usize>,
}

impl Service<Mail> for Keeper {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Ready<Result<Receipt, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let reply = ask(&self.script, &Step::Mail(&mail)).unwrap_or_else(|| {
            Reply::with_status(250, hedwig_envelope::Status::OK, format!("Taken as {}", mail.id))
        });
        let (id, recipients) = (mail.id, mail.envelope.recipients.len());
        if reply.is_success() {
            self.mails.send_modify(|mails| mails.push(mail));
            self.count.send_replace(self.mails.borrow().len());
        }
        ready(Ok(Receipt::uniform(id, recipients, Outcome::of_reply(reply, None))))
    }
}

fn ask(script: &Mutex<Script>, step: &Step<'_>) -> Option<Reply> {
    (script.lock().unwrap_or_else(PoisonError::into_inner))(step)
}

/// A server that lets everybody connect, counts them, and then hangs up without a word.
///
/// # Errors
/// When no port is free.
pub async fn hang_up_on_everybody(address: SocketAddr) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
        }
    });
    Ok((address, server))
}
