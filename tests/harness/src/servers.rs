//! The receiving servers of all domains, each at an address of its own, and the names that lead to them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hedwig_lab::{Dns, Fault, Result, loopback_address};
use hedwig_simulation::{
    evidence::HOME,
    names::DOMAINS,
    receivers::{HangUp, Receivers},
};
use hedwig_smtp::BoxStream;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

use crate::fragile::fragile;

/// They run until this is dropped.
pub(crate) struct Servers {
    pub(crate) dns: Dns,
    pub(crate) port: u16,
    _tasks: JoinSet<()>,
}

impl Servers {
    pub(crate) async fn start(receivers: &Receivers) -> Result<Self> {
        let dns = Dns::start().await?;
        let IpAddr::V4(base) = loopback_address() else { return Err("no IPv4 address".into()) };
        let (mut port, mut tasks) = (0, JoinSet::new());
        for (number, domain) in DOMAINS.iter().chain([&HOME]).enumerate() {
            let [a, b, c, _] = base.octets();
            let address = Ipv4Addr::new(a, b, c, u8::try_from(number)? + 1);
            let listener = TcpListener::bind(SocketAddr::from((address, port))).await?;
            port = listener.local_addr()?.port();
            dns.mail_domain(domain, address).await;
            let (receivers, at_home) = (receivers.clone(), *domain == HOME);
            tasks.spawn(serve(listener, receivers, at_home));
        }
        Ok(Self { dns, port, _tasks: tasks })
    }

    /// Lets DNS fail for all domains.
    pub(crate) fn break_names(&self, fault: Fault) {
        for domain in DOMAINS {
            self.dns.break_name(domain, fault);
        }
    }

    pub(crate) fn mend_names(&self) {
        for domain in DOMAINS {
            self.dns.mend_name(domain);
        }
    }
}

async fn serve(listener: TcpListener, receivers: Receivers, at_home: bool) {
    while let Ok((stream, client)) = listener.accept().await {
        let receivers = receivers.clone();
        tokio::spawn(async move {
            let end = Arc::new(Notify::new());
            let told = end.clone();
            let hang_up: HangUp = Arc::new(move || told.notify_one());
            let stream: BoxStream = match receivers.breaks_off_after() {
                Some(octets) => Box::new(fragile(stream, octets)),
                None => Box::new(stream),
            };
            tokio::select! {
                // Dropping the other one closes the connection before its reply is written.
                biased;
                () = end.notified() => {}
                () = receivers.serve(at_home, stream, client, hang_up) => {}
            }
        });
    }
}
