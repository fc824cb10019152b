//! What mailman is made of.

use std::{
    fs::{self, Permissions},
    future::IntoFuture,
    io,
    os::unix::fs::PermissionsExt,
};

use hedwig_daemon::{
    AcceptingLayer, AttemptsLayer, Failure, HopLimitLayer, Metrics, Parts, ServiceManager, Stop,
    admin,
    control::{Control, serve_control},
    http_options, listen_unix, spool,
};
use hedwig_envelope::{BoxError, ChangeLayer, MailService, adding_received};
use hedwig_smtp::{ServerOptions, server::DecoySecret};
use hedwig_spool::{Courier, CourierOptions, CutThrough, Spool};
use hedwig_transport::Router;
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};

use crate::{
    Configuration, Senders, completing,
    counts::Counts,
    sendmail::{DropDirectories, PickUp, PickUpOptions},
    users::decoys,
};

/// Hands a mail to the postoffice, and logs what it says.
pub fn handing_over(configuration: &Configuration, metrics: &Metrics) -> impl MailService + use<> {
    ServiceBuilder::new()
        .layer(AttemptsLayer::new(metrics.clone()))
        .service(configuration.client.clone())
}

/// Takes a mail from a client, whatever the listener: hands it over while the client waits, or else queues it.
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
        .layer(ChangeLayer::new(completing(&configuration.mail_domain)))
        .layer(ChangeLayer::new(adding_received(configuration.hostname.as_str())))
        .service(CutThrough::new(postoffice, spool, configuration.within))
}

/// Takes a mail that a program has dropped. Nobody waits for the postoffice's word, so it is queued.
pub fn picking_up(
    configuration: &Configuration,
    metrics: &Metrics,
    spool: Spool,
) -> impl MailService + use<> {
    // Nobody is refused there, for nobody is there to be told.
    let domain = configuration.mail_domain.as_str().into();
    let senders = Senders { domain, ..Senders::default() };
    ServiceBuilder::new()
        .layer(AcceptingLayer::new(metrics.clone()))
        .layer(HopLimitLayer)
        .layer(ChangeLayer::new(senders.changing()))
        .layer(ChangeLayer::new(completing(&configuration.mail_domain)))
        .layer(ChangeLayer::new(adding_received(configuration.hostname.as_str())))
        .service(spool)
}

/// Runs mailman until it is told to stop.
pub(crate) async fn serve(
    configuration: Configuration,
    mut manager: ServiceManager,
    stop: Stop,
) -> Result<(), Failure> {
    let spool = open_spool(&configuration).await.map_err(Failure::try_again)?;
    let counts = Counts::default();
    let metrics = counts.metrics();
    let postoffice = handing_over(&configuration, &metrics);
    let mail = accepting(&configuration, &metrics, postoffice.clone(), spool.clone());
    let dropped = picking_up(&configuration, &metrics, spool.clone());
    let pick_up = pick_up(&configuration, dropped).map_err(Failure::try_again)?;
    let decoys = decoy_secret(&configuration).map_err(Failure::try_again)?;

    let mut parts = Parts::new(stop.clone());
    let control = Control::new(spool.clone());
    let directory = &configuration.spool.directory;
    let control = serve_control(directory, control, Router::new(), stop.requested());
    parts.start_sure("control socket", control.map_err(Failure::try_again)?);
    for listener in &configuration.listeners {
        let door = (&configuration.front_door, &decoys);
        let options = smtp_options(&configuration);
        let sockets = manager.listeners(&listener.name, &listener.tcp()).await;
        for socket in sockets? {
            let address = socket.local_addr().map_err(Failure::try_again)?;
            let socket = (socket, address.ip().is_loopback());
            let server = listener.serve(socket, door, options.clone(), &counts, mail.clone());
            let server = server.with_graceful_shutdown(stop.requested());
            parts.start("SMTP listener", server.into_future());
        }
        for path in listener.paths() {
            let socket = listen_unix(&listener.name, path, listener.mode.0);
            let (socket, remove) = socket?;
            let socket = (socket, true);
            let server = listener.serve(socket, door, options.clone(), &counts, mail.clone());
            let server = server.with_graceful_shutdown(stop.requested());
            parts.start("SMTP listener", async move {
                let served = server.await;
                drop(remove);
                served
            });
        }
    }
    let listeners = manager.listeners("admin", configuration.admin.as_slice()).await;
    for listener in listeners? {
        let routes = admin::routes(&spool, &metrics, configuration.admin_tokens.clone());
        let server = hedwig_transport::serve(listener, routes);
        let server = server.options(http_options(configuration.grace));
        let server = server.with_graceful_shutdown(stop.requested());
        parts.start_sure("admin listener", server.into_future());
    }
    parts.start_sure("pick-up of dropped mail", pick_up.run(stop.requested()));
    let courier = Courier::new(spool.clone(), postoffice, courier_options(&configuration));
    parts.start_sure("courier", courier.run(stop.requested()));

    let notices = manager.ready(&spool, &stop).map_err(Failure::configuration)?;
    let finished = parts.finish(configuration.grace).await;
    notices.end().await;
    spool.close().await;
    finished
}

/// What all listeners have in common.
fn smtp_options(configuration: &Configuration) -> ServerOptions {
    ServerOptions {
        hostname: configuration.hostname.to_string(),
        home_domain: Some(configuration.mail_domain.clone()),
        // To take it is to promise that no hop is in clear text, the next one included.
        require_tls: configuration.hop_is_secure,
        mt_priority: true,
        deliver_by: true,
        future_release: Some(configuration.hold_max).filter(|max| !max.is_zero()),
        connections_max: configuration.connections_max,
        connections_per_address_max: configuration.connections_per_client,
        content_memory_bytes: configuration.content_memory_bytes,
        shutdown_grace: configuration.grace,
        ..ServerOptions::default()
    }
}

/// One for all listeners and all runs. A disk that is full, say, is no reason to take no mail.
fn decoy_secret(configuration: &Configuration) -> io::Result<DecoySecret> {
    if configuration.front_door.users.is_none() {
        return DecoySecret::random();
    }
    decoys::kept(&configuration.spool.directory).or_else(|error| {
        tracing::warn!(
            %error,
            "who asks again after a restart can find out which users exist, for a secret cannot be kept"
        );
        DecoySecret::random()
    })
}

/// Opens the spool. When its directory is made for it, everybody may search it, for the drop is in it;
/// all else in there is for the daemon's eyes only.
async fn open_spool(configuration: &Configuration) -> Result<Spool, BoxError> {
    let directory = &configuration.spool.directory;
    let is_new = !directory.exists();
    let spool = spool::open(configuration.spool.clone()).await?;
    if is_new {
        fs::set_permissions(directory, Permissions::from_mode(0o711))?;
    }
    Ok(spool)
}

fn pick_up<S: MailService>(configuration: &Configuration, service: S) -> io::Result<PickUp<S>> {
    let directories = DropDirectories::of_spool(&configuration.spool.directory);
    directories.make()?;
    let options = PickUpOptions {
        content_bytes_max: configuration.content_bytes_max,
        ..PickUpOptions::default()
    };
    Ok(PickUp::new(directories, service, options))
}

fn courier_options(configuration: &Configuration) -> CourierOptions {
    let options = configuration.delivery.courier(&configuration.hostname);
    // There is one destination, so its limit is the limit.
    CourierOptions { concurrency_per_destination: options.concurrency, ..options }
}
