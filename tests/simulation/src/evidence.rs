//! What was seen from outside, and what the queues tell of themselves. The simulation and the harness of
//! real processes both write it; [`promise`](crate::promise) reads it.

use std::collections::BTreeMap;

use hedwig_envelope::{Address, MailStatus};

/// The number of a mail. Its sender is [`sender_of`] it, so that every trace of it can be told.
pub type MailNumber = u64;

/// The domain of all senders, where the reports arrive.
pub const HOME: &str = "home.example";

/// Who sends the mail of this number.
#[must_use]
pub fn sender_of(number: MailNumber) -> String {
    format!("m{number}@{HOME}")
}

/// The number of the mail whose sender this is.
#[must_use]
pub fn number_of(sender: &str) -> Option<MailNumber> {
    sender.strip_prefix('m')?.strip_suffix(HOME)?.strip_suffix('@')?.parse().ok()
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What clients sent, and what they were answered.
    pub submissions: BTreeMap<MailNumber, Submission>,
    /// How many recipients were answered with success: counted by the clients as the answers came, whatever
    /// `submissions` says.
    pub accepted: usize,
    /// How many mails mailman counted as taken; `None` where a start begins to count anew.
    pub taken: Option<u64>,
    /// The copies that receiving servers took.
    pub copies: Vec<Copy>,
    /// The reports that reached their senders.
    pub reports: Vec<Report>,
    /// Every mail that mailman's spool still tells of.
    pub mailman: Vec<MailStatus>,
    /// Every mail that the postoffice's spool still tells of.
    pub postoffice: Vec<MailStatus>,
    /// Recipients that the postoffice was trying when its power went, once for each time. Its notes of what is under
    /// way are not flushed, so that it may not know of these attempts. The sender of a mail stands for a report of it.
    pub power_went_during: Vec<(MailNumber, Address)>,
    /// How many damaged places both spools have set aside, on disks that no power cut has torn. One that did
    /// may leave the end of a batch without its beginning: that is set aside, and nobody was promised it.
    pub quarantined: u64,
}

/// One mail as a client sent it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The recipients that were answered with success. Empty when the client never learnt, or was refused.
    pub accepted: Vec<Address>,
    /// The others.
    pub not_accepted: Vec<Address>,
}

/// A copy of a mail that a server took for one recipient.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Which mail.
    pub number: MailNumber,
    /// For whom.
    pub recipient: Address,
    /// The id that the postoffice wrote into its `Received` field.
    pub taken_as: String,
    /// Whether the message is what the client sent.
    pub intact: bool,
}

/// A report of failure that its sender's server took.
#[derive(Clone, Debug)]
pub struct Report {
    /// The mail that it tells of.
    pub number: MailNumber,
    /// What its `Message-ID` field says.
    pub message_id: String,
    /// The recipients that were given up.
    pub failed: Vec<Address>,
}

impl Report {
    /// Reads a report of failure (RFC 3464) to the sender of a mail.
    #[must_use]
    pub fn read(number: MailNumber, message: &[u8]) -> Self {
        let text = String::from_utf8_lossy(message);
        let mut failed = Vec::new();
        let mut recipient = None;
        // Its own is the first: what it returns of the mail comes last.
        let message_id = text.lines().find_map(|line| line.strip_prefix("Message-ID:"));
        for line in text.lines() {
            if let Some(address) = line.strip_prefix("Final-Recipient: rfc822;") {
                recipient = address.trim().parse::<Address>().ok();
            } else if line.trim_end() == "Action: failed" {
                failed.extend(recipient.take());
            }
        }
        Self { number, message_id: message_id.unwrap_or_default().trim().to_owned(), failed }
    }
}

/// The id that the postoffice wrote into a message's `Received` field.
#[must_use]
pub fn id_of_the_hop(message: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&message[..message.len().min(4096)]);
    let (_, id) = text.split_once("with HTTP id ")?;
    let id = id.split([';', '\r', '\n', '\t', ' ']).next()?;
    Some(id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_tells_its_mail() {
        assert_eq!(number_of(&sender_of(17)), Some(17));
        assert_eq!(number_of("m17@elsewhere.example"), None);
        assert_eq!(number_of("17@home.example"), None);
    }
}
