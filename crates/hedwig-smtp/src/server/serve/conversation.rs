//! One conversation: feeds the session, asks the policy, hands mails to the service.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use hedwig_envelope::{
    BoxError, Content, Envelope, Mail, MailId, MailService, Receipt, Reply, Timestamp, rescue,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, empty},
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tower::{Service, ServiceExt};

use super::{
    super::{Event, Session, replies, replies_for},
    allowance::{Allowance, Room},
    connection::{Driver, Tls, shake_hands},
    slots::Slot,
};
use crate::{Policy, Question, Session as _, sasl::Verdict, stream::BoxStream};

/// Room for commands: an idle connection has no more.
const COMMAND_BYTES: usize = 4 * 1024;
/// The most that is read at a time.
const READ_BYTES_MAX: usize = 256 * 1024;

/// A session with a client that is connected.
pub(super) struct Conversation<P, S> {
    driver: Driver<P, S>,
    session: Session,
    stream: BoxStream,
    client: Option<SocketAddr>,
    slot: Option<Slot>,
    input: BytesMut,
    output: BytesMut,
    allowance: Allowance,
    /// Failed authentications whose reply was held back long enough.
    failures_atoned: usize,
}

impl<P: Policy, S: MailService> Conversation<P, S> {
    pub(super) fn new(
        driver: Driver<P, S>,
        session: Session,
        stream: BoxStream,
        client: Option<SocketAddr>,
        slot: Option<Slot>,
    ) -> Self {
        let allowance = Allowance::new(driver.memory.clone(), &driver.options);
        let (input, output) = (BytesMut::new(), BytesMut::new());
        let failures_atoned = 0;
        Self { driver, session, stream, client, slot, input, output, allowance, failures_atoned }
    }

    /// Ends with the connection.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            self.session.receive(&mut self.input, now());
            match self.session.poll_event() {
                Some(Event::Question(question)) => {
                    let reply = self.ask(question).await;
                    self.session.reply(&reply).map_err(io::Error::other)?;
                }
                Some(Event::Mail { envelope, content }) => {
                    let replies = self.deliver(envelope, content).await;
                    self.allowance.give_back();
                    self.session.reply_each(&replies).map_err(io::Error::other)?;
                }
                Some(Event::Authenticate(claim)) => {
                    self.hold_back().await;
                    let verdict = match &self.driver.judge {
                        Some(judge) => judge.judge(&claim).await,
                        None => Verdict::Unavailable,
                    };
                    self.session.judge(verdict).map_err(io::Error::other)?;
                }
                Some(Event::StartTls) => self.start_tls().await?,
                Some(Event::Closed(reason)) => {
                    tracing::debug!(?reason, "connection closed");
                    self.flush().await?;
                    return self.stream.shutdown().await;
                }
                None => {
                    // All that a pipelining client has sent was answered: one write for all of it.
                    self.flush().await?;
                    if !self.wait().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for input, the time limit or the end; `false` when the client has gone.
    async fn wait(&mut self) -> io::Result<bool> {
        let incoming = self.session.incoming();
        let Some(room) = self.make_room().await else {
            self.session.run_out_of_memory().map_err(io::Error::other)?;
            return Ok(true);
        };
        self.input.reserve(room.expected);
        let limit = self.session.poll_timeout().map(Instant::from_std);
        let deadline = limit.unwrap_or_else(|| Instant::now() + self.driver.options.silence_max);
        let mut input = (&mut self.input).limit(room.bytes.min(READ_BYTES_MAX));
        let read = self.stream.read_buf(&mut input);
        let held = incoming.map_or(0, |incoming| incoming.held);
        tokio::select! {
            biased;
            () = stop_asked(&mut self.driver.stopped) => {
                self.session.shut_down();
                Ok(true)
            }
            read = timeout_at(deadline, read) => match read {
                Ok(read) => Ok(read? > 0),
                Err(_) => {
                    self.session.handle_timeout(now());
                    Ok(true)
                }
            },
            () = self.allowance.is_overdue(held) => {
                // At once, so that only as many are sent away as must be.
                self.allowance.give_back();
                self.session.end_as_too_slow();
                Ok(true)
            }
        }
    }

    /// How much may be read; `None` when there is no memory for more of the content at hand.
    async fn make_room(&mut self) -> Option<Room> {
        let wanted = self.session.bytes_wanted();
        match self.session.incoming() {
            Some(incoming) if wanted > 0 => return self.allowance.room(incoming).await,
            // Between two chunks, what has come is kept and a command is next.
            Some(_) => {}
            None => self.allowance.give_back(),
        }
        if self.input.is_empty() {
            // What a large mail needed is not kept for the next.
            self.input = BytesMut::new();
        }
        let bytes = wanted.clamp(COMMAND_BYTES, READ_BYTES_MAX);
        Some(Room { bytes, expected: bytes })
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.atone().await;
        while self.session.poll_transmit(&mut self.output) {}
        if self.output.is_empty() {
            return Ok(());
        }
        let limit = self.driver.options.silence_max;
        let stream = &mut self.stream;
        let output = &mut self.output;
        let write = async {
            stream.write_all_buf(output).await?;
            stream.flush().await
        };
        timeout(limit, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.output = BytesMut::new();
        Ok(())
    }

    /// Holds a refusal back, so that passwords cannot be tried quickly.
    async fn atone(&mut self) {
        let failures = self.session.authentication_failures();
        if failures == self.failures_atoned {
            return;
        }
        let address = self.session.peer().client.map(|client| client.ip());
        (self.failures_atoned..failures).for_each(|_| self.driver.failures.note(address));
        self.failures_atoned = failures;
        let client = self.session.peer().client.map(tracing::field::display);
        tracing::info!(client, failures, "authentication failed");
        let times = u32::try_from(failures).unwrap_or(u32::MAX);
        sleep(self.driver.options.authentication_failure_delay.saturating_mul(times)).await;
    }

    /// Lets a client wait for what went wrong on other connections from its address before it is heard: whoever
    /// connects anew for each password wins nothing by that.
    async fn hold_back(&mut self) {
        let address = self.session.peer().client.map(|client| client.ip());
        let of_late = address.map_or(0, |address| self.driver.failures.of_late(address));
        let here = u32::try_from(self.failures_atoned).unwrap_or(u32::MAX);
        let delay = self.driver.options.authentication_failure_delay;
        let delay = delay.saturating_mul(of_late.saturating_sub(here));
        if !delay.is_zero() {
            sleep(delay.min(self.driver.options.authentication_delay_max)).await;
        }
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        self.flush().await?;
        let Tls::OnRequest(acceptor) = self.driver.tls.clone() else {
            return Err(io::Error::other("STARTTLS was taken without being offered"));
        };
        let clear: BoxStream = std::mem::replace(&mut self.stream, Box::new(empty()));
        let within = self.driver.options.silence_max;
        let secure = shake_hands(&acceptor, clear, within).await?;
        self.stream = secure.stream;
        let started = self.session.tls_started(secure.description, &mut self.input, now());
        started.map_err(io::Error::other)?;
        secure.binding.into_iter().for_each(|binding| self.session.bind_channel(binding));
        Ok(())
    }

    async fn ask(&mut self, question: Question) -> Reply {
        if !self.counts_for(question.peer().client) {
            tracing::info!(
                client = self.client.map(tracing::field::display),
                "too many connections"
            );
            return replies::too_many_connections();
        }
        match call(&mut self.driver.policy, question).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::error!(error = %error, "the policy failed");
                rescue(&error).reply
            }
        }
    }

    /// From now on the connection counts for this client; `false` when that has as many as it may.
    fn counts_for(&mut self, client: Option<SocketAddr>) -> bool {
        if std::mem::replace(&mut self.client, client) == client {
            return true;
        }
        let slot = self.slot.as_mut().zip(client);
        slot.is_none_or(|(slot, client)| slot.pass_on(client.ip()))
    }

    async fn deliver(&mut self, envelope: Arc<Envelope>, content: Bytes) -> Vec<Reply> {
        let received_at = Timestamp::now();
        let recipients = envelope.recipients.len();
        let mail = Mail {
            id: MailId::new(received_at, fastrand::u128(..)),
            envelope: Arc::unwrap_or_clone(envelope),
            content: Content::new(content),
            origin: self.session.peer().origin(received_at),
        };
        let id = mail.id;
        match call(&mut self.driver.service, mail).await {
            Ok(receipt) => self.replies(receipt, recipients),
            Err(error) => {
                let reply = rescue(&error).reply;
                tracing::error!(%id, error = %error, %reply, "the mail was not taken");
                self.for_each(reply, recipients)
            }
        }
    }

    fn replies(&self, receipt: Receipt, recipients: usize) -> Vec<Reply> {
        let id = receipt.id;
        if receipt.outcomes.len() == recipients {
            let replies = replies_for(&receipt, self.driver.options.protocol);
            tracing::debug!(%id, recipients, reply = %replies[0], "mail received");
            return replies;
        }
        let error = "the service gave not one outcome for each recipient";
        tracing::error!(%id, recipients, outcomes = receipt.outcomes.len(), error);
        self.for_each(rescue(&error.into()).reply, recipients)
    }

    fn for_each(&self, reply: Reply, recipients: usize) -> Vec<Reply> {
        vec![reply; self.session.replies_due(recipients)]
    }
}

/// Readiness is awaited here, so that an error of it is rescued like one of the call.
async fn call<R, S>(service: &mut S, request: R) -> Result<S::Response, BoxError>
where
    S: Service<R, Error = BoxError>,
{
    service.ready().await?.call(request).await
}

/// Returns when a stop is asked for, and for that once only.
async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    if stopped.changed().await.is_err() {
        // The server itself is gone without asking: then it will drop this task too.
        std::future::pending::<()>().await;
    }
}

/// The runtime's clock, which tests may turn.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
