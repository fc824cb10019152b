//! A network in memory: connections that take time, break off, and lead nowhere while it is cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
    time::sleep,
};

use crate::chronicle::Chronicle;

/// What fits into a connection before its reader takes some, in bytes: little, so that a connection breaks
/// in the middle of a mail.
const WINDOW_BYTES: usize = 4096;
/// How long it takes until a connection to nowhere is given up.
const CONNECT_TIME_MAX: Duration = Duration::from_mins(2);

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Clients,
    Mailman,
    Postoffice,
    Receiver(u8),
}

impl Node {
    pub(crate) fn address(self, port: u16) -> SocketAddr {
        let last = match self {
            Self::Clients => 1,
            Self::Mailman => 2,
            Self::Postoffice => 3,
            Self::Receiver(number) => 10 + number,
        };
        ([192, 0, 2, last], port).into()
    }

    fn at(address: SocketAddr) -> Option<Self> {
        let std::net::IpAddr::V4(ip) = address.ip() else { return None };
        Some(match ip.octets()[3] {
            1 => Self::Clients,
            2 => Self::Mailman,
            3 => Self::Postoffice,
            number => Self::Receiver(number.checked_sub(10)?),
        })
    }
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Most pieces take up to so long.
    pub(crate) latency_max: Duration,
    /// One piece in so many takes up to a thousand times as long; 0 is never.
    pub(crate) one_slow_in: u32,
    /// One connection in so many breaks off after a few pieces; 0 is never.
    pub(crate) one_broken_in: u32,
}

impl Weather {
    pub(crate) const FAIR: Self =
        Self { latency_max: Duration::from_millis(2), one_slow_in: 0, one_broken_in: 0 };
}

impl Weather {
    fn latency(self, chance: &mut fastrand::Rng) -> Duration {
        let latency = self.latency_max.mul_f64(chance.f64());
        let is_slow = self.one_slow_in > 0 && chance.u32(..self.one_slow_in) == 0;
        if is_slow { latency * 1000 } else { latency }
    }
}

/// A cheap handle; clones are the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    chronicle: Chronicle,
    /// Told when a cut is mended. (A `watch` wakes those who wait in random order.)
    mended: Notify,
}

struct State {
    chance: fastrand::Rng,
    weather: Weather,
    listeners: BTreeMap<SocketAddr, mpsc::UnboundedSender<Incoming>>,
    cut: BTreeSet<(Node, Node)>,
    links: BTreeMap<u64, Link>,
    links_made: u64,
}

/// The two directions of a connection.
struct Link {
    ends: [Node; 2],
    directions: [AbortHandle; 2],
}

/// A connection that comes in.
pub(crate) struct Incoming {
    pub(crate) stream: DuplexStream,
    pub(crate) client: SocketAddr,
    pub(crate) breaker: Breaker,
}

/// Breaks one connection.
#[derive(Clone)]
pub(crate) struct Breaker {
    network: Network,
    link: u64,
}

impl Breaker {
    pub(crate) fn break_off(&self) {
        self.network.break_link(self.link);
    }
}

impl Network {
    pub(crate) fn new(chance: fastrand::Rng, weather: Weather, chronicle: Chronicle) -> Self {
        let state = State {
            chance,
            weather,
            listeners: BTreeMap::new(),
            cut: BTreeSet::new(),
            links: BTreeMap::new(),
            links_made: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), chronicle, mended: Notify::new() }))
    }

    /// Lets others connect to an address, in the place of whoever listened there before.
    pub(crate) fn listen(&self, address: SocketAddr) -> mpsc::UnboundedReceiver<Incoming> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.insert(address, sender);
        receiver
    }

    pub(crate) async fn connect(&self, from: Node, to: SocketAddr) -> io::Result<DuplexStream> {
        let latency = {
            let state = &mut *self.lock();
            state.weather.latency(&mut state.chance)
        };
        sleep(latency).await;
        let host = Node::at(to).ok_or(io::ErrorKind::NetworkUnreachable)?;
        if self.lock().is_cut(from, host) {
            sleep(CONNECT_TIME_MAX).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let listener = self.lock().listeners.get(&to).cloned();
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (here, near) = duplex(WINDOW_BYTES);
        let (there, far) = duplex(WINDOW_BYTES);
        let link = self.link([from, host], near, far);
        self.0.chronicle.count("connections");
        let breaker = Breaker { network: self.clone(), link };
        let port = 1024 + u16::try_from(link % 60_000).unwrap_or(0);
        let incoming = Incoming { stream: there, client: from.address(port), breaker };
        listener.send(incoming).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(here)
    }

    fn link(&self, ends: [Node; 2], near: DuplexStream, far: DuplexStream) -> u64 {
        let (near_reader, near_writer) = split(near);
        let (far_reader, far_writer) = split(far);
        let mut state = self.lock();
        state.links_made += 1;
        let link = state.links_made;
        let fate = state.fate();
        // Each has a chance of its own, so that it does not matter which of two is asked first.
        let chances = [state.chance.fork(), state.chance.fork()];
        let [one, other] = chances;
        let later = fate.map(|pieces| pieces * 2);
        let there = self.carry((link, ends), one, later, near_reader, far_writer);
        let back = self.carry((link, ends), other, fate, far_reader, near_writer);
        state.links.insert(link, Link { ends, directions: [there, back] });
        link
    }

    /// Carries one direction, until its writer is done, the link is broken, or its fate has come.
    fn carry(
        &self,
        (link, ends): (u64, [Node; 2]),
        mut chance: fastrand::Rng,
        mut pieces_left: Option<u32>,
        mut reader: ReadHalf<DuplexStream>,
        mut writer: WriteHalf<DuplexStream>,
    ) -> AbortHandle {
        let network = self.clone();
        let task = tokio::spawn(async move {
            let mut piece = vec![0; WINDOW_BYTES];
            while let Ok(length @ 1..) = reader.read(&mut piece).await {
                let weather = network.lock().weather;
                let latency = weather.latency(&mut chance);
                if latency > weather.latency_max {
                    network.0.chronicle.count("pieces delayed up to a thousand times as long");
                }
                sleep(latency).await;
                network.while_cut(ends).await;
                if pieces_left == Some(0) {
                    network.0.chronicle.note(format_args!("link {link} {ends:?} breaks off"));
                    network.0.chronicle.count("connections that broke off in the middle");
                    network.break_link(link);
                    return;
                }
                pieces_left = pieces_left.map(|left| left - 1);
                if writer.write_all(&piece[..length]).await.is_err() {
                    break;
                }
            }
            // Whoever reads there is told; if nobody does, nobody need be.
            let _ = writer.shutdown().await;
        });
        task.abort_handle()
    }

    /// Waits while nothing gets through between two hosts.
    async fn while_cut(&self, [one, other]: [Node; 2]) {
        while self.lock().is_cut(one, other) {
            self.0.mended.notified().await;
        }
    }

    fn break_link(&self, link: u64) {
        let link = self.lock().links.remove(&link);
        if let Some(Link { directions, .. }) = link {
            directions.iter().for_each(AbortHandle::abort);
        }
    }

    /// A host is gone: its connections break, and nobody listens there.
    pub(crate) fn unplug(&self, node: Node) {
        let mut state = self.lock();
        state.listeners.retain(|address, _| Node::at(*address) != Some(node));
        let ended = state.links.extract_if(.., |_, link| link.ends.contains(&node));
        for (_, link) in ended {
            link.directions.iter().for_each(AbortHandle::abort);
        }
    }

    /// Nothing gets through between two hosts from now on.
    pub(crate) fn cut(&self, one: Node, other: Node) {
        self.lock().cut.insert(ordered(one, other));
    }

    /// It does again: connections that were cut in the middle go on.
    pub(crate) fn mend(&self, one: Node, other: Node) {
        self.lock().cut.remove(&ordered(one, other));
        self.0.mended.notify_waiters();
    }

    /// Nothing goes wrong any more.
    pub(crate) fn clear_up(&self) {
        let mut state = self.lock();
        state.cut.clear();
        state.weather = Weather::FAIR;
        drop(state);
        self.0.mended.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_cut(&self, one: Node, other: Node) -> bool {
        self.cut.contains(&ordered(one, other))
    }

    /// After how many pieces a new link breaks off, if it does.
    fn fate(&mut self) -> Option<u32> {
        let Weather { one_broken_in, .. } = self.weather;
        let breaks = one_broken_in > 0 && self.chance.u32(..one_broken_in) == 0;
        breaks.then(|| self.chance.u32(..8))
    }
}

fn ordered(one: Node, other: Node) -> (Node, Node) {
    (one.min(other), one.max(other))
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("links", &self.lock().links.len()).finish_non_exhaustive()
    }
}

/// A host's way into the network, for as long as the host lives.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    network: Network,
    node: Node,
    alive: watch::Receiver<bool>,
}

impl Card {
    pub(crate) fn new(network: Network, node: Node, alive: watch::Receiver<bool>) -> Self {
        Self { network, node, alive }
    }

    /// A connection; none for a dead host, nor one that dies meanwhile.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<DuplexStream> {
        let is_alive = || *self.alive.borrow();
        if !is_alive() {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let stream = self.network.connect(self.node, to).await?;
        if is_alive() { Ok(stream) } else { Err(io::ErrorKind::NetworkDown.into()) }
    }

    pub(crate) fn listen(&self, address: SocketAddr) -> mpsc::UnboundedReceiver<Incoming> {
        self.network.listen(address)
    }
}
