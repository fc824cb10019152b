//! Receiving servers that misbehave as a test tells them, and remember what they took.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};

use super::{conversation::converse, manners::Manners};

/// A mail as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: String,
    pub(crate) encrypted: bool,
    pub(crate) client: Option<IpAddr>,
    /// Counted from 1.
    pub(crate) connection: usize,
}

/// What a server has seen.
#[derive(Default)]
pub(super) struct Log {
    pub(super) taken: Vec<Taken>,
    pub(super) connections: usize,
    pub(super) commands: Vec<String>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(manners: Manners) -> Self {
        let [server] = Self::start_all([manners]).await;
        server
    }

    /// Servers at 127.0.0.1, 127.0.0.2 and so on, which share a port as mail exchangers do.
    pub(crate) async fn start_all<const N: usize>(manners: [Manners; N]) -> [Self; N] {
        let mut listeners = listen_all(N).await.into_iter();
        manners.map(|manners| {
            let listener = listeners.next().unwrap();
            let address = listener.local_addr().unwrap();
            let log = Arc::default();
            let served = serve(listener, manners, Arc::clone(&log));
            Self { address, log, task: tokio::spawn(served) }
        })
    }

    pub(crate) fn start_unix(path: &std::path::Path, manners: Manners) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let log: Arc<Mutex<Log>> = Arc::default();
        let shared = Arc::clone(&log);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, None, manners.clone(), Arc::clone(&shared)));
            }
        });
        Self { address: ([127, 0, 0, 1], 0).into(), log, task }
    }

    /// Ends it: nobody listens there any more.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // Its end is what was asked for.
        let _ = (&mut self.task).await;
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.log.lock().unwrap().taken.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    pub(crate) fn commands(&self, verb: &str) -> usize {
        self.command_lines(verb).len()
    }

    pub(crate) fn command_lines(&self, verb: &str) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.commands.iter().filter(|line| line.to_uppercase().starts_with(verb)).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listeners at consecutive loopback addresses on one port, which strangers may hold on some of them.
async fn listen_all(count: usize) -> Vec<TcpListener> {
    for _ in 0..32 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for last in 2..=count {
            let address = Ipv4Addr::new(127, 0, 0, u8::try_from(last).unwrap());
            match TcpListener::bind((address, port)).await {
                Ok(listener) => listeners.push(listener),
                Err(_) => break,
            }
        }
        if listeners.len() == count {
            return listeners;
        }
    }
    panic!("no port is free at {count} addresses");
}

async fn serve(listener: TcpListener, manners: Manners, log: Arc<Mutex<Log>>) {
    loop {
        let (stream, client) = listener.accept().await.unwrap();
        tokio::spawn(converse(stream, Some(client.ip()), manners.clone(), Arc::clone(&log)));
    }
}
