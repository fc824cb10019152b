use std::sync::Arc;

use hedwig_envelope::{Answer, Mail, Timestamp};

use crate::{holding::Held, pace::Permit};

/// The right to try one unit of delivery: a mail's recipients at one destination.
///
/// It ends with [`Spool::finish`](crate::Spool::finish) or
/// [`Spool::give_back`](crate::Spool::give_back), or when its time is over and somebody else claims the
/// unit: from then on what its holder says is refused, which is what the fencing token is for.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The mail, with only the unit's recipients that still wait.
    pub mail: Mail,
    /// Where they are: a domain in lower case, or nothing when all recipients make one unit.
    pub destination: Arc<str>,
    /// How often the unit was tried before.
    pub attempts: u32,
    /// An operator wants it given up: let it fail with this, and do not try it.
    pub give_up: Option<Answer>,
    /// Whether its sender has been told of the delay.
    pub delay_reported: bool,
    /// When it is to be returned, or its sender told that it is late (RFC 2852); a unit is due then, whatever
    /// else was planned.
    pub deadline: Option<Timestamp>,
    /// To be set when its sender has been told that it is late.
    pub deadline_over: bool,
    /// How many of the attempts failed because the destination was at fault.
    pub(crate) unreached: u32,
    pub(crate) permit: Option<Permit>,
    /// The memory its content takes.
    pub(crate) _held: Arc<Held>,
    pub(crate) unit: u32,
    /// Whether the unit is all there is of its mail.
    pub(crate) is_whole: bool,
    /// Where the recipients stand in the whole mail's envelope.
    pub(crate) positions: Vec<u32>,
    pub(crate) token: u64,
}

impl Lease {
    /// What tells this lease from every other of the same unit.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.token
    }
}

/// How much to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// At most so many units.
    pub units_max: usize,
    /// No unit of a destination of which so many are leased already.
    pub per_destination_max: usize,
}

impl Claim {
    /// At most so many units, whatever their destinations.
    #[must_use]
    pub fn up_to(units_max: usize) -> Self {
        Self { units_max, per_destination_max: usize::MAX }
    }
}

/// What a claim brought.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The units, by due time; each step of priority (RFC 6710) counts for two minutes of waiting.
    pub leases: Vec<Lease>,
    /// Whether more is due than the claim's limits let through.
    pub more: bool,
    /// When the next unit that is not due yet will be; not told when [`more`](Self::more) is because of
    /// [`Claim::units_max`].
    pub next_due: Option<Timestamp>,
}
