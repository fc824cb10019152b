//! What a diagnosis means for a person: in plain words what happened, who can mend it, and how.

use super::Diagnosis;

/// Who can mend a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Whoever wrote the mail.
    Sender,
    /// Whoever it is for.
    Recipient,
    /// Who runs the recipient's server.
    TheirOperator,
    /// Who runs this server.
    OurOperator,
    /// Nobody: it is how mail works.
    Nobody,
}

impl Blame {
    /// Who that is, to the operator of this server.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sender => "the sender",
            Self::Recipient => "the recipient",
            Self::TheirOperator => "the operator of their server",
            Self::OurOperator => "the operator of this server",
            Self::Nobody => "nobody, it passes",
        }
    }

    /// Who that is, to the sender of a mail.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Sender => "you",
            Self::Recipient => "the recipient",
            Self::TheirOperator => "whoever runs the recipient's mail server",
            Self::OurOperator => "whoever runs this mail server",
            Self::Nobody => "nobody: this passes by itself",
        }
    }
}

impl Diagnosis {
    /// What happened, in a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::UnknownUser => "There is no such address.",
            Self::MailboxClosed => "The mailbox is closed.",
            Self::MailboxFull => "The mailbox is full.",
            Self::SenderRefused => "The recipient's server does not take the sender's address.",
            Self::Policy => "A rule of the recipient's server forbids this mail.",
            Self::Spam => "The recipient's server took the mail for spam.",
            Self::Reputation => {
                "The recipient's server does not trust this server's address, or your domain."
            }
            Self::Authentication => {
                "The recipient's server could not verify that the mail is from its sender."
            }
            Self::Greylisting => "The recipient's server lets senders wait that are new to it.",
            Self::RateLimit => "The recipient's server was sent too much in a short time.",
            Self::Size => "The mail is too large for the recipient's server.",
            Self::Routing => "The recipient's domain has no server that takes its mail.",
            Self::Unreachable => "The recipient's server does not answer.",
            Self::Tls => "No safe connection to the recipient's server was possible.",
            Self::Protocol => "The two servers did not understand each other.",
            Self::Unsupported => "The recipient's server cannot take a mail of this form.",
            Self::TheirServer => "The recipient's server has trouble of its own.",
            Self::OurServer => "This server has trouble of its own.",
            Self::Expired => "The time in which the mail had to arrive is over.",
            Self::GivenUp => "The operator of this server gave the mail up.",
            Self::Other => "The recipient's server does not say clearly what it wants.",
        }
    }

    /// Who can mend it.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::UnknownUser | Self::Size | Self::Spam | Self::Unsupported => Blame::Sender,
            Self::MailboxClosed | Self::MailboxFull => Blame::Recipient,
            Self::Policy
            | Self::Routing
            | Self::Unreachable
            | Self::Tls
            | Self::TheirServer
            | Self::Expired
            | Self::Other => Blame::TheirOperator,
            Self::SenderRefused
            | Self::Reputation
            | Self::Authentication
            | Self::RateLimit
            | Self::Protocol
            | Self::OurServer
            | Self::GivenUp => Blame::OurOperator,
            Self::Greylisting => Blame::Nobody,
        }
    }

    /// What to do, in a sentence or two, to the sender of a mail.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::UnknownUser => {
                "Look for a typing error in the address, or ask the recipient for the right one."
            }
            Self::MailboxClosed => "Ask the recipient in another way where to write to.",
            Self::MailboxFull => "Tell the recipient in another way, and send it again later.",
            Self::SenderRefused => {
                "Make sure that the address you send from exists and can be answered."
            }
            Self::Policy => "Read below what the server says, and ask its postmaster.",
            Self::Spam => {
                "Send it again in other words, with fewer links, or ask the recipient to expect it."
            }
            Self::Reputation => {
                "Show this mail to your own postmaster, who can ask for the address to be unlisted."
            }
            Self::Authentication => {
                "Show this mail to your own postmaster: SPF, DKIM, DMARC or the reverse DNS of your \
                 domain need mending."
            }
            Self::Greylisting => "Wait.",
            Self::RateLimit => "Send less at a time, or wait.",
            Self::Size => "Send it in parts, or put large files where they can be fetched.",
            Self::Routing => "Look for a typing error in the part of the address after the @.",
            Self::Unreachable | Self::TheirServer | Self::Tls => {
                "Reach the recipient in another way, or send it again later."
            }
            Self::Protocol | Self::OurServer => "Show this mail to your own postmaster.",
            Self::Unsupported => {
                "Send it in plain ASCII, and to an address in plain ASCII, if there is one."
            }
            Self::Expired => "Send it again, with more time, if it is still of use.",
            Self::GivenUp => "Ask your own postmaster why.",
            Self::Other => "Read below what the server says.",
        }
    }
}
