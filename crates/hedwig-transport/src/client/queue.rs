//! The mails that wait for a request to take them along.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hedwig_envelope::{BoxError, IdempotencyKey, Mail, MailId, Receipt, Timestamp};
use hedwig_smtp::batch::BatchMail;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::ClientOptions;

/// A mail that waits, and who waits for its receipt.
pub(super) struct Waiting {
    pub(super) mail: BatchMail,
    pub(super) caller: Caller,
    pub(super) traceparent: Option<String>,
    bytes: usize,
}

/// Who wants to know what became of a mail.
pub(super) struct Caller {
    /// The mail's name here.
    pub(super) id: MailId,
    pub(super) answer: oneshot::Sender<Result<Receipt, BoxError>>,
}

impl Caller {
    /// Whether somebody still wants to know.
    pub(super) fn is_there(&self) -> bool {
        !self.answer.is_closed()
    }

    /// Tells; `false` when the caller is gone.
    pub(super) fn tell(self, result: Result<Receipt, BoxError>) -> bool {
        self.answer.send(result).is_ok()
    }
}

impl Waiting {
    pub(super) fn new(mail: Mail, answer: oneshot::Sender<Result<Receipt, BoxError>>) -> Self {
        // About what the commands for a mail and for a recipient take.
        let bytes = mail.content.len() + 256 + 64 * mail.envelope.recipients.len();
        let mut envelope = mail.envelope;
        envelope.parameters.pass_on(mail.origin.received_at, Timestamp::now());
        let key = mail.origin.idempotency_key.unwrap_or_else(|| IdempotencyKey::from(mail.id));
        Self {
            mail: BatchMail { key: Some(key), envelope, content: mail.content },
            caller: Caller { id: mail.id, answer },
            traceparent: mail.origin.traceparent,
            bytes,
        }
    }
}

/// What waits, and how many carriers are on the road with what waited before.
pub(super) struct Queue {
    state: Mutex<State>,
    limits: Limits,
    /// Room for what waits, in units of [`ROOM_BYTES`].
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Waiting, OwnedSemaphorePermit)>,
    carriers: usize,
}

struct Limits {
    batch_mails: usize,
    batch_bytes: usize,
    carriers: usize,
    /// All the room there is.
    room: u32,
}

const ROOM_BYTES: usize = 1024;

impl Queue {
    pub(super) fn new(options: &ClientOptions) -> Self {
        let limits = Limits {
            batch_mails: options.batch_mails_max.max(1),
            batch_bytes: options.batch_bytes_max,
            carriers: options.requests_max.max(1),
            room: units_of(options.waiting_bytes_max).max(1),
        };
        let room = Arc::new(Semaphore::new(limits.room as usize));
        Self { state: Mutex::default(), limits, room }
    }

    /// Lets a mail wait, as soon as there is room. `true` asks the caller to send a carrier, who has been counted
    /// already.
    pub(super) async fn push(&self, mail: Waiting) -> bool {
        // A mail that is larger than all the room there is waits alone, for where else should it go?
        let units = units_of(mail.bytes).min(self.limits.room);
        let room = self.room.clone().acquire_many_owned(units).await;
        // Nobody closes it.
        let Ok(room) = room else { return false };
        let mut state = self.lock();
        state.waiting.push_back((mail, room));
        let needs_carrier = state.carriers < self.limits.carriers;
        state.carriers += usize::from(needs_carrier);
        needs_carrier
    }

    /// The mails for one request, at least one; `None` when nothing waits. Mails whose callers are gone
    /// are left out.
    pub(super) fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let mut batch: Vec<Waiting> = Vec::new();
        let mut batch_bytes = 0;
        while let Some((next, _)) = state.waiting.front() {
            let fits = batch.len() < self.limits.batch_mails
                && batch_bytes + next.bytes <= self.limits.batch_bytes;
            if next.caller.is_there() && !fits && !batch.is_empty() {
                break;
            }
            let Some((next, _room)) = state.waiting.pop_front() else { break };
            if next.caller.is_there() {
                batch_bytes += next.bytes;
                batch.push(next);
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Counts a carrier out, unless mails came while it was about to leave.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.lock();
        let idle = state.waiting.is_empty();
        state.carriers -= usize::from(idle);
        idle
    }

    /// Counts a carrier out that came to grief.
    pub(super) fn lose_carrier(&self) {
        self.lock().carriers -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two steps that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn units_of(bytes: usize) -> u32 {
    // More than a semaphore can have is as good as no bound.
    let most = (Semaphore::MAX_PERMITS / 2).min(u32::MAX as usize);
    u32::try_from(bytes.div_ceil(ROOM_BYTES).min(most)).unwrap_or(u32::MAX)
}
