//! What becomes of an index that fails. The log has what was promised, so the index may be as old as it
//! likes: when it cannot be written it is kept as it is, and reads on in the log as soon as it can. Only one
//! that is damaged is made anew.
//!
//! Meanwhile nothing is written to the log, which bounds what is to be read, and nothing is claimed,
//! for what was settled last may still look due.

use hedwig_envelope::{MailId, Timestamp};
use rusqlite::{ErrorCode, ffi};

use crate::{
    SpoolError,
    engine::Engine,
    index::Index,
    prepare::remove_content,
    recovery::{self, rebuild_index},
    schedule::Pause,
};

/// How the index stands to the log.
pub(crate) enum Standing {
    /// It has read all.
    Current,
    /// It could not be written.
    Behind(Trouble),
    /// It is of no use, and could not be made anew.
    Lost(Trouble),
}

pub(crate) struct Trouble {
    error: SpoolError,
    pause: Pause,
}

impl Standing {
    /// It has yet to read on from where it is.
    pub(crate) fn behind(error: SpoolError, now: Timestamp) -> Self {
        Self::Behind(Trouble { error, pause: Pause::since(now) })
    }

    /// Why it has not read all, if so.
    pub(crate) fn trouble(&self) -> Option<&SpoolError> {
        match self {
            Self::Current => None,
            Self::Behind(trouble) | Self::Lost(trouble) => Some(&trouble.error),
        }
    }

    fn lost(error: SpoolError, now: Timestamp) -> Self {
        Self::Lost(Trouble { error, pause: Pause::since(now) })
    }
}

impl Engine {
    /// Why the index cannot be trusted to have read all, if that is so.
    pub(crate) fn check_index(&self) -> Result<(), SpoolError> {
        self.standing.trouble().map_or(Ok(()), |error| Err(error.duplicate()))
    }

    /// The index failed: takes back what was half done, and decides what becomes of it.
    pub(crate) fn index_failed(&mut self, error: rusqlite::Error) {
        if is_damage(&error) {
            tracing::error!(%error, "the index is damaged");
            return self.rebuild();
        }
        tracing::error!(%error, "the index cannot be written; it will read on when it can");
        self.fall_behind(error.into());
    }

    /// Makes the index anew if this says that it is damaged; tells whether it did.
    pub(crate) fn rebuild_if_damaged(&mut self, error: &SpoolError) -> bool {
        let is_damaged = matches!(error, SpoolError::Index(error) if is_damage(error));
        if is_damaged {
            tracing::error!(%error, "the index is damaged");
            self.rebuild();
            self.index.begin_reading();
        }
        is_damaged
    }

    fn fall_behind(&mut self, error: SpoolError) {
        if let Err(error) = self.index.roll_back() {
            // It is taken back once more before it reads on.
            tracing::debug!(%error, "the index cannot be read either");
        }
        if error.is_no_space() {
            self.make_room();
        }
        self.standing = Standing::behind(error, self.clock);
    }

    /// Lets an index that failed try again, once in a while.
    pub(crate) fn mend_index(&mut self) {
        match &self.standing {
            Standing::Current => return,
            Standing::Behind(trouble) | Standing::Lost(trouble)
                if !trouble.pause.is_over(self.clock) =>
            {
                return;
            }
            Standing::Behind(_) => self.read_on(),
            Standing::Lost(_) => self.rebuild(),
        }
        if matches!(self.standing, Standing::Current) {
            tracing::info!("the index has read all of the log again");
            self.changed.send_modify(|version| *version += 1);
        }
    }

    fn read_on(&mut self) {
        let mut finished = Vec::new();
        let read = self.index.roll_back().map_err(SpoolError::from).and_then(|()| {
            recovery::replay(&mut self.log, &mut self.index, |some| finished.extend(some))
        });
        for (id, file) in finished {
            self.forget_content(id, file);
        }
        match read {
            Ok(()) => self.standing = Standing::Current,
            Err(SpoolError::Index(error)) if is_damage(&error) => {
                tracing::error!(%error, "the index is damaged");
                self.rebuild();
            }
            Err(error) => self.fall_behind(error),
        }
    }

    fn rebuild(&mut self) {
        let path = self.index_path.as_deref();
        // The old one must let go of its file before the new one can have it.
        let closed = Index::open(None, self.log.spool(), self.options.attempts_kept_max)
            .map(|empty| drop(std::mem::replace(&mut self.index, empty)));
        let rebuilt = closed
            .map_err(SpoolError::from)
            .and_then(|()| rebuild_index(&mut self.log, path, &self.options));
        self.standing = match rebuilt {
            Ok((index, standing)) => {
                self.index = index;
                standing
            }
            Err(error) => {
                tracing::error!(%error, "the index cannot be made anew");
                Standing::lost(error, self.clock)
            }
        };
    }

    /// A mail is finished: nobody asks for its content again.
    pub(crate) fn forget_content(&mut self, id: MailId, file: Option<String>) {
        self.cache.remove(id);
        if let Some(name) = file {
            remove_content(&**self.log.disk(), &name);
        }
    }
}

/// Whether an index that says this is of no use: it is no database, or not what it should be. What a full
/// or failing disk, a lock or a lack of memory brings about says nothing of what is in it.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return true };
    match failure.code {
        ErrorCode::SystemIoFailure => matches!(
            failure.extended_code,
            ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS
        ),
        ErrorCode::DiskFull
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::OutOfMemory => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::unix::fs::MetadataExt,
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
    };

    use hedwig_envelope::{
        Address, Content, Envelope, Mail, Origin, Outcome, Refusal, RefusalKind, Reply,
        ReversePath, State,
    };

    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        Claim, Clock, CourierOptions, Filter, Selection, Spool, SpoolOptions, disk::SimulatedDisk,
        engine::Request,
    };

    struct Scene {
        disk: SimulatedDisk,
        directory: tempfile::TempDir,
        seconds: Arc<AtomicI64>,
        spool: Spool,
    }

    impl Scene {
        fn new() -> Self {
            let (disk, seconds) = (SimulatedDisk::new(), Arc::new(AtomicI64::new(0)));
            let directory = tempfile::tempdir().unwrap();
            let spool = open(&disk, directory.path(), &seconds);
            Self { disk, directory, seconds, spool }
        }

        /// Commits until the index can take no more; tells the last mail that was taken.
        async fn fill(&self) -> u128 {
            self.spool.ask(|engine| engine.index.fill_disk(true)).await.unwrap();
            for number in 1000.. {
                self.spool.commit(mail(number)).await.unwrap();
                if self.spool.ask(|engine| engine.check_index().is_err()).await.unwrap() {
                    return number;
                }
            }
            unreachable!("a file of a bounded size takes no endless number of mails")
        }

        async fn make_room(&self) {
            self.spool.ask(|engine| engine.index.fill_disk(false)).await.unwrap();
            self.seconds.fetch_add(2, Ordering::Relaxed);
        }

        /// The index's file as it is now. It is held open, so that no other one can have its number.
        fn index_file(&self) -> File {
            File::open(self.directory.path().join("index")).unwrap()
        }

        fn has_kept(&self, before: &File) -> bool {
            let now = std::fs::metadata(self.directory.path().join("index")).unwrap();
            now.ino() == before.metadata().unwrap().ino()
        }
    }

    fn open(disk: &SimulatedDisk, directory: &Path, seconds: &Arc<AtomicI64>) -> Spool {
        let seconds = seconds.clone();
        let clock = Clock::new(move || at(seconds.load(Ordering::Relaxed)));
        let options =
            SpoolOptions { clock, inline_content_bytes_max: 1000, ..SpoolOptions::default() };
        Spool::on_disk(Arc::new(disk.clone()), Some(&directory.join("index")), options).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn mail(number: u128) -> Mail {
        let recipient: Address = "a@x.example".parse().unwrap();
        Mail {
            id: MailId::new(at(0), number),
            envelope: Envelope::new(ReversePath::Null, [recipient]),
            content: Content::new(vec![b'a'; if number == 1 { 2000 } else { 10 }].into()),
            origin: Origin::local(at(0)),
        }
    }

    fn done() -> Vec<Outcome> {
        vec![Outcome::of_reply(Reply::new(250, None, "Ok"), None)]
    }

    #[tokio::test]
    async fn an_index_without_room_is_kept_and_reads_on_when_there_is_some() {
        let scene = Scene::new();
        let spool = &scene.spool;
        let before = scene.index_file();
        let last = scene.fill().await;
        for _ in 0..3 {
            let refused = spool.commit(mail(1)).await.unwrap_err();
            assert_eq!(Refusal::from(refused).kind, RefusalKind::NoSpace);
            scene.seconds.fetch_add(2, Ordering::Relaxed);
        }
        assert!(spool.claim(at(9), Claim::up_to(1)).await.is_err(), "it may have been settled");
        let last = MailId::new(at(0), last);
        assert!(spool.show(last).await.is_err(), "it is known, but not to the index");
        let count = spool.counts().await.unwrap().waiting();
        assert_eq!(spool.list(&Filter::default()).await.unwrap().len() as u64, count);
        scene.make_room().await;
        assert_eq!(spool.counts().await.unwrap().waiting(), count + 1);
        assert!(spool.show(last).await.unwrap().is_some());
        assert!(spool.show(mail(1).id).await.unwrap().is_none());
        spool.commit(mail(1)).await.unwrap();
        assert!(scene.has_kept(&before));
    }

    #[tokio::test]
    async fn what_was_settled_while_the_index_was_behind_is_not_claimed_again() {
        let scene = Scene::new();
        let spool = &scene.spool;
        spool.commit(mail(1)).await.unwrap();
        let lease = spool.claim(at(0), Claim::up_to(1)).await.unwrap().leases.remove(0);
        spool.ask(|engine| engine.index.fill_disk(true)).await.unwrap();
        // The batch holds the settlement and more mails than there is room for.
        let reports = (1000..3000).map(mail).collect();
        spool.finish(&lease, done(), None, reports).await.unwrap();
        assert!(spool.ask(|engine| engine.check_index().is_err()).await.unwrap());
        assert_eq!(
            spool.show(lease.mail.id).await.unwrap().unwrap().recipients[0].state,
            State::Queued
        );
        assert!(spool.claim(at(0), Claim::up_to(1)).await.is_err());
        scene.make_room().await;
        let leases = spool.claim(at(9), Claim::up_to(5000)).await.unwrap().leases;
        assert_eq!(leases.len(), 2000);
        assert_eq!(
            spool.show(lease.mail.id).await.unwrap().unwrap().recipients[0].state,
            State::Delivered
        );
        let contents =
            scene.disk.names().iter().filter(|name| name.starts_with("contents/")).count();
        assert_eq!(contents, 0, "the content of a finished mail is removed");
    }

    #[tokio::test]
    async fn a_spool_closed_with_its_index_behind_opens_with_all_it_promised() {
        let scene = Scene::new();
        scene.spool.commit(mail(1)).await.unwrap();
        let last = MailId::new(at(0), scene.fill().await);
        let count = scene.spool.counts().await.unwrap().waiting();
        let before = scene.index_file();
        scene.spool.close().await;
        let spool = open(&scene.disk, scene.directory.path(), &scene.seconds);
        assert!(spool.show(last).await.unwrap().is_some());
        assert_eq!(spool.counts().await.unwrap().waiting(), count + 1);
        assert!(scene.has_kept(&before));
    }

    #[tokio::test]
    async fn an_operator_is_refused_while_the_index_is_behind_and_not_after() {
        let scene = Scene::new();
        let spool = &scene.spool;
        scene.fill().await;
        let all = spool.counts().await.unwrap().waiting() + 1;
        spool.drop(&Selection::All).await.unwrap_err();
        scene.make_room().await;
        assert_eq!(spool.drop(&Selection::All).await.unwrap(), all);
        assert_eq!(spool.counts().await.unwrap().waiting(), 0);
    }

    #[tokio::test]
    async fn an_index_that_lost_what_it_had_not_saved_reads_it_again() {
        let scene = Scene::new();
        let spool = &scene.spool;
        let mails = [2, 3].map(mail);
        let ids = mails.each_ref().map(|mail| mail.id);
        let mut prepared = Vec::new();
        for mail in mails {
            prepared.push(Box::new(spool.prepare(mail).await.unwrap()));
        }
        let batches = move |engine: &mut Engine| {
            for prepared in prepared {
                let (reply, mut replied) = oneshot::channel();
                engine.handle([Request::Commit { prepared, reply }], at(0));
                assert!(matches!(replied.try_recv(), Ok(Ok(_))));
            }
            assert!(engine.is_unsaved());
            engine.index.lose_transaction();
        };
        spool.ask(batches).await.unwrap();
        assert!(spool.show(ids[0]).await.is_err(), "it is known, but not to the index");
        assert!(spool.claim(at(0), Claim::up_to(1)).await.is_err());
        scene.seconds.fetch_add(2, Ordering::Relaxed);
        for id in ids {
            assert!(spool.show(id).await.unwrap().is_some());
        }
        assert_eq!(spool.claim(at(2), Claim::up_to(5)).await.unwrap().leases.len(), 2);
    }

    #[tokio::test]
    async fn an_index_in_which_a_claim_finds_what_cannot_be_read_is_made_anew() {
        let scene = Scene::new();
        let spool = &scene.spool;
        spool.commit(mail(1)).await.unwrap();
        spool.ask(|engine| engine.index.garble()).await.unwrap();
        let options = CourierOptions::default();
        assert_eq!(spool.claim_paced(at(0), 5, &options).await.unwrap().leases.len(), 1);
    }

    #[tokio::test]
    async fn after_a_clock_that_was_ahead_an_index_reads_on_as_soon_as_ever() {
        let scene = Scene::new();
        scene.seconds.store(3600, Ordering::Relaxed);
        scene.spool.commit(mail(1)).await.unwrap();
        scene.seconds.store(0, Ordering::Relaxed);
        scene.fill().await;
        scene.make_room().await;
        scene.spool.commit(mail(2)).await.unwrap();
    }

    #[tokio::test]
    async fn an_index_that_is_damaged_is_made_anew() {
        let scene = Scene::new();
        let spool = &scene.spool;
        spool.commit(mail(1)).await.unwrap();
        let before = scene.index_file();
        let ruin = |engine: &mut Engine| engine.index.ruin();
        spool.ask(ruin).await.unwrap();
        spool.commit(mail(2)).await.unwrap();
        assert_eq!(spool.counts().await.unwrap().waiting(), 2);
        assert!(!scene.has_kept(&before));
    }
}
