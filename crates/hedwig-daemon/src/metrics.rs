//! Metrics for Prometheus, in the words of the RFCs.

use std::sync::Arc;

use hedwig_envelope::{BoxError, Diagnosis, Outcome, State};
use hedwig_spool::{Counts, Spool};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::queue::state_name;

/// What a daemon counts. A cheap handle.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    accepted: Counter,
    refused: Counter,
    recipients: Family<OutcomeLabel, Counter>,
    diagnoses: Family<DiagnosisLabel, Counter>,
    queue: Family<StateLabel, Gauge>,
    owed: Gauge,
    quarantined: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DiagnosisLabel {
    diagnosis: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

impl Metrics {
    /// Metrics in which nothing has been counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, with what only one daemon counts: `register` puts it in.
    pub fn with(register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("hedwig");
        let (accepted, refused) = (Counter::default(), Counter::default());
        let recipients = Family::<OutcomeLabel, Counter>::default();
        let diagnoses = Family::<DiagnosisLabel, Counter>::default();
        let queue = Family::<StateLabel, Gauge>::default();
        let (owed, quarantined) = (Gauge::default(), Gauge::default());
        let help = "Mails taken: on stable storage here, or at the next server";
        registry.register("mails_accepted", help, accepted.clone());
        let help = "Mails not taken, now or ever; whoever sent them was told";
        registry.register("mails_refused", help, refused.clone());
        let help = "Delivery attempts by recipient and outcome: delivered, deferred or failed";
        registry.register("recipients", help, recipients.clone());
        let help = "Delivery attempts that did not go well, by recipient and what the reply means";
        registry.register("diagnoses", help, diagnoses.clone());
        let help = "Recipients in the queue by state";
        registry.register("queue_recipients", help, queue.clone());
        let help = "Mails whose senders are yet to be told what became of some recipients";
        registry.register("reports_owed", help, owed.clone());
        let help = "Damaged places of the spool that were set aside since it was opened";
        registry.register("spool_quarantined", help, quarantined.clone());
        register(&mut registry);
        Self {
            registry: Arc::new(registry),
            accepted,
            refused,
            recipients,
            diagnoses,
            queue,
            owed,
            quarantined,
        }
    }

    /// All metrics as OpenMetrics text, with the queue as it is now.
    ///
    /// # Errors
    /// When the spool does not answer.
    pub async fn to_text(&self, spool: &Spool) -> Result<String, BoxError> {
        let counts: Counts = spool.counts().await?;
        for (state, count) in counts.iter().filter(|(state, _)| !state.is_final()) {
            self.set_state(state, count);
        }
        set(&self.owed, spool.untold().await?);
        set(&self.quarantined, spool.quarantined());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn count_outcome(&self, outcome: &Outcome) {
        if let Some(diagnosis) = Diagnosis::of(outcome.answer()) {
            let label = DiagnosisLabel { diagnosis: diagnosis.name() };
            self.diagnoses.get_or_create(&label).inc();
        }
        let outcome = match outcome {
            Outcome::Done(_) => "delivered",
            Outcome::Deferred(_) => "deferred",
            Outcome::Failed(_) => "failed",
        };
        self.recipients.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    fn set_state(&self, state: State, count: u64) {
        let label = StateLabel { state: state_name(state) };
        set(&self.queue.get_or_create(&label), count);
    }

    pub(crate) fn count_mail(&self, is_accepted: bool) {
        if is_accepted { &self.accepted } else { &self.refused }.inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn set(gauge: &Gauge, count: u64) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
