//! The postoffice, of its own parts.

use std::{
    collections::BTreeSet,
    future::IntoFuture,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use hedwig_daemon::{
    Metrics, configure,
    settings::{Settings, Sources},
};
use hedwig_envelope::{BoxError, ChangeLayer, Mail, MailId};
use hedwig_mx::{Mx, Resolver};
use hedwig_postoffice::{Postoffice, SCOPE, accepting, delivering};
use hedwig_smtp::BoxStream;
use hedwig_spool::Courier;
use hedwig_transport::{MESSAGES_PATH, Router, messages, server::Listener};
use tokio::{io::DuplexStream, sync::mpsc, task::JoinSet};
use tower::{Layer, service_fn, util::BoxCloneSyncService};

use crate::{
    chronicle::Chronicle,
    host::{StampLayer, Start},
    names::Directory,
    network::{Incoming, Node},
};

pub(crate) const HTTP_PORT: u16 = 8025;

/// Starts it: what `hedwig_postoffice`'s own `serve` does, with connections and names in memory.
pub(crate) fn compose(start: Start, names: Directory, handed_over: Keys, tasks: &mut JoinSet<()>) {
    let Start { card, spool, clock } = start;
    let environment = [
        ("CONFIG", "/dev/null"),
        ("SERVER_HOSTNAME", "postoffice.example"),
        ("HTTP_LISTEN", "127.0.0.1:8025"),
        ("MX_TLS", "never"),
        ("DNS_SERVER", "192.0.2.53"),
    ];
    let environment = environment
        .map(|(name, value)| (format!("{}_{name}", SCOPE.variable_prefix).into(), value.into()));
    let sources = Sources { environment: environment.into(), ..Sources::default() };
    let configuration = configure::<Postoffice>(&Settings::gather(&SCOPE, sources))
        .expect("the simulation's settings are right")
        .configuration;
    let road = card.clone();
    let dialer = service_fn(move |address: SocketAddr| {
        let road = road.clone();
        async move {
            let stream = road.connect(address).await?;
            Ok::<_, io::Error>(Box::new(stream) as BoxStream)
        }
    });
    let mut options = configuration.road.mx.clone();
    options.dialer = Some(BoxCloneSyncService::new(dialer));
    let resolver = Resolver::of_names(names).expect("a resolver without servers can be made");
    let mx = Mx::new(resolver, options);

    let metrics = Metrics::new();
    let mail = StampLayer(clock).layer(accepting(&configuration, &metrics, spool.clone()));
    let mail = ChangeLayer::new(move |mail: &mut Mail| handed_over.see(mail)).layer(mail);
    let asked = spool.clone();
    let tracker = service_fn(move |id: MailId| {
        let spool = asked.clone();
        async move { spool.show(id).await.map_err(BoxError::from) }
    });
    let messages = messages(mail, tracker, configuration.listener.messages.clone());
    let listener = Door(card.listen(Node::Postoffice.address(HTTP_PORT)));
    let routes = Router::new().route(MESSAGES_PATH, messages);
    tasks.spawn(hedwig_transport::serve(listener, routes).into_future());
    let options = configuration.delivery.courier(&configuration.hostname);
    let delivering = delivering(configuration.road.keys.clone().into(), &metrics, mx);
    tasks.spawn(Courier::new(spool, delivering, options).run(std::future::pending()));
}

/// The keys under which mails were handed over so far. Clones are the same.
#[derive(Clone)]
pub(crate) struct Keys {
    seen: Arc<Mutex<BTreeSet<String>>>,
    chronicle: Chronicle,
}

impl Keys {
    pub(crate) fn new(chronicle: Chronicle) -> Self {
        Self { seen: Arc::default(), chronicle }
    }

    /// Counts a mail whose key was there before: it was handed over once more.
    fn see(&self, mail: &Mail) {
        let Some(key) = &mail.origin.idempotency_key else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.insert(key.as_str().to_owned());
        self.chronicle.count(if is_new {
            "mails handed over for the first time"
        } else {
            "mails handed over once more"
        });
    }
}

/// Where requests come in.
struct Door(mpsc::UnboundedReceiver<Incoming>);

impl Listener for Door {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<SocketAddr>)> {
        match self.0.recv().await {
            Some(incoming) => Ok((incoming.stream, Some(incoming.client))),
            // Unplugged: nobody comes any more.
            None => std::future::pending().await,
        }
    }
}
