//! From a directory, or another disk, to a spool that is open.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use tokio::sync::watch;

use crate::{
    Spool, SpoolError, SpoolOptions,
    cache::Cache,
    disk::{Disk, RealDisk, SimulatedDisk},
    driver::Driver,
    engine::Engine,
    leases::Leases,
    owner::hand_over,
    pace::Paces,
    recovery,
    reserve::Reserve,
    spool::Shared,
    standing::Standing,
    telling::Tellings,
    under_way::{Interrupted, UnderWay},
};

pub(crate) const LOCK_FILE: &str = "lock";
const INDEX_FILE: &str = "index.sqlite";

impl Spool {
    /// Opens the spool in this directory, and makes it if there is none.
    ///
    /// Blocks while it reads what the index does not know yet: open before you serve.
    ///
    /// # Errors
    /// [`SpoolError::InUse`] when somebody has it open; [`SpoolError::NewerFormat`] when a later version
    /// wrote it; else what the disk says.
    pub fn open(directory: impl AsRef<Path>, options: SpoolOptions) -> Result<Self, SpoolError> {
        let directory = directory.as_ref();
        let doing = |what: &str| SpoolError::io(format!("{what} {}", directory.display()));
        make_directory(directory).map_err(doing("make"))?;
        let lock = lock_directory(directory)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory));
        let index = directory.join(INDEX_FILE);
        Self::start(disk, directory, Some(&index), options, |engine| Driver::thread(engine, lock))
            .map_err(|error| error.while_opening(directory))
    }

    /// A spool that forgets everything with its last handle: for tests, and for relays that answer only
    /// after the next server did. It does its work in the calls themselves, without a thread.
    ///
    /// # Errors
    /// When SQLite cannot have memory.
    pub fn in_memory(options: SpoolOptions) -> Result<Self, SpoolError> {
        Self::on_disk(Arc::new(SimulatedDisk::new()), None, options)
    }

    /// A spool on any [`Disk`], with its index in a file of the real one or in memory: for tests that let
    /// a disk fail. It does its work in the calls themselves, so that what happens is always the same.
    ///
    /// # Errors
    /// As [`open`](Self::open); nothing keeps a second one from the same disk.
    pub fn on_disk(
        disk: Arc<dyn Disk>,
        index: Option<&Path>,
        options: SpoolOptions,
    ) -> Result<Self, SpoolError> {
        Self::start(disk, Path::new(""), index, options, |engine| Ok(Driver::inline(engine)))
    }

    /// The same with a committing thread: only there do requests wait for each other.
    #[cfg(test)]
    pub(crate) fn on_disk_by_thread(
        disk: &SimulatedDisk,
        options: SpoolOptions,
    ) -> Result<Self, SpoolError> {
        let lock = tempfile::tempfile().map_err(SpoolError::io("make a lock"))?;
        let disk = Arc::new(disk.clone());
        Self::start(disk, Path::new(""), None, options, |engine| Driver::thread(engine, lock))
    }

    fn start(
        disk: Arc<dyn Disk>,
        directory: &Path,
        index_path: Option<&Path>,
        options: SpoolOptions,
        drive: impl FnOnce(Engine) -> Result<Driver, SpoolError>,
    ) -> Result<Self, SpoolError> {
        let capacity = disk.capacity().map_err(SpoolError::io("ask for the size of the disk"))?;
        let mut options = options;
        options.segment_bytes_max = options.segment_bytes_max.min(capacity / 16);
        let now = options.clock.now();
        let mut log = recovery::open_log(&disk, directory, &options)?;
        let reserve_bytes = options.reserve_bytes.min(capacity / 8);
        // What is under way must be noted whatever else there is room for.
        let (under_way, left_behind) = UnderWay::open(disk.clone(), reserve_bytes)?;
        let damaged_notes = left_behind.damaged.clone();
        let mut reserve = Reserve::open(disk.clone(), reserve_bytes, now)?;
        match recovery::migrate(&*disk, log.spool()) {
            Err(error) if error.is_no_space() && reserve.give_up(now) => {
                recovery::migrate(&*disk, log.spool())?;
            }
            migrated => migrated?,
        }
        let (index, standing, index_path) =
            recovery::open_index_where_there_is_room(&mut log, index_path, &options, || {
                reserve.give_up(now)
            })?;
        if let Standing::Current = standing {
            recovery::remove_orphans(&*disk, &index)?;
        }
        let (sender, changed) = watch::channel(0);
        let quarantined = Arc::new(AtomicU64::new(log.quarantined()));
        let (readers, paces) = (log.readers(), Arc::<Paces>::default());
        let mut engine = Engine {
            log,
            index,
            index_path: index_path.map(Path::to_owned),
            leases: Leases::default(),
            cache: Cache::new(options.cache_bytes_max),
            holding: Arc::default(),
            options: options.clone(),
            now,
            clock: now,
            doubtful_contents: Vec::new(),
            compaction: None,
            may_shorten: true,
            shortening_failed_at: None,
            changed: sender,
            quarantined: quarantined.clone(),
            standing,
            under_way,
            interrupted: Some(Interrupted::new(left_behind)),
            tellings: Tellings::default(),
            paces: paces.clone(),
            reserve,
            disk_bytes: capacity,
        };
        engine.record_interrupted();
        let driver = drive(engine)?;
        let shared =
            Shared { driver, readers, disk, options, changed, quarantined, damaged_notes, paces };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// Makes the spool's directory, unless there is one. A name that was just made is durable only when what it
/// stands in is.
fn make_directory(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    if fs::read_dir(directory)?.next().is_some() {
        return Ok(());
    }
    let whole = directory.canonicalize()?;
    for parent in whole.ancestors().skip(1) {
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            // Who may not look into it has not made anything there.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lock_directory(directory: &Path) -> Result<File, SpoolError> {
    let path = directory.join(LOCK_FILE);
    let doing = || SpoolError::io(format!("lock {}", path.display()));
    let file = File::options().create(true).append(true).open(&path).map_err(doing())?;
    hand_over(&file, directory).map_err(doing())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(doing()(error)),
    }
}
