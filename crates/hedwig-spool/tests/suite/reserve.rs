//! A spool that fills a disk of its own: new mail is refused, what is here drains, and then mail is taken again.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use crate::common::{
    at, claim, done,
    life::{Life, letter},
    outcome,
};
use hedwig_envelope::{MailId, Refusal, RefusalKind, State};
use hedwig_spool::{
    Filter, Selection, Spool, SpoolError, SpoolOptions,
    disk::{Kept, SimulatedDisk},
};

const DISK_BYTES: u64 = 1 << 20;

struct Scene {
    disk: SimulatedDisk,
    seconds: Arc<AtomicI64>,
    spool: Spool,
    /// How many mails there were room for.
    taken: u128,
}

fn open(disk: &SimulatedDisk, seconds: &Arc<AtomicI64>) -> Spool {
    let options = SpoolOptions {
        segment_bytes_max: 64 << 20,
        reserve_bytes: 64 << 20,
        inline_content_bytes_max: 10_000,
        ..Life::KEEPING.options(seconds)
    };
    Spool::on_disk(Arc::new(disk.clone()), None, options).unwrap()
}

impl Scene {
    /// Takes mail until the disk is full.
    async fn full() -> Self {
        Self::full_of(|number| if number % 10 == 0 { 12_000 } else { 3000 }).await
    }

    /// The same, with contents of these lengths.
    async fn full_of(bytes: impl Fn(u128) -> usize) -> Self {
        let (disk, seconds) = (SimulatedDisk::new(), Arc::new(AtomicI64::new(0)));
        disk.resize(DISK_BYTES);
        let spool = open(&disk, &seconds);
        for taken in 0.. {
            match spool.commit(letter(taken, bytes(taken))).await {
                Ok(_) => {}
                Err(SpoolError::NoSpace(_)) => return Self { disk, seconds, spool, taken },
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!("a disk of a bounded size takes no endless number of mails")
    }

    async fn assert_refuses(&self) {
        for bytes in [10, 12_000] {
            let error = self.spool.commit(letter(9_000, bytes)).await.unwrap_err();
            assert_eq!(Refusal::from(error).kind, RefusalKind::NoSpace);
        }
    }

    /// Delivers what is due, in one moment; tells what could be settled.
    async fn settle_while_there_is_room(&self) -> Vec<MailId> {
        let mut settled = Vec::new();
        for lease in claim(&self.spool, self.spool.clock().now()).await {
            match self.spool.finish(&lease, vec![done()], None, vec![]).await {
                Ok(()) => settled.push(lease.mail.id),
                Err(SpoolError::NoSpace(_)) => self.spool.give_back(lease).await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        settled
    }

    /// Delivers what is due, one after the other, and every fifth time reports a failure.
    async fn drain(&self) -> usize {
        let mut drained = 0;
        loop {
            self.seconds.fetch_add(1, Ordering::Relaxed);
            let now = self.spool.clock().now();
            let claimed = self.spool.claim(now, hedwig_spool::Claim::up_to(1)).await.unwrap();
            let Some(lease) = claimed.leases.first() else { return drained };
            let (answer, reports) = match drained {
                n if n % 5 == 4 && n < 200 => {
                    (outcome(550, "No"), vec![letter(5000 + n as u128, 500)])
                }
                _ => (done(), vec![]),
            };
            let settled = self.spool.finish(lease, vec![answer], None, reports).await;
            settled.unwrap_or_else(|error| panic!("mail {drained} cannot be settled: {error}"));
            drained += 1;
        }
    }
}

#[tokio::test]
async fn a_spool_that_filled_its_disk_drains_and_takes_mail_again() {
    let scene = Scene::full().await;
    assert!(scene.taken > 200, "{} mails", scene.taken);
    let full = scene.disk.used();
    assert!(full > DISK_BYTES - 15_000, "{full} bytes are used");
    assert!(scene.drain().await as u128 >= scene.taken);
    scene.seconds.fetch_add(2, Ordering::Relaxed);
    scene.spool.commit(letter(9_001, 3000)).await.unwrap();
    assert!(scene.disk.names().contains(&"reserve".to_owned()), "it is made again");
    let counts = scene.spool.counts().await.unwrap();
    assert_eq!(counts.waiting(), 1);
    assert_eq!(counts.of(State::Delivered) as u128 + counts.of(State::Failed) as u128, {
        scene.taken + u128::from(counts.of(State::Failed))
    });
}

#[tokio::test]
async fn while_the_reserve_is_given_up_settlements_go_and_new_mail_does_not() {
    let scene = Scene::full().await;
    assert!(scene.disk.names().contains(&"reserve".to_owned()), "a mail does not cost it");
    let again = scene.spool.commit(letter(0, 12_000)).await.unwrap();
    assert_eq!(again.id, letter(0, 12_000).id, "what is known needs no room");
    let leases = claim(&scene.spool, at(0)).await;
    scene.spool.finish(&leases[0], vec![done()], None, vec![]).await.unwrap();
    let room = DISK_BYTES - scene.disk.used();
    if !scene.disk.names().contains(&"reserve".to_owned()) {
        assert!(room > DISK_BYTES / 10, "{room} bytes");
        scene.assert_refuses().await;
        assert_eq!(DISK_BYTES - scene.disk.used(), room, "what was refused took no room");
    }
    // An operator can make room, too.
    assert!(scene.spool.drop(&Selection::All).await.unwrap() > 100);
    scene.seconds.fetch_add(2, Ordering::Relaxed);
    scene.spool.counts().await.unwrap();
    scene.seconds.fetch_add(2, Ordering::Relaxed);
    scene.spool.commit(letter(9_001, 3000)).await.unwrap();
}

#[tokio::test]
async fn where_finished_mails_leave_no_room_they_are_remembered_for_an_hour_and_no_longer() {
    let scene = Scene::full_of(|_| 10).await;
    let spool = &scene.spool;
    let first = scene.settle_while_there_is_room().await;
    assert!((first.len() as u128) < scene.taken, "all {} had room", scene.taken);
    let is_known = async || spool.show(first[0]).await.unwrap().is_some();
    scene.seconds.fetch_add(3500, Ordering::Relaxed);
    scene.assert_refuses().await;
    assert!(is_known().await, "an hour is not over");
    let mut settled = first.len() as u128;
    for _ in 0..5 {
        scene.seconds.fetch_add(3700, Ordering::Relaxed);
        // The spool tidies up behind each question.
        spool.counts().await.unwrap();
        settled += scene.settle_while_there_is_room().await.len() as u128;
    }
    assert_eq!(settled, scene.taken);
    assert!(!is_known().await);
    spool.commit(letter(9_001, 10)).await.unwrap();
}

#[tokio::test]
async fn a_full_spool_that_is_opened_again_drains_too() {
    let scene = Scene::full().await;
    let Scene { disk, seconds, spool, taken } = scene;
    drop(spool);
    let disk = disk.after_power_cut(|_| Kept::All);
    let spool = open(&disk, &seconds);
    let scene = Scene { disk, seconds, spool, taken };
    assert!(scene.drain().await as u128 >= taken);
    scene.seconds.fetch_add(2, Ordering::Relaxed);
    scene.spool.commit(letter(9_001, 3000)).await.unwrap();
}

/// A small file system of its own, gone with this value.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// Nothing when this user may not mount.
    fn mount(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(directory))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success(), "{} stays mounted", self.0.path().display());
    }
}

#[tokio::test]
async fn a_spool_that_filled_a_real_file_system_drains_with_its_index_there_too() {
    let Some(tmpfs) = Tmpfs::mount(32 << 20) else {
        println!("this user may not mount a tmpfs: only the simulated disk was filled");
        return;
    };
    let seconds = Arc::new(AtomicI64::new(0));
    let options = SpoolOptions {
        segment_bytes_max: 64 << 20,
        reserve_bytes: 64 << 20,
        ..Life::KEEPING.options(&seconds)
    };
    let spool = Spool::open(tmpfs.0.path(), options).unwrap();
    let mut taken = 0;
    let refused = loop {
        match spool.commit(letter(taken, 2900)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(Refusal::from(refused).kind, RefusalKind::NoSpace);
    println!("a tmpfs of 32 MiB took {taken} mails of 2.9 kB");
    let mut drained = 0;
    let mut waits = 0;
    while drained < taken {
        seconds.fetch_add(2, Ordering::Relaxed);
        let now = spool.clock().now();
        // While the index has no room it cannot tell what is due; the reserve gives it some.
        let claimed = spool.claim(now, hedwig_spool::Claim::up_to(50)).await;
        let leases = claimed.map(|claimed| claimed.leases).unwrap_or_default();
        waits = if leases.is_empty() { waits + 1 } else { 0 };
        assert!(waits < 1000, "{drained} of {taken} mails were drained, and no more");
        for lease in leases {
            match spool.finish(&lease, vec![done()], None, vec![]).await {
                Ok(()) => drained += 1,
                Err(error) => assert_eq!(Refusal::from(error).kind, RefusalKind::NoSpace),
            }
        }
    }
    let mut left = 100;
    while spool.commit(letter(1_000_000, 2900)).await.is_err() {
        seconds.fetch_add(2, Ordering::Relaxed);
        left -= 1;
        assert!(left > 0, "no mail is taken again");
    }
    assert_eq!(spool.counts().await.unwrap().waiting(), 1);
    spool.close().await;
}

/// Takes all the room there is.
fn fill(tmpfs: &Tmpfs) {
    let mut filler = std::fs::File::create(tmpfs.0.path().join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    while std::io::Write::write_all(&mut filler, &[0]).is_ok() {}
}

/// The files of a process that was killed, on a file system that others filled: with a reserve, without, and with
/// no index either.
#[tokio::test]
async fn the_spool_of_a_killed_process_opens_on_a_full_real_file_system_and_drains() {
    const MAILS: u128 = 3000;
    let seconds = Arc::new(AtomicI64::new(0));
    let options = || SpoolOptions {
        reserve_bytes: 8 << 20,
        doubtful_log_bytes_max: SpoolOptions::default().doubtful_log_bytes_max,
        segment_bytes_max: 64 << 20,
        ..Life::KEEPING.options(&seconds)
    };
    let living = tempfile::tempdir().unwrap();
    let spool = Spool::open(living.path(), options()).unwrap();
    for number in 0..MAILS {
        spool.commit(letter(number, 2000)).await.unwrap();
    }
    let tried = spool.claim(at(0), hedwig_spool::Claim::up_to(7)).await.unwrap().leases.len();
    // What a kill leaves when the index has just been saved: only its seal is missing.
    spool.close().await;
    std::fs::remove_file(living.path().join("index.sqlite.seal")).unwrap();
    for (what, missing) in [
        ("a reserve", [].as_slice()),
        ("an index", &["reserve"]),
        ("nothing", &["reserve", "index.sqlite"]),
    ] {
        let Some(tmpfs) = Tmpfs::mount(64 << 20) else {
            println!("this user may not mount a tmpfs");
            return;
        };
        let directory = tmpfs.0.path().join("spool");
        let mut copy = std::process::Command::new("cp");
        assert!(copy.arg("-a").arg(living.path()).arg(&directory).status().unwrap().success());
        if missing.is_empty() {
            let reserve = std::fs::File::options().write(true).open(directory.join("reserve"));
            let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(reserve.unwrap(), keep, 0, 8 << 20).unwrap();
        }
        for name in missing {
            std::fs::remove_file(directory.join(name)).unwrap();
        }
        fill(&tmpfs);
        let spool = Spool::open(&directory, options()).unwrap_or_else(|e| panic!("{what}: {e}"));
        if what == "nothing" {
            // There is no room to say what became of a mail; so none is tried.
            let refused = spool.claim(at(0), hedwig_spool::Claim::up_to(1)).await;
            assert!(matches!(refused, Err(SpoolError::NoSpace(_))), "{refused:?}");
        }
        let mut drained = 0;
        let mut in_vain = 0;
        while drained < MAILS {
            seconds.fetch_add(2, Ordering::Relaxed);
            let claimed = spool.claim(spool.clock().now(), hedwig_spool::Claim::up_to(50)).await;
            let leases = claimed.map(|claimed| claimed.leases).unwrap_or_default();
            let before = drained;
            for lease in leases {
                match spool.finish(&lease, vec![done()], None, vec![]).await {
                    Ok(()) => drained += 1,
                    Err(error) => assert_eq!(Refusal::from(error).kind, RefusalKind::NoSpace),
                }
            }
            in_vain = if drained == before { in_vain + 1 } else { 0 };
            assert!(in_vain < 1000, "{what}: {drained} mails were drained, and no more");
            if in_vain == 5 && !missing.is_empty() {
                // Without a reserve there is only what the index gave back. Somebody makes room.
                let _ = std::fs::remove_file(tmpfs.0.path().join("filler"));
            }
        }
        let mut ambiguous = 0;
        for status in spool.list(&Filter { finished: true, ..Filter::default() }).await.unwrap() {
            let attempts = &status.recipients[0].attempts;
            ambiguous += attempts.iter().filter(|attempt| attempt.ambiguous).count();
        }
        assert_eq!(ambiguous, tried, "{what}");
        spool.close().await;
        let spool = Spool::open(&directory, options()).unwrap();
        assert_eq!(spool.counts().await.unwrap().waiting(), 0, "{what}");
        spool.close().await;
    }
}

#[tokio::test]
async fn a_spool_that_was_closed_opens_on_a_real_file_system_that_others_filled() {
    let Some(tmpfs) = Tmpfs::mount(32 << 20) else {
        println!("this user may not mount a tmpfs");
        return;
    };
    let seconds = Arc::new(AtomicI64::new(0));
    let options = || SpoolOptions { reserve_bytes: 64 << 20, ..Life::KEEPING.options(&seconds) };
    let directory = tmpfs.0.path().join("spool");
    let spool = Spool::open(&directory, options()).unwrap();
    spool.commit(letter(1, 2900)).await.unwrap();
    spool.close().await;
    fill(&tmpfs);
    let spool = Spool::open(&directory, options()).unwrap();
    let claimed = spool.claim(spool.clock().now(), hedwig_spool::Claim::up_to(1)).await.unwrap();
    spool.finish(&claimed.leases[0], vec![done()], None, vec![]).await.unwrap();
    spool.close().await;
}
