use serde::{Deserialize, Serialize};

use crate::{Address, MailParameters, Notify, OriginalRecipient, ReversePath};

/// Who sends to whom, and what was asked for on the way (RFC 5321 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who is told when delivery fails.
    pub sender: ReversePath,
    /// What was asked for the whole mail.
    #[serde(default)]
    pub parameters: MailParameters,
    /// Who gets it, in the order in which they were named.
    pub recipients: Vec<Recipient>,
}

impl Envelope {
    /// An envelope without parameters.
    pub fn new(
        sender: impl Into<ReversePath>,
        recipients: impl IntoIterator<Item = impl Into<Recipient>>,
    ) -> Self {
        Self {
            sender: sender.into(),
            parameters: MailParameters::default(),
            recipients: recipients.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether the next server must offer SMTPUTF8 (RFC 6531 §3.4).
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        self.parameters.smtputf8
            || self.sender.address().is_some_and(Address::needs_utf8)
            || self.recipients.iter().any(|recipient| recipient.address.needs_utf8())
    }
}

/// One recipient, and what was asked for it with RCPT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The mailbox.
    pub address: Address,
    /// `NOTIFY`; absent, [`Notify::default`] holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// `ORCPT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRecipient>,
}

impl Recipient {
    /// Of what the sender wants to be told.
    #[must_use]
    pub fn notify(&self) -> Notify {
        self.notify.unwrap_or_default()
    }
}

impl From<Address> for Recipient {
    fn from(address: Address) -> Self {
        Self { address, notify: None, original: None }
    }
}
