//! A host of a daemon: its disk, its clock, and its life from a start to the next crash.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use hedwig_envelope::{BoxError, Mail, MailId, MailService, Receipt, Timestamp};
use hedwig_spool::{
    Clock, Grouping, Spool, SpoolOptions,
    disk::{Fault, Kept, Operation, OperationKind, SimulatedDisk, Unflushed},
};
use jiff::SignedDuration;
use rustix::io::Errno;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tower::{Layer, Service};

use crate::{
    chronicle::Chronicle,
    network::{Card, Network, Node},
};

/// When a simulation begins.
const START_SECONDS: i64 = 1_795_000_000;

/// The clock of a host, which may be set.
#[derive(Clone, Debug)]
pub(crate) struct HostClock {
    base: Clock,
    ahead_milliseconds: Arc<AtomicI64>,
}

impl HostClock {
    pub(crate) fn new() -> Self {
        let start = Timestamp::from_second(START_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { base: Clock::of_tokio(start), ahead_milliseconds: Arc::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_milliseconds.load(Ordering::Relaxed));
        self.base.now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// Sets it so far before or behind the right time.
    pub(crate) fn set_ahead(&self, ahead: SignedDuration) {
        let milliseconds = i64::try_from(ahead.as_millis()).unwrap_or(0);
        self.ahead_milliseconds.store(milliseconds, Ordering::Relaxed);
    }
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskTrouble {
    /// Nothing more can be written.
    Full,
    /// The next flush fails, or the next append tears.
    Error,
    /// The power goes at this operation from now.
    PowerCut(u64),
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// SIGKILL: what was written is there.
    Kill,
    /// What was not flushed may be there, in part or not at all.
    PowerCut,
}

/// A host, alive or not.
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) clock: HostClock,
    network: Network,
    chronicle: Chronicle,
    disk: SimulatedDisk,
    life: Option<Life>,
    /// Told when the power goes in the middle of an operation.
    pub(crate) power_cut: Arc<Notify>,
    grouping: Grouping,
    /// Whether its disk is full, which it stays when the daemon ends.
    is_full: bool,
    /// Whether a power cut took something of what was not flushed.
    is_torn: bool,
}

struct Life {
    alive: watch::Sender<bool>,
    spool: Spool,
    /// Held because the tasks end with it.
    _tasks: JoinSet<()>,
}

/// What a daemon is started with.
pub(crate) struct Start {
    pub(crate) card: Card,
    pub(crate) spool: Spool,
    pub(crate) clock: HostClock,
}

impl Host {
    pub(crate) fn new(
        node: Node,
        grouping: Grouping,
        network: Network,
        chronicle: Chronicle,
    ) -> Self {
        Self {
            node,
            clock: HostClock::new(),
            network,
            chronicle,
            disk: SimulatedDisk::new(),
            life: None,
            power_cut: Arc::default(),
            grouping,
            is_full: false,
            is_torn: false,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.life.is_some()
    }

    /// Whether the daemon runs, and could go on: a dead one, and one whose power went, cannot.
    pub(crate) fn has_power(&self) -> bool {
        self.life.as_ref().is_some_and(|life| *life.alive.borrow())
    }

    /// How many damaged places its spool has set aside for which no power cut is to blame.
    pub(crate) fn quarantined(&self) -> u64 {
        self.spool().filter(|_| !self.is_torn).map_or(0, Spool::quarantined)
    }

    /// The spool of the daemon that runs.
    pub(crate) fn spool(&self) -> Option<&Spool> {
        self.life.as_ref().map(|life| &life.spool)
    }

    /// Starts the daemon; `false` when its spool cannot be opened.
    pub(crate) fn start(&mut self, compose: impl FnOnce(Start, &mut JoinSet<()>)) -> bool {
        let clock = self.clock.clone();
        let options = SpoolOptions {
            grouping: self.grouping,
            clock: Clock::new(move || clock.now()),
            // Longer than any simulation, so that all is told at the end.
            retention: Duration::from_hours(24 * 1000),
            attempts_kept_max: 10_000,
            // Little, so that segments come and go, and contents have files of their own.
            segment_bytes_max: 30_000,
            inline_content_bytes_max: 6000,
            cache_bytes_max: 20_000,
            // Enough for notes of some dozens of attempts at a time.
            reserve_bytes: 64 << 10,
            ..SpoolOptions::default()
        };
        let spool = match Spool::on_disk(Arc::new(self.disk.clone()), None, options) {
            Ok(spool) => spool,
            Err(error) => {
                self.chronicle.note(format_args!("{:?} cannot start: {error}", self.node));
                self.chronicle.count("starts that failed");
                return false;
            }
        };
        let (alive, living) = watch::channel(true);
        let card = Card::new(self.network.clone(), self.node, living);
        let mut tasks = JoinSet::new();
        let start = Start { card, spool: spool.clone(), clock: self.clock.clone() };
        compose(start, &mut tasks);
        self.chronicle.note(format_args!("{:?} starts", self.node));
        if spool.quarantined() > 0 {
            let names = self.disk.names();
            let aside: Vec<_> = names.iter().filter(|n| n.starts_with("quarantine")).collect();
            self.chronicle.note(format_args!("{:?}: set aside: {aside:?}", self.node));
            self.chronicle.count("starts with something set aside");
        }
        self.life = Some(Life { alive, spool, _tasks: tasks });
        self.chronicle.count("starts");
        true
    }

    /// Ends the daemon in the middle of whatever it does.
    pub(crate) fn crash(&mut self, crash: Crash, chance: &mut fastrand::Rng) {
        let Some(life) = self.life.take() else { return };
        self.chronicle.note(format_args!("{:?} ends: {crash:?}", self.node));
        life.alive.send_replace(false);
        self.network.unplug(self.node);
        // What the dead may still do, a task that nobody waits for, say, it does to this old disk.
        self.disk = match crash {
            Crash::Kill => self.disk.after_kill(),
            Crash::PowerCut => {
                let kept = chance.u8(..4);
                let part = chance.f64();
                let (chronicle, is_torn) = (self.chronicle.clone(), &mut self.is_torn);
                self.disk.after_power_cut(|unflushed| {
                    let kept = match (kept, unflushed) {
                        (0, _) => Kept::Nothing,
                        (2, Unflushed::Bytes(_, bytes)) => {
                            Kept::First((bytes as f64 * part) as usize)
                        }
                        // A later write may be there while an earlier one is not.
                        (3, _) if chance.f64() > part => Kept::Nothing,
                        _ => Kept::All,
                    };
                    *is_torn |= kept != Kept::All;
                    chronicle.count(match kept {
                        Kept::Nothing => "unflushed pieces lost in a power cut",
                        Kept::All => "unflushed pieces kept in a power cut",
                        _ => "unflushed pieces torn in a power cut",
                    });
                    kept
                })
            }
        };
        if self.is_full {
            self.trouble(DiskTrouble::Full);
        }
    }

    /// Lets something go wrong with the disk.
    pub(crate) fn trouble(&mut self, trouble: DiskTrouble) {
        self.is_full = trouble == DiskTrouble::Full;
        let (network, node, power_cut) =
            (self.network.clone(), self.node, Arc::clone(&self.power_cut));
        let alive = self.life.as_ref().map(|life| life.alive.clone());
        let chronicle = self.chronicle.clone();
        let mut operations = 0;
        self.disk.plan(move |operation: Operation<'_>| match trouble {
            DiskTrouble::Full => {
                // Others take at once what is given back.
                let grows = operation.room > 0 || operation.kind == OperationKind::Create;
                grows.then(|| {
                    chronicle.count("writes refused by a full disk");
                    Fault::Fail(Errno::NOSPC.raw_os_error())
                })
            }
            DiskTrouble::Error => {
                let once = operations == 0
                    && matches!(operation.kind, OperationKind::Append | OperationKind::Flush);
                operations += u64::from(once);
                let fault = if operation.kind == OperationKind::Append {
                    Fault::Tear(7, Errno::IO.raw_os_error())
                } else {
                    Fault::Fail(Errno::IO.raw_os_error())
                };
                once.then(|| {
                    chronicle.count("writes and flushes that failed");
                    fault
                })
            }
            DiskTrouble::PowerCut(at) => {
                operations += u64::from(operation.kind.changes());
                let goes = operations > at;
                if operations == at + 1 && operation.kind.changes() {
                    chronicle.count("power cuts in the middle of an operation");
                }
                goes.then(|| {
                    // Nobody hears of it.
                    if let Some(alive) = &alive {
                        alive.send_replace(false);
                    }
                    network.unplug(node);
                    power_cut.notify_one();
                    Fault::PowerCut
                })
            }
        });
    }

    /// Lets nothing more go wrong with the disk.
    pub(crate) fn heal(&mut self) {
        self.is_full = false;
        self.disk.heal();
    }
}

/// Gives each mail the time of its host's clock, and an id to match: the drivers that make them know only
/// the clock of the machine that the simulation runs on.
#[derive(Clone, Debug)]
pub(crate) struct StampLayer(pub(crate) HostClock);

impl<S> Layer<S> for StampLayer {
    type Service = Stamp<S>;

    fn layer(&self, inner: S) -> Stamp<S> {
        Stamp { inner, clock: self.0.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Stamp<S> {
    inner: S,
    clock: HostClock,
}

impl<S: MailService> Service<Mail> for Stamp<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut mail: Mail) -> Self::Future {
        let now = self.clock.now();
        mail.id = MailId::new(now, fastrand::u128(..));
        mail.origin.received_at = now;
        self.inner.call(mail)
    }
}
