//! mailman, of its own parts.

use hedwig_daemon::{
    Metrics, configure,
    settings::{Settings, Sources},
};
use hedwig_envelope::ChangeLayer;
use hedwig_mailman::{Mailman, SCOPE, accepting, handing_over, relay_policy};
use hedwig_smtp::{ServerOptions, server::serve_connection};
use hedwig_spool::{Courier, CourierOptions};
use hedwig_transport::{Client, ClientOptions, client::DialledStream};
use tokio::task::JoinSet;
use tower::{Layer, service_fn, util::BoxCloneSyncService};

use crate::{
    host::{StampLayer, Start},
    network::Node,
    postoffice::HTTP_PORT,
};

pub(crate) const SMTP_PORT: u16 = 25;

/// Starts it: what `hedwig_mailman`'s own `serve` does, with connections in memory, and counts on.
pub(crate) fn compose(start: Start, metrics: &Metrics, tasks: &mut JoinSet<()>) {
    let Start { card, spool, clock } = start;
    let url = format!("http://{}", Node::Postoffice.address(HTTP_PORT));
    let environment = [
        ("CONFIG", "/dev/null"),
        ("SERVER_HOSTNAME", "mailman.example"),
        ("POSTOFFICE_URL", &url),
        ("SMTP_RELAY_FROM", "192.0.2.1"),
    ];
    let environment = environment
        .map(|(name, value)| (format!("{}_{name}", SCOPE.variable_prefix).into(), value.into()));
    let sources = Sources { environment: environment.into(), ..Sources::default() };
    let mut configuration = configure::<Mailman>(&Settings::gather(&SCOPE, sources))
        .expect("the simulation's settings are right")
        .configuration;
    let road = card.clone();
    let dialer = service_fn(move |uri: http::Uri| {
        let road = road.clone();
        async move {
            let address = uri.authority().ok_or("a URL has a host")?.as_str().parse()?;
            let stream = road.connect(address).await?;
            Ok(Box::new(stream) as Box<dyn DialledStream>)
        }
    });
    configuration.client = Client::new(ClientOptions {
        urls: vec![url],
        dialer: Some(BoxCloneSyncService::new(dialer)),
        ..ClientOptions::default()
    })
    .expect("the URL is right");

    let postoffice = handing_over(&configuration, metrics);
    let mail = accepting(&configuration, metrics, postoffice.clone(), spool.clone());
    let mail = StampLayer(clock).layer(mail);
    let rules = &configuration.listeners[0].rules;
    let mail = ChangeLayer::new(rules.senders.changing()).layer(mail);
    let policy = rules.senders.policy(relay_policy(rules.clients.clone(), || {}));
    let options = ServerOptions {
        hostname: configuration.hostname.to_string(),
        content_bytes_max: configuration.content_bytes_max,
        home_domain: Some(configuration.mail_domain.clone()),
        ..ServerOptions::default()
    };
    let mut incoming = card.listen(Node::Mailman.address(SMTP_PORT));
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(connection) = incoming.recv().await {
            let client = Some(connection.client);
            let (policy, mail) = (policy.clone(), mail.clone());
            let stream = connection.stream;
            connections.spawn(serve_connection(stream, client, policy, mail, options.clone()));
        }
    });
    let options = configuration.delivery.courier(&configuration.hostname);
    let options = CourierOptions { concurrency_per_destination: options.concurrency, ..options };
    tasks.spawn(Courier::new(spool, postoffice, options).run(std::future::pending()));
}
