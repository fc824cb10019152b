//! What the spool knows of a mail and of a destination, for whoever asks why it waits.

use hedwig_envelope::{Conversation, Mail, MailId, MailStatus, State, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    DestinationState, Spool, SpoolError,
    due::shown,
    engine::Engine,
    load::read_mail,
    log::Position,
    schedule::later,
    state::{Recorded, Unit},
};

/// All that a spool knows of a mail.
#[derive(Clone, Debug)]
pub struct Explained {
    /// How far it has come.
    pub status: MailStatus,
    /// The mail itself; `None` when it is finished.
    pub mail: Option<Mail>,
    /// How many units of its sender are under way, as far as they are counted, and how many may be.
    pub of_sender: (usize, Option<usize>),
    /// Its units of delivery.
    pub units: Vec<ExplainedUnit>,
}

/// The recipients of a mail at one destination.
#[derive(Clone, Debug)]
pub struct ExplainedUnit {
    /// Their places in [`MailStatus::recipients`].
    pub recipients: Vec<usize>,
    /// What they wait for.
    pub waits: Waits,
    /// When they are tried next.
    pub next_due: Option<Timestamp>,
    /// When the mail is given up.
    pub expires_at: Option<Timestamp>,
    /// How often they were tried, and how many of these times the destination was at fault.
    pub attempts: (u32, u32),
    /// What was said in the last attempts that did not go well, oldest first, each with the time at which
    /// it ended.
    pub conversations: Vec<(Timestamp, Conversation)>,
    /// How their destination is treated.
    pub destination: DestinationState,
}

/// What a unit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// Nothing: all is over.
    Finished,
    /// Nothing more happens to its recipients; the report to its sender is still to come.
    ForReport,
    /// It is being tried.
    UnderWay,
    /// An operator holds it.
    ForOperator,
    /// The time that its sender asked for (RFC 4865).
    ForRelease,
    /// An operator wants it to fail, and it is just about to.
    ToFail,
    /// Its destination is left alone.
    ForDestination,
    /// Its destination wants no more for a moment.
    ForCrowd,
    /// As many are under way to its destination as may be.
    ForWindow,
    /// The rate of its destination is spent.
    ForRate,
    /// As many are under way from its sender as may be.
    ForSender,
    /// Its own schedule.
    ForSchedule,
    /// Its turn, which has come.
    ForTurn,
}

/// What the index knows of a mail.
struct Known {
    status: MailStatus,
    position: Option<Position>,
    units: Vec<(Unit, Option<i64>, bool)>,
    sender_under_way: usize,
}

impl Spool {
    /// All that is known of a mail; `None` when nothing is (any more).
    ///
    /// # Errors
    /// When the index or the mail cannot be read.
    pub async fn explain(&self, id: MailId) -> Result<Option<Explained>, SpoolError> {
        let Some(known) = self.ask_index(move |engine| engine.explained(id)).await? else {
            return Ok(None);
        };
        let mail = match known.position {
            Some(position) => self.read_unless_finished(id, position).await?,
            None => None,
        };
        let now = self.clock().now();
        let per_sender_max = Some(self.shared.paces.per_sender_max()).filter(|m| *m < usize::MAX);
        let of_sender = (known.sender_under_way, per_sender_max);
        let sender_is_full = per_sender_max.is_some_and(|most| known.sender_under_way >= most);
        let expires_at = self.shared.paces.expires_at(id);
        let expires_at = Some(expires_at).filter(|at| *at < Timestamp::MAX);
        let units = known.units.into_iter().map(|(unit, offered, leased)| {
            let destination = self.shared.paces.report(&unit.destination, now);
            let due = unit.due.map(|due| offered.map_or(due, |offered| shown(due, offered)));
            let waits = match waits(&unit, leased, &destination, now) {
                Waits::ForTurn if sender_is_full => Waits::ForSender,
                waits => waits,
            };
            let recorded = |Recorded { at, conversation }| (at, conversation);
            ExplainedUnit {
                recipients: unit.recipients.iter().map(|it| it.position as usize).collect(),
                waits,
                next_due: due.filter(|_| !unit.is_final()),
                expires_at: expires_at.filter(|_| !unit.is_final()),
                attempts: (unit.attempts, unit.unreached),
                conversations: unit.conversations.into_iter().map(recorded).collect(),
                destination,
            }
        });
        let units = units.collect();
        Ok(Some(Explained { status: known.status, mail, of_sender, units }))
    }

    /// How a destination is treated: a domain in lower case.
    #[must_use]
    pub fn destination(&self, domain: &str) -> DestinationState {
        self.shared.paces.report(domain, self.clock().now())
    }

    /// The mail at this place of the log; nothing when it was finished, or moved, meanwhile.
    async fn read_unless_finished(
        &self,
        id: MailId,
        position: Position,
    ) -> Result<Option<Mail>, SpoolError> {
        let shared = self.shared.clone();
        let read = move || read_mail(&shared.readers, &*shared.disk, position);
        let read = match self.shared.driver.is_inline() {
            true => read(),
            false => tokio::task::spawn_blocking(read).await.map_err(|_| SpoolError::Closed)?,
        };
        match read {
            Ok(mail) => Ok(Some(mail)),
            Err(error) => {
                let known = self.ask_index(move |engine| engine.explained(id)).await?;
                let still = known.and_then(|known| known.position);
                if still == Some(position) { Err(error) } else { Ok(None) }
            }
        }
    }
}

impl Engine {
    fn explained(&self, id: MailId) -> Result<Option<Known>, SpoolError> {
        let (Some(status), Some(row)) = (self.show(id)?, self.index.mail(id)?) else {
            return Ok(None);
        };
        let units = self.index.offered_units(id)?.into_iter().zip(0..);
        let units =
            units.map(|((unit, offered), n)| (unit, offered, self.leases.is_leased((id, n))));
        Ok(Some(Known {
            status,
            position: row.finished_at.is_none().then_some(row.position),
            units: units.collect(),
            sender_under_way: self.leases.of_sender(&row.sender.to_string()),
        }))
    }
}

/// What a unit waits for at `now`.
fn waits(unit: &Unit, leased: bool, destination: &DestinationState, now: Timestamp) -> Waits {
    let by_sender = |state| state == State::Held;
    if unit.is_final() {
        return if unit.owes() { Waits::ForReport } else { Waits::Finished };
    }
    if leased {
        return Waits::UnderWay;
    }
    let Some(due) = unit.due.filter(|_| !unit.held) else { return Waits::ForOperator };
    if unit.give_up.is_some() {
        return Waits::ToFail;
    }
    if due > now && unit.waiting().any(|recipient| by_sender(recipient.state)) {
        return Waits::ForRelease;
    }
    // What was put off with its destination has a due time of its own behind it.
    if destination.rests_until.is_some_and(|until| until >= due || due <= later(until, COARSE)) {
        return Waits::ForDestination;
    }
    if due > now {
        return Waits::ForSchedule;
    }
    if destination.busy_until.is_some() {
        Waits::ForCrowd
    } else if destination.rate_spent_until.is_some() {
        Waits::ForRate
    } else if destination.window.is_some_and(|window| destination.under_way >= window) {
        Waits::ForWindow
    } else {
        Waits::ForTurn
    }
}

/// Due times are a little coarse.
const COARSE: std::time::Duration = std::time::Duration::from_secs(64);
