//! How requests reach the engine: over a channel to its own thread, or, when nothing can block, at once.

use std::{
    fmt,
    fs::File,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use hedwig_envelope::Timestamp;

use crate::{
    SpoolError,
    engine::{Engine, Request},
};

/// How much one batch takes at most.
const BATCH_REQUESTS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 16 << 20;
/// For how long nothing is asked before the index saves.
const SAVE_AFTER: Duration = Duration::from_millis(50);

pub(crate) enum Driver {
    Thread(Mutex<Option<Committer>>),
    Inline(Mutex<Option<Box<Engine>>>),
}

pub(crate) struct Committer {
    sender: mpsc::Sender<(Timestamp, Request)>,
    thread: JoinHandle<()>,
}

impl Driver {
    /// Starts the committing thread; `lock` is let go when it ends.
    pub(crate) fn thread(engine: Engine, lock: File) -> Result<Self, SpoolError> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("hedwig-spool".into())
            .spawn(move || {
                work(engine, &receiver);
                drop(lock);
            })
            .map_err(SpoolError::io("start the committing thread"))?;
        Ok(Self::Thread(Mutex::new(Some(Committer { sender, thread }))))
    }

    /// Lets every caller do the engine's work: for engines that never wait for a disk.
    pub(crate) fn inline(engine: Engine) -> Self {
        Self::Inline(Mutex::new(Some(Box::new(engine))))
    }

    /// Whether callers must not be blocked by what they do themselves for the engine.
    pub(crate) fn is_inline(&self) -> bool {
        matches!(self, Self::Inline(_))
    }

    pub(crate) fn send(&self, now: Timestamp, request: Request) -> Result<(), SpoolError> {
        match self {
            Self::Thread(committer) => {
                let committer = lock(committer);
                let sender = &committer.as_ref().ok_or(SpoolError::Closed)?.sender;
                sender.send((now, request)).map_err(|_| SpoolError::Closed)
            }
            Self::Inline(engine) => {
                let mut engine = lock(engine);
                let engine = engine.as_mut().ok_or(SpoolError::Closed)?;
                engine.handle([request], now);
                while engine.keep_house() {}
                engine.save();
                Ok(())
            }
        }
    }

    /// Ends the engine when it has done what it was asked; returns the thread to wait for.
    pub(crate) fn close(&self) -> Option<JoinHandle<()>> {
        match self {
            Self::Thread(committer) => lock(committer).take().map(|committer| committer.thread),
            Self::Inline(engine) => {
                if let Some(engine) = lock(engine).take() {
                    engine.close();
                }
                None
            }
        }
    }
}

impl Drop for Driver {
    /// Waits for the thread, so that whoever dropped the last handle can open the spool again.
    fn drop(&mut self) {
        if let Some(thread) = self.close()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread panicked");
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_inline() { "Inline" } else { "Thread" })
    }
}

fn work(mut engine: Engine, receiver: &mpsc::Receiver<(Timestamp, Request)>) {
    let mut more = true;
    loop {
        let first = match receiver.try_recv() {
            Ok(first) => Some(first),
            Err(mpsc::TryRecvError::Empty) if more => None,
            Err(_) => match wait(&mut engine, receiver) {
                Ok(first) => Some(first),
                Err(mpsc::RecvError) => return engine.close(),
            },
        };
        if let Some((mut now, first)) = first {
            let mut bytes = first.bytes();
            let mut batch = vec![first];
            while batch.len() < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
                let Ok((at, request)) = receiver.try_recv() else { break };
                now = now.max(at);
                bytes += request.bytes();
                batch.push(request);
            }
            engine.handle(batch, now);
        }
        more = engine.keep_house();
    }
}

/// Waits for a request, and lets the engine save when none comes for a moment.
fn wait<T>(engine: &mut Engine, receiver: &mpsc::Receiver<T>) -> Result<T, mpsc::RecvError> {
    if engine.is_unsaved() {
        match receiver.recv_timeout(SAVE_AFTER) {
            Err(mpsc::RecvTimeoutError::Timeout) => engine.save(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(mpsc::RecvError),
            Ok(request) => return Ok(request),
        }
    }
    receiver.recv()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
