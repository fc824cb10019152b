//! Round after round of troubles, and the account at the end.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use hedwig_envelope::{Address, MailStatus};
use hedwig_lab::{Fault, Half, Program, Result};
use hedwig_simulation::{
    chronicle::Chronicle,
    evidence::{Evidence, sender_of},
    promise::{self, Breach},
    receivers::{Moods, Receivers},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    Mails, Outcome, Plan, Troubles,
    house::{House, all_mails, under_way},
    load::Client,
    proxy::State,
    servers::Servers,
};

const CLIENTS: usize = 8;
/// How often something goes wrong with a receiver.
const ONE_WRONG_IN: u32 = 12;
/// Longer than any mail waits before it is given up, though a clock was set meanwhile: if nothing moves for so long,
/// nothing will.
const PATIENCE: Duration = Duration::from_mins(4);
/// How often it is told how far the queues are from being empty.
const TELL_AGAIN: Duration = Duration::from_secs(20);
/// To look through a queue costs its daemon time that it would else work it off in: it may be busy with that for one
/// part in so many.
const ONE_PART_LOOKING_IN: u32 = 5;
/// What is queued there when the storm is over is held, so that something is queued when the account is made, and released
/// after that.
const HELD_DOMAIN: &str = "d.example";
/// A clock is set so far: farther than any lease or retry, and not so far that a report is given up for it.
const CLOCK_SECONDS: std::ops::Range<i64> = 31..60;

/// Runs a plan.
///
/// # Errors
/// When a daemon does not start, or a queue cannot be read.
pub async fn run(program: &Program, plan: Plan) -> Result<Outcome> {
    let mut chance = fastrand::Rng::with_seed(plan.seed);
    let evidence = Arc::<Mutex<Evidence>>::default();
    let chronicle = Chronicle::begin();
    let moods = Moods { one_wrong_in: ONE_WRONG_IN, withhold_replies: false };
    let receivers = Receivers::new(chance.fork(), moods, evidence.clone(), chronicle.clone());
    let servers = Servers::start(&receivers).await?;
    let house = House::start(program, &servers).await?;
    let (stop, stopped) = watch::channel(false);
    let (numbers, mut clients) = (Arc::new(AtomicU64::new(1)), JoinSet::new());
    for _ in 0..CLIENTS {
        let client = Client {
            chance: chance.fork(),
            server: house.mailman.address("smtp"),
            evidence: evidence.clone(),
            numbers: numbers.clone(),
            stop: stopped.clone(),
        };
        clients.spawn(client.run());
    }
    let left_out = left_out(&house)?;
    let mut storm = Storm { chance, house, servers, troubles: Troubles::default(), wrong: vec![] };
    while storm.troubles.all_kills() < plan.kills {
        storm.round().await?;
    }
    stop.send_replace(true);
    clients.join_all().await;
    storm.heal_all()?;
    storm.house.postoffice.queue(&["hold", "--domain", HELD_DOMAIN]).await?;
    receivers.calm_down();
    storm.settle().await?;
    // What is queued now is what is held, and no more.
    let held = |address: &Address| address.domain_text() == Some(HELD_DOMAIN);
    let with_held = promise::check_settled(&gather(&evidence, &storm.house).await?, held);
    // What is held can still be delivered.
    storm.house.postoffice.queue(&["release", "--domain", HELD_DOMAIN]).await?;
    storm.settle().await?;
    let evidence = gather(&evidence, &storm.house).await?;
    let verdict = match (with_held, promise::check_settled(&evidence, |_| false)) {
        (Ok(account), Ok(_)) => Ok(account),
        (with_held, released) => {
            let breaches = [with_held, released].map(|it| it.err().unwrap_or_default()).concat();
            Err(breaches)
        }
    };
    let Storm { mut house, troubles, servers: _servers, .. } = storm;
    // All is known of them.
    for half in [Half::Mailman, Half::Postoffice] {
        house.kill(half).await?;
    }
    let mut outcome = Outcome {
        plan,
        troubles,
        left_out,
        mails: Mails::of(&evidence),
        counts: chronicle.counts().into_iter().collect(),
        verdict,
        records: Vec::new(),
    };
    if let Err(breaches) = &outcome.verdict {
        let mails: BTreeSet<String> =
            breaches.iter().filter_map(Breach::mail).map(sender_of).collect();
        let concerns = |status: &MailStatus| {
            let recipients = status.recipients.iter().map(|r| &r.address);
            status
                .sender
                .address()
                .into_iter()
                .chain(recipients)
                .any(|a| mails.contains(a.as_str()))
        };
        let all = evidence.mailman.into_iter().chain(evidence.postoffice);
        outcome.records = all.filter(concerns).collect();
    }
    Ok(outcome)
}

/// What was seen so far, and what the queues tell of themselves now.
async fn gather(seen: &Mutex<Evidence>, house: &House) -> Result<Evidence> {
    let mailman = all_mails(&house.mailman).await?;
    let postoffice = all_mails(&house.postoffice).await?;
    let quarantined = house.quarantined()?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Evidence { mailman, postoffice, quarantined, ..seen })
}

/// What cannot be tried on this machine.
fn left_out(house: &House) -> Result<Vec<String>> {
    let mut left_out = Vec::new();
    if !house.disks.iter().all(|disk| disk.is_its_own()) {
        left_out.push("full disks: a tmpfs cannot be mounted; run it as root".to_owned());
    }
    let clock = house.clock(Half::Mailman);
    if clock.can_be_set() {
        clock.set_ahead(CLOCK_SECONDS.end)?;
        let ahead = clock.ahead_seconds()?;
        clock.set_ahead(0)?;
        if (ahead - CLOCK_SECONDS.end).abs() > 1 {
            return Err(format!("a clock was set and is {ahead} s ahead").into());
        }
    } else {
        left_out.push("clocks: Debian's package libfaketime is not here".to_owned());
    }
    Ok(left_out)
}

/// What goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Network,
    Names,
    Disk(Half),
    Clock(Half),
}

struct Storm {
    chance: fastrand::Rng,
    house: House,
    servers: Servers,
    troubles: Troubles,
    /// What is wrong now, and for how many rounds more.
    wrong: Vec<(Trouble, u8)>,
}

impl Storm {
    /// Perhaps a trouble that lasts for some rounds, and a kill or more in the middle of all there are.
    async fn round(&mut self) -> Result<()> {
        let half = if self.chance.bool() { Half::Mailman } else { Half::Postoffice };
        // All is drawn in any case, so that a seed is the same plan on every machine.
        let rounds = self.chance.u8(1..=4);
        let seconds = self.chance.i64(CLOCK_SECONDS) * if self.chance.bool() { 1 } else { -1 };
        match self.chance.u8(..10) {
            0 => self.cut(State::Broken, rounds),
            1 => self.cut(State::Silent, rounds),
            2 => self.break_names(Fault::ServerFailure, rounds),
            3 => self.break_names(Fault::Silence, rounds),
            4 => self.fill_disk(half, rounds)?,
            5 | 6 => self.set_clock(half, seconds, rounds)?,
            _ => {}
        }
        self.pause(400).await;
        let halves: &[Half] = match self.chance.u8(..3) {
            0 => &[Half::Mailman],
            1 => &[Half::Postoffice],
            _ => &[Half::Mailman, Half::Postoffice],
        };
        self.troubles.both_killed += u64::from(halves.len() > 1);
        for half in halves {
            let noticed = self.house.clock_changes_noticed(*half);
            self.troubles.clock_changes_noticed += noticed;
            self.house.kill(*half).await?;
            self.count_kill(*half);
        }
        self.pause(100).await;
        for half in halves {
            // What is read again after a kill, and noted of it, is killed as well.
            while self.chance.u8(..4) == 0 {
                let after = Duration::from_millis(self.chance.u64(..60));
                self.house.kill_at_start(*half, after).await?;
                self.count_kill(*half);
                self.troubles.kills_at_start += 1;
            }
            let got_room = self.house.start_again(*half).await?;
            self.troubles.no_room_to_start += u64::from(got_room);
        }
        self.pause(400).await;
        self.heal()
    }

    fn count_kill(&mut self, half: Half) {
        self.troubles.kills[usize::from(half == Half::Postoffice)] += 1;
    }

    fn begin(&mut self, trouble: Trouble, rounds: u8) {
        self.wrong.retain(|(other, _)| *other != trouble);
        self.wrong.push((trouble, rounds));
    }

    fn cut(&mut self, state: State, rounds: u8) {
        self.house.proxy.set(state);
        match state {
            State::Silent => self.troubles.silences += 1,
            _ => self.troubles.breaks += 1,
        }
        self.begin(Trouble::Network, rounds);
    }

    fn break_names(&mut self, fault: Fault, rounds: u8) {
        self.servers.break_names(fault);
        self.troubles.dns_failures += 1;
        self.begin(Trouble::Names, rounds);
    }

    fn fill_disk(&mut self, half: Half, rounds: u8) -> Result<()> {
        if self.house.disk(half).is_its_own() {
            self.house.disk(half).fill()?;
            self.troubles.full_disks += 1;
            self.begin(Trouble::Disk(half), rounds);
        }
        Ok(())
    }

    fn set_clock(&mut self, half: Half, ahead_seconds: i64, rounds: u8) -> Result<()> {
        if self.house.clock(half).can_be_set() {
            self.house.clock(half).set_ahead(ahead_seconds)?;
            if ahead_seconds > 0 {
                self.troubles.clocks_forward += 1;
            } else {
                self.troubles.clocks_back += 1;
            }
            self.begin(Trouble::Clock(half), rounds);
        }
        Ok(())
    }

    /// Ends what has lasted long enough.
    fn heal(&mut self) -> Result<()> {
        self.wrong.iter_mut().for_each(|(_, rounds)| *rounds -= 1);
        let over: Vec<_> = self.wrong.extract_if(.., |(_, rounds)| *rounds == 0).collect();
        over.into_iter().try_for_each(|(trouble, _)| self.end(trouble))
    }

    fn heal_all(&mut self) -> Result<()> {
        let all = std::mem::take(&mut self.wrong);
        all.into_iter().try_for_each(|(trouble, _)| self.end(trouble))
    }

    fn end(&self, trouble: Trouble) -> Result<()> {
        match trouble {
            Trouble::Network => self.house.proxy.set(State::Open),
            Trouble::Names => self.servers.mend_names(),
            Trouble::Disk(half) => self.house.disk(half).empty()?,
            Trouble::Clock(half) => self.house.clock(half).set_ahead(0)?,
        }
        Ok(())
    }

    async fn pause(&mut self, milliseconds_max: u64) {
        sleep(Duration::from_millis(self.chance.u64(..milliseconds_max))).await;
    }

    /// Waits until nothing goes on by itself any more in either queue.
    async fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        let (mut least, mut moved_at) = (usize::MAX, begun);
        let (mut given_up, mut tell_at) = (false, begun + TELL_AGAIN);
        loop {
            let looked_at = Instant::now();
            let mailman: usize = under_way(&self.house.mailman).await?.iter().sum();
            let [full, others] = under_way(&self.house.postoffice).await?;
            if mailman + full + others == 0 {
                return Ok(());
            }
            if mailman + others == 0 && !given_up {
                // As an operator would who does not want to wait for days.
                self.house.postoffice.queue(&["fail", "--state", "deferred"]).await?;
                given_up = true;
            }
            let now = Instant::now();
            if mailman + full + others < least {
                (least, moved_at) = (mailman + full + others, now);
            }
            let is_over = now > moved_at + PATIENCE;
            if is_over || now >= tell_at {
                eprintln!(
                    "after {:.0} s on their way still: {mailman} recipients at mailman, {full} for full mailboxes and {others} others at the postoffice",
                    begun.elapsed().as_secs_f64()
                );
                tell_at = now + TELL_AGAIN;
            }
            if is_over {
                // What is queued still breaks the promise: the account says so.
                return Ok(());
            }
            let looking = looked_at.elapsed();
            sleep((looking * (ONE_PART_LOOKING_IN - 1)).max(Duration::from_millis(500))).await;
        }
    }
}
