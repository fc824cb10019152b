//! Just-committed mails, for the first attempt: the oldest go when the budget is spent. Their contents have
//! memory of their own, so the budget counts what they take.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use hedwig_envelope::{Mail, MailId};

/// What a mail costs beside its content, roughly.
const MAIL_BYTES: usize = 1024;

pub(crate) struct Cache {
    bytes_max: usize,
    bytes: usize,
    mails: HashMap<MailId, Arc<Mail>>,
    order: VecDeque<MailId>,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, mails: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn insert(&mut self, mail: Arc<Mail>) {
        let cost = cost(&mail);
        if cost > self.bytes_max / 4 {
            return;
        }
        while self.bytes + cost > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
        self.bytes += cost;
        self.order.push_back(mail.id);
        if let Some(same) = self.mails.insert(mail.id, mail) {
            self.bytes -= self::cost(&same);
        }
        self.tidy();
    }

    pub(crate) fn get(&self, id: MailId) -> Option<&Arc<Mail>> {
        self.mails.get(&id)
    }

    pub(crate) fn remove(&mut self, id: MailId) {
        if let Some(mail) = self.mails.remove(&id) {
            self.bytes -= cost(&mail);
        }
    }

    /// Drops the names of mails that are gone, before they outnumber the others.
    fn tidy(&mut self) {
        if self.order.len() > 64 && self.order.len() > 2 * self.mails.len() {
            let mails = &self.mails;
            self.order.retain(|id| mails.contains_key(id));
        }
    }
}

fn cost(mail: &Mail) -> usize {
    let recipients = mail.envelope.recipients.len() * 128;
    mail.content.len() + recipients + MAIL_BYTES
}
