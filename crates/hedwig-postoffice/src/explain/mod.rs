//! `hedwig-postoffice explain ADDRESS|ID`: why a mail waits, or how one would go, decided as it would be now.

mod command;
mod print;
mod report;
mod why;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use hedwig_daemon::control::{Explain, Question, Subject};
use hedwig_envelope::{Address, BoxError, MailId, MailStatus, State, Status, Timestamp};
use hedwig_mx::{
    Mx,
    dkim::{KeyRing, signing_domain},
    to_ascii,
};
use hedwig_spool::{Explained, ExplainedUnit, Spool, SpoolError, Suppressions, Waits};

pub(crate) use command::COMMAND;
use report::{Key, Limits, MailPart, RecipientPart, Report, Signatures, Try, Way};

use crate::Configuration;

/// Of a mail to many destinations so many are explained; the others are counted.
const WAYS_MAX: usize = 20;

/// Explains with what the daemon decides with. A cheap handle.
#[derive(Clone)]
pub(crate) struct Explainer {
    spool: Spool,
    mx: Mx,
    keys: KeyRing,
    suppressions: Suppressions,
    limits: Limits,
    daemon_runs: bool,
}

impl Explainer {
    pub(crate) fn new(
        configuration: &Configuration,
        spool: Spool,
        mx: Mx,
        keys: KeyRing,
        suppressions: Suppressions,
        daemon_runs: bool,
    ) -> Self {
        let per_sender = configuration.politeness.per_sender;
        let limits = Limits {
            size_max: configuration.listener.messages.content_bytes_max,
            expiry_seconds: configuration.delivery.schedule.expiry.as_secs(),
            concurrency: configuration.delivery.concurrency,
            content_memory: configuration.delivery.content_bytes_max,
            per_destination: configuration.politeness.per_destination,
            per_sender: Some(per_sender).filter(|most| *most < usize::MAX),
            sender_under_way: None,
        };
        Self { spool, mx, keys, suppressions, limits, daemon_runs }
    }

    /// The service that answers operators.
    pub(crate) fn service(&self) -> Explain {
        let explainer = self.clone();
        Explain::new(move |question| {
            let explainer = explainer.clone();
            async move { explainer.answer(&question).await }
        })
    }

    /// The answer as it is shown; `None` when there is no such mail.
    pub(crate) async fn answer(&self, question: &Question) -> Result<Option<String>, BoxError> {
        let report = match &question.subject {
            Subject::Mail(id) => self.mail(*id).await?,
            Subject::Recipient(address) => {
                Some(self.recipient(address, question.from.as_ref()).await)
            }
        };
        Ok(match report {
            None => None,
            Some(report) if question.text => Some(print::text(&report)),
            Some(report) => Some(serde_json::to_string(&report)? + "\n"),
        })
    }

    /// How a mail to this address would go, from this one.
    async fn recipient(&self, address: &Address, from: Option<&Address>) -> Report {
        let destination = address.domain_text().unwrap_or_default().to_lowercase();
        let road = self.mx.explain(address, None).await;
        // Afterwards: now it is known which servers the destination has.
        let destination = self.spool.destination(&destination);
        let way = Way {
            recipients: vec![self.recipient_part(address, None, None)],
            waits_for: None,
            why: why::of_new_mail(&destination),
            next_due: None,
            expires_at: None,
            attempts: 0,
            unreached: 0,
            destination,
            road: Some(road),
            tries: Vec::new(),
        };
        let domain = from.and_then(Address::domain_text).and_then(to_ascii);
        let signatures = self.signatures(domain.map(|domain| domain.into_owned()), false);
        Report {
            at: self.now(),
            daemon_runs: self.daemon_runs,
            mail: None,
            signatures,
            limits: self.limits.clone(),
            ways: vec![way],
            ways_left_out: 0,
        }
    }

    /// How it stands with a mail.
    async fn mail(&self, id: MailId) -> Result<Option<Report>, SpoolError> {
        let Some(Explained { status, mail, of_sender, units }) = self.spool.explain(id).await?
        else {
            return Ok(None);
        };
        let author = mail.as_ref().map(|mail| signing_domain(&mail.content));
        let of_header = author.is_some();
        let sender = || status.sender.address().and_then(Address::domain_text).and_then(to_ascii);
        let domain = author.unwrap_or_else(|| sender().map(|domain| domain.into_owned()));
        let signatures = self.signatures(domain, of_header);
        let ways_left_out = units.len().saturating_sub(WAYS_MAX);
        let asked = mail.as_ref().map(|mail| (&mail.envelope, &mail.content));
        let ways = units.into_iter().take(WAYS_MAX).map(async |unit| {
            let first = unit.recipients.first().and_then(|place| status.recipients.get(*place));
            let road = match first {
                Some(recipient) if !matches!(unit.waits, Waits::Finished | Waits::ForReport) => {
                    Some(self.mx.explain(&recipient.address, asked).await)
                }
                _ => None,
            };
            self.way(&status, unit, road)
        });
        let ways = join_all(ways).await;
        let parameters = mail.as_ref().map(|mail| &mail.envelope.parameters);
        Ok(Some(Report {
            at: self.now(),
            daemon_runs: self.daemon_runs,
            mail: Some(MailPart {
                id,
                sender: status.sender.clone(),
                created_at: status.created_at,
                size: status.size,
                require_tls: parameters.is_some_and(|parameters| parameters.require_tls),
                priority: parameters
                    .and_then(|parameters| parameters.priority)
                    .map_or(0, |priority| priority.value()),
            }),
            signatures,
            limits: Limits {
                sender_under_way: of_sender.1.map(|_| of_sender.0),
                ..self.limits.clone()
            },
            ways,
            ways_left_out,
        }))
    }

    fn way(
        &self,
        status: &MailStatus,
        unit: ExplainedUnit,
        road: Option<hedwig_mx::Explanation>,
    ) -> Way {
        let why = why::of_unit(&unit, self.now());
        let recipients =
            || unit.recipients.iter().filter_map(|place| status.recipients.get(*place));
        let mut tries: BTreeMap<Timestamp, Try> = BTreeMap::new();
        for attempt in recipients().flat_map(|recipient| &recipient.attempts) {
            let at = attempt.at;
            let tried = tries.entry(at).or_insert_with(|| {
                let said = unit.conversations.iter().find(|(then, _)| *then == at);
                let conversation = said.map(|(_, conversation)| conversation.clone());
                Try { at, answers: Vec::new(), conversation }
            });
            if !tried.answers.contains(attempt) {
                tried.answers.push(attempt.clone());
            }
        }
        let recipients = recipients().map(|recipient| {
            self.recipient_part(&recipient.address, Some(recipient.state), recipient.status)
        });
        Way {
            recipients: recipients.collect(),
            waits_for: Some(unit.waits),
            why,
            next_due: unit.next_due,
            expires_at: unit.expires_at,
            attempts: unit.attempts.0,
            unreached: unit.attempts.1,
            destination: unit.destination,
            road,
            tries: tries.into_values().collect(),
        }
    }

    fn recipient_part(
        &self,
        address: &Address,
        state: Option<State>,
        status: Option<Status>,
    ) -> RecipientPart {
        let found = self.suppressions.find(address, self.now());
        // As in a delivery: a list that cannot be read keeps nobody from being tried.
        let suppression = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "an explanation without suppressions");
            None
        });
        RecipientPart { address: address.clone(), state, status, suppression }
    }

    fn signatures(&self, domain: Option<String>, of_header: bool) -> Signatures {
        let current = self.keys.current();
        let keys = domain.as_deref().map_or(&[][..], |domain| current.for_domain(domain));
        let keys = keys.iter().map(|key| Key::of(key)).collect();
        Signatures { domain, of_header, keys }
    }

    fn now(&self) -> Timestamp {
        self.spool.clock().now()
    }
}
