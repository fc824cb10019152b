//! What mailman is made of.

use std::{future::IntoFuture, net::SocketAddr};

use hedwig_daemon::{
    AcceptingLayer, AttemptsLayer, Failure, HopLimitLayer, Metrics, Parts, ServiceManager, Stop,
    admin,
    control::{Control, serve_control},
    spool,
};
use hedwig_envelope::{MailService, ReceivedLayer};
use hedwig_smtp::ServerOptions;
use hedwig_spool::{Courier, CourierOptions, CutThrough, Spool};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};

use crate::{Configuration, relay_policy};

/// Hands a mail to the postoffice, and logs what it says.
pub fn handing_over(configuration: &Configuration, metrics: &Metrics) -> impl MailService + use<> {
    ServiceBuilder::new()
        .layer(AttemptsLayer::new(metrics.clone()))
        .service(configuration.client.clone())
}

/// Takes a mail from a client: hands it over while the client waits, or else queues it.
pub fn accepting(
    configuration: &Configuration,
    metrics: &Metrics,
    postoffice: impl MailService,
    spool: Spool,
) -> impl MailService {
    ServiceBuilder::new()
        .layer(AcceptingLayer::new(metrics.clone()))
        // Outside the limit: who finds it full is told 451 at once and does not wait in line.
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(configuration.mails_max))
        .layer(HopLimitLayer)
        .layer(ReceivedLayer::new(configuration.hostname.as_str()))
        .service(CutThrough::new(postoffice, spool, configuration.within))
}

/// Runs mailman until it is told to stop.
pub(crate) async fn serve(
    configuration: Configuration,
    mut manager: ServiceManager,
    stop: Stop,
) -> Result<(), Failure> {
    let spool = spool::open(configuration.spool.clone()).await.map_err(Failure::try_again)?;
    let metrics = Metrics::new();
    let postoffice = handing_over(&configuration, &metrics);
    let mail = accepting(&configuration, &metrics, postoffice.clone(), spool.clone());
    let policy = relay_policy(configuration.relay_from.clone());

    let mut parts = Parts::new(stop.clone());
    let control = Control::new(spool.clone());
    let control = serve_control(&configuration.spool.directory, control, stop.requested());
    parts.start_sure("control socket", control.map_err(Failure::try_again)?);
    let listeners = manager.listeners("smtp", &configuration.listen).await;
    for listener in listeners.map_err(Failure::configuration)? {
        let address = listener.local_addr().map_err(Failure::try_again)?;
        let server = hedwig_smtp::serve(listener, policy.clone(), mail.clone())
            .options(smtp_options(&configuration, address))
            .with_graceful_shutdown(stop.requested());
        parts.start("SMTP listener", server.into_future());
    }
    let listeners = manager.listeners("admin", configuration.admin.as_slice()).await;
    for listener in listeners.map_err(Failure::configuration)? {
        let routes = admin::routes(&spool, &metrics, configuration.admin_tokens.clone());
        let server = hedwig_transport::serve(listener, routes);
        let server = server.with_graceful_shutdown(stop.requested());
        parts.start_sure("admin listener", server.into_future());
    }
    let courier = Courier::new(spool.clone(), postoffice, courier_options(&configuration));
    parts.start_sure("courier", courier.run(stop.requested()));

    let notices = manager.ready(&spool, &stop).map_err(Failure::configuration)?;
    let finished = parts.finish(configuration.grace).await;
    notices.end().await;
    spool.close().await;
    finished
}

fn smtp_options(configuration: &Configuration, address: SocketAddr) -> ServerOptions {
    ServerOptions {
        hostname: configuration.hostname.to_string(),
        content_bytes_max: configuration.content_bytes_max,
        line_endings: configuration.line_endings.at(address),
        shutdown_grace: configuration.grace,
        ..ServerOptions::default()
    }
}

fn courier_options(configuration: &Configuration) -> CourierOptions {
    let options = configuration.delivery.courier(&configuration.hostname);
    // There is one destination, so its limit is the limit.
    CourierOptions { concurrency_per_destination: options.concurrency, ..options }
}
