//! What goes wrong, and when: drawn from the seed.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use tokio::time::{Instant, sleep_until};

use crate::{
    host::{Crash, DiskTrouble, Host},
    network::{Node, Weather},
    receivers::Moods,
    world::World,
};

/// How bad it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Severity {
    pub(crate) lasts: Duration,
    /// Between two events.
    pub(crate) pause_max: Duration,
    pub(crate) weather: Weather,
    pub(crate) moods: Moods,
    /// How far clocks are set at most.
    pub(crate) clock_milliseconds_max: i64,
}

impl Severity {
    pub(crate) fn draw(chance: &mut fastrand::Rng) -> Self {
        let one_in = |chance: &mut fastrand::Rng, of: u32| {
            if chance.u8(..4) == 0 { 0 } else { chance.u32(4..of) }
        };
        Self {
            lasts: Duration::from_secs(chance.u64(30..900)),
            pause_max: Duration::from_millis(chance.u64(500..60_000)),
            weather: Weather {
                latency_max: Duration::from_millis(chance.u64(1..50)),
                one_slow_in: one_in(chance, 400),
                one_broken_in: one_in(chance, 60),
            },
            moods: Moods { one_wrong_in: one_in(chance, 40), withhold_replies: true },
            // Less than the five days after which a mail is given up.
            clock_milliseconds_max: 1000 * 3600 * chance.i64(1..36),
        }
    }
}

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Mailman,
    Postoffice,
}

/// What is set right again after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Start(Half),
    Heal(Half),
    Mend(Node, Node),
    Names,
    Clock(Half),
}

/// Lets things go wrong until the time is over. What was broken then is not repaired.
pub(crate) struct Storm {
    chance: fastrand::Rng,
    severity: Severity,
    remedies: BTreeMap<(Instant, u32), Remedy>,
    count: u32,
}

impl Storm {
    pub(crate) fn new(chance: fastrand::Rng, severity: Severity) -> Self {
        Self { chance, severity, remedies: BTreeMap::new(), count: 0 }
    }

    pub(crate) async fn rage(mut self, world: &mut World) {
        let end = Instant::now() + self.severity.lasts;
        let mut next = Instant::now() + self.pause();
        while Instant::now() < end {
            let remedy = self.remedies.keys().next().map_or(end, |(due, _)| *due);
            let power_cuts = [&world.mailman, &world.postoffice].map(|h| h.power_cut.clone());
            tokio::select! {
                biased;
                () = power_cuts[0].notified() => self.crash(world, Half::Mailman, Crash::PowerCut).await,
                () = power_cuts[1].notified() => {
                    self.crash(world, Half::Postoffice, Crash::PowerCut).await;
                }
                () = sleep_until(remedy.min(next).min(end)) => {
                    self.repair(world);
                    if Instant::now() >= next {
                        self.strike(world).await;
                        next = Instant::now() + self.pause();
                    }
                }
            }
        }
    }

    async fn strike(&mut self, world: &mut World) {
        let half = if self.chance.bool() { Half::Mailman } else { Half::Postoffice };
        match self.chance.u8(..10) {
            0 => self.crash(world, half, Crash::Kill).await,
            1 => self.crash(world, half, Crash::PowerCut).await,
            2 => {
                self.crash(world, Half::Mailman, Crash::Kill).await;
                self.crash(world, Half::Postoffice, Crash::PowerCut).await;
            }
            3 | 4 => {
                let at = self.chance.u64(..12);
                self.trouble(world, half, DiskTrouble::PowerCut(at));
            }
            5 => self.trouble(world, half, DiskTrouble::Full),
            6 => self.trouble(world, half, DiskTrouble::Error),
            7 => {
                let receiver = Node::Receiver(self.chance.u8(..5));
                let cut = match self.chance.u8(..3) {
                    0 => (Node::Postoffice, receiver),
                    1 => (Node::Clients, Node::Mailman),
                    _ => (Node::Mailman, Node::Postoffice),
                };
                world.chronicle.note(format_args!("cut: {cut:?}"));
                world.chronicle.count(match cut.1 {
                    Node::Receiver(_) => "partitions: postoffice and a receiver",
                    Node::Mailman => "partitions: clients and mailman",
                    _ => "partitions: mailman and postoffice",
                });
                world.network.cut(cut.0, cut.1);
                self.later(Remedy::Mend(cut.0, cut.1));
            }
            8 => {
                world.chronicle.note("DNS is out of reach");
                world.chronicle.count("DNS out of reach");
                world.names.set_reachable(false);
                self.later(Remedy::Names);
            }
            _ => {
                let most = self.severity.clock_milliseconds_max;
                let ahead = SignedDuration::from_millis(self.chance.i64(-most..=most));
                let host = host(world, half);
                host.clock.set_ahead(ahead);
                let node = host.node;
                let forward = ahead.is_positive();
                world.chronicle.count(if forward {
                    "clocks set forward"
                } else {
                    "clocks set back"
                });
                world.chronicle.note(format_args!("{node:?}: the clock is set {ahead:?} ahead"));
                self.later(Remedy::Clock(half));
            }
        }
    }

    async fn crash(&mut self, world: &mut World, half: Half, crash: Crash) {
        if !host(world, half).is_alive() {
            return;
        }
        if half == Half::Postoffice && crash == Crash::PowerCut {
            world.note_what_the_power_cut_ends().await;
        }
        let host = host(world, half);
        host.crash(crash, &mut self.chance);
        match crash {
            Crash::Kill => world.chronicle.count("daemons killed"),
            Crash::PowerCut => world.chronicle.count("power cuts"),
        }
        self.later(Remedy::Start(half));
    }

    fn trouble(&mut self, world: &mut World, half: Half, trouble: DiskTrouble) {
        let host = host(world, half);
        if !host.is_alive() {
            return;
        }
        host.trouble(trouble);
        let node = host.node;
        world.chronicle.count("disks that begin to fill, fail or lose their power");
        world.chronicle.note(format_args!("{node:?}: disk trouble: {trouble:?}"));
        self.later(Remedy::Heal(half));
    }

    /// Does what is due.
    fn repair(&mut self, world: &mut World) {
        while let Some(entry) = self.remedies.first_entry() {
            if entry.key().0 > Instant::now() {
                return;
            }
            match entry.remove() {
                Remedy::Start(half) => {
                    if !world.start(matches!(half, Half::Mailman)) {
                        self.later(Remedy::Start(half));
                    }
                }
                Remedy::Heal(half) => host(world, half).heal(),
                Remedy::Mend(one, other) => {
                    world.chronicle.note(format_args!("mended: {:?}", (one, other)));
                    world.network.mend(one, other);
                }
                Remedy::Names => world.names.set_reachable(true),
                Remedy::Clock(half) => host(world, half).clock.set_ahead(SignedDuration::ZERO),
            }
        }
    }

    fn later(&mut self, remedy: Remedy) {
        self.count += 1;
        let due = Instant::now() + self.pause() * 2;
        self.remedies.insert((due, self.count), remedy);
    }

    fn pause(&mut self) -> Duration {
        self.severity.pause_max.mul_f64(self.chance.f64())
    }
}

fn host(world: &mut World, half: Half) -> &mut Host {
    match half {
        Half::Mailman => &mut world.mailman,
        Half::Postoffice => &mut world.postoffice,
    }
}
