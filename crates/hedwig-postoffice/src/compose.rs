//! What the postoffice is made of.

use std::{future::IntoFuture, sync::Arc};

use hedwig_daemon::{
    AcceptingLayer, AttemptsLayer, Failure, HopLimitLayer, Metrics, Parts, ServiceManager, Stop,
    admin,
    control::{Control, EXPLAIN_PATH, Guard, serve_control},
    http_options, spool,
};
use hedwig_envelope::{BoxError, ChangeLayer, MailId, MailService, adding_received};
use hedwig_mx::{
    DkimLayer, TlsObserver,
    dkim::{KeyDirectory, KeyRing},
};
use hedwig_spool::{Courier, Spool};
use hedwig_transport::{MESSAGES_PATH, Router, messages};
use tokio::signal::unix::{SignalKind, signal};
use tower::{
    Layer, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer, service_fn,
};

use crate::{Configuration, SuppressionLayer, explain::Explainer, keys::keep_current, suppression};

/// Takes a mail: when this has answered, it is on stable storage.
pub fn accepting(
    configuration: &Configuration,
    metrics: &Metrics,
    spool: Spool,
) -> impl MailService + use<> {
    ServiceBuilder::new()
        .layer(AcceptingLayer::new(metrics.clone()))
        // Outside the limit: who finds it full is told 503 at once and does not wait in line.
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(configuration.listener.mails_max))
        .layer(HopLimitLayer)
        .layer(ChangeLayer::new(adding_received(configuration.hostname.as_str())))
        .service(spool)
}

/// Delivers a mail by this road, signed with these keys, and logs what is said of it.
pub fn delivering<S: MailService>(
    keys: KeyRing,
    metrics: &Metrics,
    road: S,
) -> impl MailService + use<S> {
    ServiceBuilder::new()
        .layer(AttemptsLayer::new(metrics.clone()))
        .layer(DkimLayer::new(keys))
        .service(road)
}

/// All that the listener answers: mails, what became of them, and what both daemons show.
pub fn routes(configuration: &Configuration, metrics: &Metrics, spool: &Spool) -> Router {
    let listener = &configuration.listener;
    let asked = spool.clone();
    let tracker = service_fn(move |id: MailId| {
        let spool = asked.clone();
        async move { spool.show(id).await.map_err(BoxError::from) }
    });
    let mail = accepting(configuration, metrics, spool.clone());
    admin::routes(spool, metrics, listener.admin_tokens.clone())
        .route(MESSAGES_PATH, messages(mail, tracker, listener.messages.clone()))
}

/// Runs the postoffice until it is told to stop.
pub(crate) async fn serve(
    configuration: Configuration,
    mut manager: ServiceManager,
    stop: Stop,
) -> Result<(), Failure> {
    let resolver = configuration.road.resolver().map_err(Failure::configuration)?;
    let asked = resolver.clone();
    // Whether DANE is on is in the log from the beginning, and nobody waits for it.
    tokio::spawn(async move { asked.dnssec().await });
    let directory = &configuration.spool.directory;
    let spool = spool::open(configuration.spool.clone()).await.map_err(Failure::try_again)?;
    let counts = configuration.tls_reports.open(directory).map_err(Failure::try_again)?;
    let observer = counts.clone().map(|counts| -> Arc<dyn TlsObserver> { counts });
    let mx = configuration.road.mx(resolver.clone(), observer);
    let metrics = Metrics::new();

    let mut parts = Parts::new(stop.clone());
    let keys = match &configuration.road.key_directory {
        None => KeyRing::default(),
        Some(path) => {
            let directory = KeyDirectory::open(path).map_err(Failure::configuration)?;
            let ring = directory.ring();
            let told = signal(SignalKind::hangup()).map_err(Failure::try_again)?;
            parts.start("DKIM keys", keep_current(directory, told, stop.requested()));
            ring
        }
    };
    if let Some(counts) = counts {
        let mails = accepting(&configuration, &metrics, spool.clone());
        let (road, stop) = (&configuration.road.mx, stop.requested());
        let reports = configuration.tls_reports.report(counts, resolver, road, mails, stop);
        if let Some(reports) = reports {
            parts.start_sure("TLS reports", reports);
        }
    }
    let list = suppression::open_or_do_without(directory).map_err(Failure::try_again)?;
    let suppression = SuppressionLayer::new(list.clone(), configuration.suppression);
    let explainer =
        Explainer::new(&configuration, spool.clone(), mx.clone(), keys.clone(), list, true)
            .service();
    let control = Control::new(spool.clone());
    let further = Router::new().route(EXPLAIN_PATH, explainer.clone());
    let control = serve_control(directory, control, further, stop.requested());
    parts.start_sure("control socket", control.map_err(Failure::try_again)?);

    let listeners = manager.listeners("http", &[configuration.listener.address]).await;
    for listener in listeners? {
        let address = listener.local_addr().map_err(Failure::try_again)?;
        configuration.listener.may_listen_at(address).map_err(Failure::configuration)?;
        let tokens = configuration.listener.admin_tokens.clone();
        let routes = routes(&configuration, &metrics, &spool)
            .route(EXPLAIN_PATH, Guard::new(explainer.clone(), tokens));
        let server = hedwig_transport::serve(listener, routes);
        let server = server.options(http_options(configuration.grace));
        let mut server = server.with_graceful_shutdown(stop.requested());
        if let Some(tls) = &configuration.listener.tls {
            server = server.tls(tls.clone());
        }
        parts.start_sure("HTTP listener", server.into_future());
    }

    let delivering = delivering(keys, &metrics, suppression.layer(mx.clone()));
    let options = configuration.delivery.courier(&configuration.hostname);
    let servers = mx.clone();
    let sharing = Arc::new(move |domain: &str| servers.servers_of(domain));
    let options = configuration.politeness.of(options, sharing);
    let courier = Courier::new(spool.clone(), delivering, options);
    parts.start_sure("courier", courier.run(stop.requested()));

    let notices = manager.ready(&spool, &stop).map_err(Failure::configuration)?;
    let finished = parts.finish(configuration.grace).await;
    mx.close().await;
    notices.end().await;
    spool.close().await;
    finished
}
