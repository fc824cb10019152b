//! A relay of your own, from the same parts as the daemons: SMTP in, a durable queue, everything out to
//! one server, all in one process. A layer of its own sends a copy of every mail to an archive.
//!
//! ```sh
//! cargo run -p hedwig-examples --bin relay -- 127.0.0.1:2525 /tmp/spool smtp://127.0.0.1:1025 archive@example.org
//! ```

mod archive;

use std::{error::Error, future::IntoFuture, process::ExitCode};

use archive::ArchiveLayer;
use hedwig_envelope::{Address, ChangeLayer, adding_received};
use hedwig_mx::{Mx, MxOptions, Resolver};
use hedwig_smtp::{policy::loopback_only, serve};
use hedwig_spool::{Courier, CourierOptions, Spool, SpoolOptions};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

const HOSTNAME: &str = "relay.example.org";

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, spool, next, archive] = arguments.as_slice() else {
        eprintln!("usage: relay LISTEN SPOOL_DIR smtp://NEXT_SERVER:PORT ARCHIVE_ADDRESS");
        return Ok(ExitCode::from(64));
    };
    let archive: Address = archive.parse()?;
    // What a mail meets on its way in: one more recipient, a Received field, then the disk. Only then is 250 said.
    let spool = Spool::open(spool, SpoolOptions::default())?;
    let take = ServiceBuilder::new()
        .layer(ArchiveLayer::new(archive))
        .layer(ChangeLayer::new(adding_received(HOSTNAME)))
        .service(spool.clone());

    // And on its way out. The courier brings it there, as often as it takes.
    let options = MxOptions {
        hello_name: HOSTNAME.into(),
        routes: [format!("*={next}").parse()?].into_iter().collect(),
        ..MxOptions::default()
    };
    let deliver = Mx::new(Resolver::from_system()?, options);
    let courier = Courier::new(spool, deliver, CourierOptions::default());

    let listener = TcpListener::bind(listen).await?;
    println!("listening at {}", listener.local_addr()?);
    let server = serve(listener, loopback_only(), take).with_graceful_shutdown(interrupted());
    let (served, ()) = tokio::join!(server.into_future(), courier.run(interrupted()));
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without signals it runs until it is killed, which the queue survives.
        std::future::pending::<()>().await;
    }
}
