use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream};
use hedwig_envelope::{BoxError, Envelope, Mail, Outcome, Receipt, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use crate::{
    MxOptions, Resolver,
    connect::Connector,
    deliver::Deliverer,
    destination::{Destination, Group, answer_all, groups},
    maildir, name,
    pool::Pool,
    sts::Policies,
    transaction::Transaction,
};

/// Delivers mails: a [`MailService`](hedwig_envelope::MailService) that finds each recipient's server
/// and gives it the mail. A cheap handle; clones share their connections.
///
/// It never fails: whatever goes wrong is an outcome of the recipients that it concerns.
#[derive(Clone, Debug)]
pub struct Mx {
    deliverer: Arc<Deliverer>,
    gates: Arc<Gates>,
}

impl Mx {
    /// A service that finds servers with `resolver`.
    #[must_use]
    pub fn new(resolver: Resolver, options: MxOptions) -> Self {
        let options = Arc::new(options);
        let names = options.own_names.iter().chain([&options.hello_name]);
        let own_names = names.filter_map(|own| name::to_ascii(own)).map(|own| own.into_owned());
        let deliverer = Deliverer {
            resolver,
            own_names: own_names.collect(),
            connector: Connector::new(options.clone()),
            pool: Arc::new(Pool::new(&options)),
            policies: options.mta_sts.clone().map(Policies::new),
            options,
        };
        Self { deliverer: Arc::new(deliverer), gates: Arc::default() }
    }

    /// Says QUIT on all connections that wait for their next mail.
    pub async fn close(&self) {
        self.deliverer.pool.close().await;
    }

    /// How many connections wait for their next mail.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.deliverer.pool.len()
    }

    /// How many mails went over a connection that was there already.
    #[must_use]
    pub fn reused_connections(&self) -> u64 {
        self.deliverer.pool.reused()
    }

    async fn deliver(self, mail: Mail) -> Receipt {
        let options = &self.deliverer.options;
        let mut groups = groups(&mail.envelope, &options.routes);
        let outcomes = if groups.len() == 1 {
            self.deliver_group(&mail, groups.remove(0)).await.1
        } else {
            let at_once = options.concurrent_destinations_max.max(1);
            let work = groups.into_iter().map(|group| self.deliver_group(&mail, group));
            let done = stream::iter(work).buffer_unordered(at_once).collect::<Vec<_>>().await;
            in_order(done, mail.envelope.recipients.len())
        };
        Receipt { id: mail.id, outcomes }
    }

    /// The outcomes of a group's recipients, with their places in the envelope.
    async fn deliver_group(&self, mail: &Mail, group: Group) -> (Vec<usize>, Vec<Outcome>) {
        let Group { destination, recipients } = group;
        let _permit = match destination {
            Destination::Answer(_) => None,
            _ => self.gates.pass(&destination, &self.deliverer.options).await,
        };
        let mut envelope = Envelope {
            sender: mail.envelope.sender.clone(),
            parameters: mail.envelope.parameters.clone(),
            recipients: recipients.iter().map(|&i| mail.envelope.recipients[i].clone()).collect(),
        };
        envelope.parameters.pass_on(mail.origin.received_at, Timestamp::now());
        let deliverer = &self.deliverer;
        let transaction = || Transaction::new(envelope, mail.content.clone(), &deliverer.options);
        let outcomes = match &destination {
            Destination::Answer(reply) => answer_all(reply, recipients.len()),
            Destination::Maildir(path) => {
                maildir::deliver(path, mail, recipients.len(), &deliverer.options.hello_name).await
            }
            Destination::Mx(domain) => deliverer.to_mx(domain, transaction()).await,
            Destination::Literal(address) => deliverer.to_literal(*address, transaction()).await,
            Destination::LmtpUnix(path) => deliverer.to_unix(path, transaction()).await,
            Destination::Host { host, port, lmtp } => {
                deliverer.to_host(host, *port, *lmtp, transaction()).await
            }
        };
        (recipients, outcomes)
    }
}

fn in_order(groups: Vec<(Vec<usize>, Vec<Outcome>)>, recipients: usize) -> Vec<Outcome> {
    let pairs = groups.into_iter().flat_map(|(places, outcomes)| places.into_iter().zip(outcomes));
    let mut placed: Vec<(usize, Outcome)> = Vec::with_capacity(recipients);
    placed.extend(pairs);
    placed.sort_unstable_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, outcome)| outcome).collect()
}

impl Service<Mail> for Mx {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let mx = self.clone();
        Box::pin(async move { Ok(mx.deliver(mail).await) })
    }
}

/// Holds the number of transactions with each destination down.
#[derive(Debug, Default)]
struct Gates(Mutex<HashMap<Destination, Weak<Semaphore>>>);

/// From this many gates on, those that nobody uses are cleared away.
const GATES_KEPT: usize = 256;

impl Gates {
    /// Waits for a place; it is given back when the permit is dropped.
    async fn pass(
        &self,
        destination: &Destination,
        options: &MxOptions,
    ) -> Option<OwnedSemaphorePermit> {
        let gate = self.gate(destination, options.connections_per_destination_max.max(1));
        // A gate is never closed.
        gate.acquire_owned().await.ok()
    }

    fn gate(&self, destination: &Destination, places: usize) -> Arc<Semaphore> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(destination).and_then(Weak::upgrade) {
            return gate;
        }
        if gates.len() >= GATES_KEPT && gates.len() == gates.capacity() {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::new(Semaphore::new(places));
        gates.insert(destination.clone(), Arc::downgrade(&gate));
        gate
    }
}
