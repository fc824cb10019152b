//! What only mailman counts: those who send too much, and those who fail to authenticate.

use hedwig_daemon::Metrics;
use hedwig_smtp::server::FailedAuthentications;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
    },
};

use crate::Limit;

/// Counts of what listeners refuse. A cheap handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    exceeded: Family<LimitLabels, Counter>,
    relays: Family<ListenerLabel, Counter>,
    failures: FailedAuthentications,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    listener: String,
    limit: &'static str,
}

impl Counts {
    /// Metrics with these counts among them.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::with(|registry| {
            let help = "Mails not taken because a rate was exceeded, by listener and limit: client, sender or user";
            registry.register("rates_exceeded", help, self.exceeded.clone());
            let help = "Recipients refused because the client may not relay, by listener";
            registry.register("relays_refused", help, self.relays.clone());
            registry.register_collector(Box::new(Failures(self.failures.clone())));
        })
    }

    /// What counts the mails that were too many at a listener.
    pub(crate) fn exceeded(
        &self,
        listener: &str,
    ) -> impl Fn(Limit) + Clone + Send + Sync + 'static {
        let (exceeded, listener) = (self.exceeded.clone(), listener.to_owned());
        move |limit| {
            let labels = LimitLabels { listener: listener.clone(), limit: limit.name() };
            exceeded.get_or_create(&labels).inc();
        }
    }

    /// What counts the recipients at a listener that its clients may not send to.
    pub(crate) fn relays_refused(
        &self,
        listener: &str,
    ) -> impl Fn() + Clone + Send + Sync + 'static + use<> {
        let (relays, listener) = (self.relays.clone(), listener.to_owned());
        move || {
            relays.get_or_create(&ListenerLabel { listener: listener.clone() }).inc();
        }
    }

    /// What counts failed authentications.
    pub(crate) fn failures(&self) -> FailedAuthentications {
        self.failures.clone()
    }
}

#[derive(Debug)]
struct Failures(FailedAuthentications);

impl Collector for Failures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(self.0.total());
        let help = "Clients that could not prove who they said they were";
        let kind = counter.metric_type();
        counter.encode(encoder.encode_descriptor("authentication_failures", help, None, kind)?)
    }
}
