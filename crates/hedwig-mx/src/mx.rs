use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use hedwig_envelope::{
    BoxError, Envelope, Mail, Outcome, Receipt, Refusal, RefusalKind, Timestamp,
};
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

use crate::{
    MxOptions, Resolver, Target,
    connect::Connector,
    contacts::Contacts,
    deliver::Deliverer,
    destination::{Destination, Group, answer_all, groups},
    gates::{Gates, servers_of_target},
    maildir, name,
    pool::Pool,
    source::Places,
    sts::Policies,
    transaction::Transaction,
};

/// When a mail may come again that found all connections in use.
const CROWD_LASTS: Duration = Duration::from_secs(1);

/// Delivers mails: a [`MailService`](hedwig_envelope::MailService) that finds each recipient's server
/// and gives it the mail. A cheap handle; clones share their connections.
///
/// It never fails: whatever goes wrong is an outcome of the recipients that it concerns. Only
/// [`MxOptions::refuse_crowds`] lets it refuse a mail, untried.
#[derive(Clone, Debug)]
pub struct Mx {
    pub(crate) deliverer: Arc<Deliverer>,
    gates: Arc<Gates>,
}

impl Mx {
    /// A service that finds servers with `resolver`.
    #[must_use]
    pub fn new(resolver: Resolver, options: MxOptions) -> Self {
        let options = Arc::new(options);
        let names = options.own_names.iter().chain([&options.hello_name]);
        let names = names.chain(options.sources.iter().filter_map(|it| it.hello_name.as_ref()));
        let own_names = names.filter_map(|own| name::to_ascii(own)).map(|own| own.into_owned());
        let deliverer = Deliverer {
            resolver,
            own_names: own_names.collect(),
            connector: Connector::new(options.clone()),
            contacts: Contacts::default(),
            pool: Arc::new(Pool::new(&options)),
            source_places: Places::of(&options.sources),
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

    /// Which servers the mail of a domain goes to, as a name that domains with the same ones share; `None`
    /// when nothing was sent there yet, or none is asked.
    #[must_use]
    pub fn servers_of(&self, domain: &str) -> Option<Arc<str>> {
        let domain = name::to_ascii(domain)?;
        let target = self.deliverer.options.routes.target(&domain);
        match target {
            Target::Mx => self.gates.servers_of(&domain),
            other => servers_of_target(other).map(Arc::from),
        }
    }

    /// How many connections to a destination's servers are in use, and how many may be.
    pub(crate) fn connections(&self, destination: &Destination) -> (usize, usize) {
        let places = self.deliverer.options.connections_per_destination_max.max(1);
        (self.gates.in_use(destination, places), places)
    }

    async fn deliver(self, mail: Mail) -> Result<Receipt, Refusal> {
        let options = &self.deliverer.options;
        let mut groups = groups(&mail.envelope, &options.routes);
        let outcomes = if groups.len() == 1 {
            let permit = self.enter(&groups[0].destination, options.refuse_crowds).await?;
            self.deliver_group(&mail, groups.remove(0), permit).await.1
        } else {
            let at_once = options.concurrent_destinations_max.max(1);
            let work = groups.into_iter().map(async |group| {
                // Some of its recipients may have been tried by now, so it is not refused.
                let permit = self.enter(&group.destination, false).await.ok().flatten();
                self.deliver_group(&mail, group, permit).await
            });
            let done = stream::iter(work).buffer_unordered(at_once).collect::<Vec<_>>().await;
            in_order(done, mail.envelope.recipients.len())
        };
        Ok(Receipt { id: mail.id, outcomes })
    }

    /// Takes a place at the destination's servers, if it needs one.
    async fn enter(
        &self,
        destination: &Destination,
        refuse_crowds: bool,
    ) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        if let Destination::Answer(_) = destination {
            return Ok(None);
        }
        let places = self.deliverer.options.connections_per_destination_max.max(1);
        let gate = self.gates.of(destination, &self.deliverer.resolver, places).await;
        let Deliverer { source_places, options, .. } = self.deliverer.as_ref();
        let leaves = matches!(
            destination,
            Destination::Mx(_) | Destination::Literal(_) | Destination::Host { .. }
        );
        if refuse_crowds && leaves && source_places.are_taken(&options.sources) {
            let text = "All source addresses have as much mail under way as they may";
            return Err(Refusal::new(RefusalKind::TooMany, text).retry_after(CROWD_LASTS));
        }
        if !refuse_crowds {
            return Ok(Gates::pass(gate).await);
        }
        gate.try_acquire_owned().map(Some).map_err(|_| {
            let text = "All connections to that destination are in use";
            Refusal::new(RefusalKind::TooMany, text).retry_after(CROWD_LASTS)
        })
    }

    /// The outcomes of a group's recipients, with their places in the envelope.
    async fn deliver_group(
        &self,
        mail: &Mail,
        group: Group,
        _permit: Option<OwnedSemaphorePermit>,
    ) -> (Vec<usize>, Vec<Outcome>) {
        let Group { destination, recipients } = group;
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
            Destination::Host { host, port, scheme } => {
                deliverer.to_host(host, *port, *scheme, transaction()).await
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
        Box::pin(async move { Ok(mx.deliver(mail).await?) })
    }
}
