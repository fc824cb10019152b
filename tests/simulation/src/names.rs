//! DNS: a table, which may be out of reach.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hedwig_mx::{MxHost, Names, ResolveErrorKind};
use tokio::time::sleep;

use crate::network::Node;

/// The domains of recipients. The last has two servers, one of them for when the other is down.
pub const DOMAINS: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];
/// The servers: one for each domain, one more for the last, and one for the senders' own domain.
pub(crate) const RECEIVERS: [Node; 6] = [
    Node::Receiver(0),
    Node::Receiver(1),
    Node::Receiver(2),
    Node::Receiver(3),
    Node::Receiver(4),
    Node::Receiver(5),
];
/// The server of the senders' own domain.
pub(crate) const AT_HOME: Node = RECEIVERS[5];
/// How long a resolver waits for a name server.
const PATIENCE: Duration = Duration::from_secs(5);

/// All names there are. Clones are the same table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    out_of_reach: Arc<AtomicBool>,
}

impl Directory {
    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.out_of_reach.store(!reachable, Ordering::Relaxed);
    }

    async fn ask<T>(&self, answer: Option<T>) -> Result<T, ResolveErrorKind> {
        if self.out_of_reach.load(Ordering::Relaxed) {
            sleep(PATIENCE).await;
            return Err(ResolveErrorKind::Temporary);
        }
        sleep(Duration::from_millis(1)).await;
        answer.ok_or(ResolveErrorKind::NoSuchDomain)
    }
}

impl Names for Directory {
    fn mx<'a>(&'a self, domain: &'a str) -> Answer<'a, Vec<MxHost>> {
        let servers = servers(domain);
        let hosts = servers.iter().enumerate().map(|(place, number)| MxHost {
            preference: u16::try_from(place).unwrap_or(0) * 10,
            name: format!("mx{number}.example"),
        });
        let hosts: Vec<_> = hosts.collect();
        Box::pin(self.ask(Some(hosts).filter(|hosts| !hosts.is_empty())))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>> {
        let number = host.strip_prefix("mx").and_then(|rest| rest.strip_suffix(".example"));
        let number = number.and_then(|number| number.parse().ok());
        Box::pin(self.ask(number.map(|number| vec![Node::Receiver(number).address(25).ip()])))
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ResolveErrorKind>> + Send + 'a>>;

/// The numbers of a domain's servers, the preferred one first.
fn servers(domain: &str) -> &'static [u8] {
    match domain {
        "a.example" => &[0],
        "b.example" => &[1],
        "c.example" => &[2],
        "d.example" => &[3, 4],
        crate::evidence::HOME => &[5],
        _ => &[],
    }
}
