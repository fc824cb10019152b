#![doc = include_str!("../README.md")]

mod address;
mod content;
mod conversation;
mod deadline;
mod domain;
mod envelope;
mod id;
mod layer;
mod mail;
mod outcome;
mod parameters;
mod refusal;
mod reply;
mod service;
mod status;
mod tracking;

pub mod diagnosis;
pub mod dsn;
pub mod header;
pub mod lines;
pub mod trace;
pub mod xtext;

pub use address::{Address, AddressError, ReversePath};
pub use content::Content;
pub use conversation::Conversation;
pub use diagnosis::Diagnosis;
pub use domain::Domain;
pub use envelope::{Envelope, Recipient};
pub use id::{MailId, MailIdError};
pub use jiff::Timestamp;
pub use layer::{Change, ChangeLayer, adding_received};
pub use mail::{IdempotencyKey, IdempotencyKeyError, Mail, Origin, Protocol};
pub use outcome::{Answer, Handover, Outcome, Receipt, Relay};
pub use parameters::{
    Body, ByMode, DeliverBy, Hold, MailParameters, Notify, OriginalRecipient, ParameterError,
    Priority, Ret,
};
pub use refusal::{Refusal, RefusalKind, rescue};
pub use reply::Reply;
pub use service::{BoxError, BoxMailService, MailService};
pub use status::{Class, Status, StatusError};
pub use tracking::{Attempt, MailStatus, RecipientStatus, State, Verdict};
