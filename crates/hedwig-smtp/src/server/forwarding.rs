//! XCLIENT: a front end that is trusted says for whom it speaks, and the session starts over with that client.

use std::{net::SocketAddr, sync::Arc};

use super::{Session, commands::Ask, replies};
use crate::{
    Peer, Question,
    command::{ATTRIBUTES, Xclient},
};

/// How far XCLIENT has come on a connection.
#[derive(Debug, Default)]
pub(super) enum Forwarding {
    /// Whoever connected speaks for itself.
    #[default]
    Never,
    /// It may say for whom it speaks.
    Allowed,
    /// It has, and may say more before its client's greeting.
    Telling(Xclient),
    /// The client has greeted. It may be the client itself that speaks now, for many front ends hand all on from here:
    /// nobody may say anything more about it.
    Told(Xclient),
}

impl Session {
    /// The same session, for a client that may say with XCLIENT for whom it speaks. Call it on a new one, and only
    /// for front ends that always say it: from others, whoever is behind them could.
    #[must_use]
    pub fn trusting_xclient(mut self) -> Self {
        self.forwarding = Forwarding::Allowed;
        self
    }

    /// What EHLO offers of it.
    pub(super) fn xclient_keyword(&self) -> Option<String> {
        let is_open = matches!(self.forwarding, Forwarding::Allowed | Forwarding::Telling(_));
        is_open.then(|| format!("XCLIENT {ATTRIBUTES}"))
    }

    /// Whether STARTTLS would be heard. Not after XCLIENT: what was said in clear text would have to be forgotten, and
    /// the client would be taken for its front end.
    pub(super) fn offers_starttls(&self) -> bool {
        let is_forwarded = matches!(self.forwarding, Forwarding::Telling(_) | Forwarding::Told(_));
        self.starttls && self.peer.tls.is_none() && !is_forwarded
    }

    /// What the client calls itself: what its front end says, if that does.
    pub(super) fn name_of_client(&mut self, greeting: String) -> String {
        self.forwarding = match std::mem::take(&mut self.forwarding) {
            Forwarding::Telling(told) => Forwarding::Told(told),
            other => other,
        };
        match &self.forwarding {
            Forwarding::Told(told) => told.hello.value().cloned().unwrap_or(greeting),
            _ => greeting,
        }
    }

    pub(super) fn forward(&mut self, told: Xclient) {
        if self.transaction.is_some() {
            return self.say(&replies::bad_sequence("XCLIENT is not allowed within a mail"));
        }
        let told = match std::mem::take(&mut self.forwarding) {
            Forwarding::Allowed => told,
            Forwarding::Telling(earlier) => told.after(earlier),
            closed => {
                self.forwarding = closed;
                return self.say(&replies::not_trusted());
            }
        };
        self.patience.count_wasted_command();
        let port = told.port.value().copied().unwrap_or(0);
        let client = told.address.map(|address| SocketAddr::new(address, port));
        self.peer = Arc::new(Peer {
            tls: self.peer.tls.clone(),
            authenticated: told.login.value().cloned(),
            ..Peer::new(client.or(self.peer.client))
        });
        self.forwarding = Forwarding::Telling(told);
        let question = Question::Connect { peer: self.peer.clone() };
        self.ask(Ask::Connect, question);
    }
}
