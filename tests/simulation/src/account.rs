//! What became of all accepted recipients, as a sum.

use std::fmt;

/// What became of all accepted recipients. The whole is what the clients counted; the parts are what the evidence says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// All of them, as the clients counted them when they were answered.
    pub accepted: usize,
    /// One copy, and known to be delivered.
    pub delivered_once: usize,
    /// Delivered, and a copy more for an attempt that is marked ambiguous.
    pub delivered_again: usize,
    /// Delivered, and a copy more for an attempt that a power cut ended and took the mark of.
    pub again_after_power_cut: usize,
    /// The sender has a report; no server has a copy.
    pub bounced: usize,
    /// The sender has a report; a server has a copy of an attempt that is marked ambiguous.
    pub bounced_though_taken: usize,
    /// A queue has it still.
    pub queued: usize,
}

impl Account {
    /// The sum of the parts.
    #[must_use]
    pub fn sum(&self) -> usize {
        self.delivered_once
            + self.delivered_again
            + self.again_after_power_cut
            + self.bounced
            + self.bounced_though_taken
            + self.queued
    }

    /// Adds another account to this one.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered_once += other.delivered_once;
        self.delivered_again += other.delivered_again;
        self.again_after_power_cut += other.again_after_power_cut;
        self.bounced += other.bounced;
        self.bounced_though_taken += other.bounced_though_taken;
        self.queued += other.queued;
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("accepted recipients", self.accepted),
            ("delivered once", self.delivered_once),
            ("delivered again, marked ambiguous", self.delivered_again),
            ("delivered again, unmarked after a power cut", self.again_after_power_cut),
            ("bounced, the sender was told", self.bounced),
            ("bounced, though a server took it; marked ambiguous", self.bounced_though_taken),
            ("still queued", self.queued),
            ("sum of these", self.sum()),
        ] {
            writeln!(f, "{count:>10}  {what}")?;
        }
        Ok(())
    }
}

/// What became of one recipient.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    DeliveredOnce,
    DeliveredAgain,
    AgainAfterPowerCut,
    Bounced,
    BouncedThoughTaken,
    Queued,
}

impl Account {
    /// How many had this fate.
    pub(crate) fn part(&mut self, fate: Fate) -> &mut usize {
        match fate {
            Fate::DeliveredOnce => &mut self.delivered_once,
            Fate::DeliveredAgain => &mut self.delivered_again,
            Fate::AgainAfterPowerCut => &mut self.again_after_power_cut,
            Fate::Bounced => &mut self.bounced,
            Fate::BouncedThoughTaken => &mut self.bounced_though_taken,
            Fate::Queued => &mut self.queued,
        }
    }
}
