//! How each server fared when it was last tried, for whoever asks why a mail waits. Nothing is decided by it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hedwig_envelope::{Outcome, Timestamp};
use serde::Serialize;

use crate::{
    attempt::Failure,
    connect::{Endpoint, Place},
};

/// So many addresses are remembered; then it is learned anew.
const CONTACTS_KEPT: usize = 10_000;
/// So much of what was said is kept.
const SAID_CHARS_MAX: usize = 300;

/// How it went when a server was last tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// When that ended.
    pub at: Timestamp,
    /// How many tries in a row it was not reached, did not want to talk with us, or broke off; 0 when it answered.
    pub failures: u32,
    /// What it answered to the last recipient, or what went wrong.
    pub said: String,
}

/// The contacts since the program began.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Mutex<HashMap<(String, SocketAddr), Contact>>);

impl Contacts {
    /// Takes down how a mail fared at a server.
    pub(crate) fn note(&self, endpoint: &Endpoint, sent: &Result<Vec<Outcome>, Failure>) {
        let Place::Tcp(address) = endpoint.place else { return };
        let said = |outcome: &Outcome| outcome.answer().reply.to_string();
        let (failed, said) = match sent {
            Ok(outcomes) => (false, outcomes.last().map(said).unwrap_or_default()),
            Err(Failure::IsUs) => (true, "it is this host".to_owned()),
            Err(Failure::NoWay(outcome) | Failure::NoConnection(outcome)) => (true, said(outcome)),
            Err(Failure::Broken(broken)) => (true, broken.error.to_string()),
        };
        let said = said.chars().take(SAID_CHARS_MAX).collect();
        let mut contacts = self.lock();
        let key = (endpoint.host.clone(), address);
        if contacts.len() >= CONTACTS_KEPT && !contacts.contains_key(&key) {
            contacts.clear();
        }
        let before = contacts.get(&key).map_or(0, |contact| contact.failures);
        let failures = if failed { before.saturating_add(1) } else { 0 };
        contacts.insert(key, Contact { at: Timestamp::now(), failures, said });
    }

    /// How it went at this address of a host.
    pub(crate) fn find(&self, host: &str, address: SocketAddr) -> Option<Contact> {
        self.lock().get(&(host.to_owned(), address)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, SocketAddr), Contact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
