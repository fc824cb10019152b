//! What a failure is, whose fault it is, and what to do: read from the status code of a reply
//! (RFC 3463) where that says enough, and from its text where it does not.
//!
//! Large receivers say "5.7.1" of a dozen different things and mean it in the text. Nothing is decided
//! by a diagnosis but what a person reads, and whether an address is
//! [remembered](is_hard_bounce) as one that does not exist.

mod advice;
mod status;
mod text;

use serde::{Deserialize, Serialize};

pub use advice::Blame;

use crate::{Answer, Class, Outcome};

/// What kind of failure an [`Answer`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnosis {
    /// The recipient's address does not exist.
    UnknownUser,
    /// The recipient's mailbox is there and takes no mail: disabled, suspended, given up.
    MailboxClosed,
    /// The recipient's mailbox is full.
    MailboxFull,
    /// The sender's address, or its domain, is not taken.
    SenderRefused,
    /// A rule of the receiver's, not said more exactly.
    Policy,
    /// The message looks like spam, or worse.
    Spam,
    /// The address it came from, or the sender's domain, is on a list or has a bad name.
    Reputation,
    /// SPF, DKIM, DMARC or the reverse DNS do not vouch for the sender.
    Authentication,
    /// Whoever is new has to come again (RFC 6647).
    Greylisting,
    /// Too much, too fast.
    RateLimit,
    /// The message is too large.
    Size,
    /// The domain's mail leads nowhere: no such domain, no server for it, a loop.
    Routing,
    /// No server of the domain answers, or none to the end.
    Unreachable,
    /// TLS failed, or was asked for and is not there.
    Tls,
    /// One of the two servers broke the protocol.
    Protocol,
    /// The next server cannot take this form of message or address (8BITMIME, SMTPUTF8, ...).
    Unsupported,
    /// The receiver's server has trouble of its own.
    TheirServer,
    /// This server has trouble of its own.
    OurServer,
    /// Time ran out.
    Expired,
    /// An operator of this server gave the mail up.
    GivenUp,
    /// The reply does not tell. Also what a later version may know and this one does not.
    #[serde(other)]
    Other,
}

impl Diagnosis {
    /// Every diagnosis, in the order of its declaration.
    pub const ALL: [Self; 21] = [
        Self::UnknownUser,
        Self::MailboxClosed,
        Self::MailboxFull,
        Self::SenderRefused,
        Self::Policy,
        Self::Spam,
        Self::Reputation,
        Self::Authentication,
        Self::Greylisting,
        Self::RateLimit,
        Self::Size,
        Self::Routing,
        Self::Unreachable,
        Self::Tls,
        Self::Protocol,
        Self::Unsupported,
        Self::TheirServer,
        Self::OurServer,
        Self::Expired,
        Self::GivenUp,
        Self::Other,
    ];

    /// What an answer tells of; `None` of one that tells of success.
    #[must_use]
    pub fn of(answer: &Answer) -> Option<Self> {
        if answer.status.class == Class::Success {
            return None;
        }
        let found = match status::said_by(answer.status) {
            status::Said::Firmly(diagnosis) => Some(diagnosis),
            status::Said::Loosely(diagnosis) => text::said_by(answer, diagnosis).or(diagnosis),
        };
        let found = found.or_else(|| status::said_by_code(answer.reply.code()));
        Some(match (found.unwrap_or(Self::Other), &answer.relay) {
            // Nobody else said it.
            (Self::TheirServer, None) => Self::OurServer,
            (found, _) => found,
        })
    }

    /// Its name in the log, the API and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown-user",
            Self::MailboxClosed => "mailbox-closed",
            Self::MailboxFull => "mailbox-full",
            Self::SenderRefused => "sender-refused",
            Self::Policy => "policy",
            Self::Spam => "spam",
            Self::Reputation => "reputation",
            Self::Authentication => "authentication",
            Self::Greylisting => "greylisting",
            Self::RateLimit => "rate-limit",
            Self::Size => "size",
            Self::Routing => "routing",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Unsupported => "unsupported",
            Self::TheirServer => "their-server",
            Self::OurServer => "our-server",
            Self::Expired => "expired",
            Self::GivenUp => "given-up",
            Self::Other => "other",
        }
    }
}

/// Whether this outcome proves that the address does not exist, so that sending there again would only
/// harm the sender's name: a server of the recipient's said so, for good, and in so many words, and it said it
/// [of this recipient alone](Answer::personal). What it says of a mail to several may be about another of them.
///
/// "Mailbox unavailable" is not enough, which some servers say of what they take for spam.
#[must_use]
pub fn is_hard_bounce(outcome: &Outcome) -> bool {
    let Outcome::Failed(answer) = outcome else { return false };
    let says_so = (answer.status.subject, answer.status.detail) == (1, 1)
        || text::denies_the_address(answer.reply.text());
    answer.relay.is_some()
        && answer.personal
        && says_so
        && Diagnosis::of(answer) == Some(Diagnosis::UnknownUser)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Relay, Reply, Status};

    fn outcome(code: u16, status: Option<&str>, text: &str, theirs: bool) -> Outcome {
        let relay = Relay::of("mx.example");
        let status: Option<Status> = status.map(|status| status.parse().unwrap());
        Outcome::of_reply(Reply::new(code, status, text.to_owned()), theirs.then_some(relay))
    }

    fn diagnosis(code: u16, status: Option<&str>, text: &str) -> Option<Diagnosis> {
        Diagnosis::of(outcome(code, status, text, true).answer())
    }

    #[test]
    fn success_has_no_diagnosis() {
        assert_eq!(diagnosis(250, Some("2.0.0"), "spam is welcome"), None);
    }

    #[test]
    fn a_status_that_says_enough_is_believed_whatever_the_text() {
        let text = "<spam@blacklist.example>: see your provider";
        assert_eq!(diagnosis(552, Some("5.2.2"), text), Some(Diagnosis::MailboxFull));
        assert_eq!(diagnosis(550, Some("5.7.26"), text), Some(Diagnosis::Authentication));
        assert_eq!(diagnosis(451, Some("4.4.1"), text), Some(Diagnosis::Unreachable));
    }

    #[test]
    fn trouble_that_nobody_else_told_of_is_ours() {
        let own = outcome(451, Some("4.3.0"), "The Maildir cannot be written", false);
        assert_eq!(Diagnosis::of(own.answer()), Some(Diagnosis::OurServer));
        let theirs = outcome(451, Some("4.3.0"), "Temporary trouble", true);
        assert_eq!(Diagnosis::of(theirs.answer()), Some(Diagnosis::TheirServer));
    }

    #[test]
    fn only_a_servers_final_word_on_an_address_is_a_hard_bounce() {
        for (code, status, text, theirs, is_hard) in [
            (550, Some("5.1.1"), "User unknown", true, true),
            (550, Some("5.1.1"), "", true, true),
            (550, None, "No such user here", true, true),
            (450, Some("4.1.1"), "User unknown", true, false),
            (550, Some("5.1.1"), "User unknown", false, false),
            (550, Some("5.5.0"), "mailbox unavailable", true, false),
            (550, Some("5.1.1"), "blocked using zen.spamhaus.org", true, false),
            (550, Some("5.7.1"), "Recipient rejected by policy", true, false),
            (550, Some("5.7.1"), "Your host doesn't have a valid DNS name", true, false),
            (552, Some("5.2.2"), "Mailbox full", true, false),
            (250, None, "No such user, but thanks", true, false),
        ] {
            let outcome = outcome(code, status, text, theirs);
            assert!(!is_hard_bounce(&outcome), "said of the mail: {code} {status:?} {text}");
            assert_eq!(is_hard_bounce(&outcome.personal()), is_hard, "{code} {status:?} {text}");
        }
    }

    #[test]
    fn names_are_those_of_the_api() {
        for diagnosis in Diagnosis::ALL {
            let json = serde_json::to_string(&diagnosis).unwrap();
            assert_eq!(json, format!("\"{}\"", diagnosis.name()));
            assert_eq!(serde_json::from_str::<Diagnosis>(&json).unwrap(), diagnosis);
        }
        let later: Diagnosis = serde_json::from_str("\"of-a-later-version\"").unwrap();
        assert_eq!(later, Diagnosis::Other);
    }
}
