//! What the daemons of this thread log, as events that a test can await.

use std::{collections::HashMap, fmt};

use tokio::sync::mpsc;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

/// The log of this thread, until it is dropped.
pub(crate) struct Log {
    events: mpsc::UnboundedReceiver<Fields>,
    _guard: DefaultGuard,
}

/// An event's fields by name, its text being `message`. What is not there is empty.
#[derive(Default)]
pub(crate) struct Fields(HashMap<&'static str, String>);

impl std::ops::Index<&str> for Fields {
    type Output = str;

    fn index(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Log {
    pub(crate) fn start() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let subscriber = tracing_subscriber::registry().with(Sender(sender));
        Self { events, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Waits for the next event that means something, and returns what.
    pub(crate) async fn next<T>(&mut self, meaning: impl Fn(&Fields) -> Option<T>) -> T {
        super::patiently(async {
            loop {
                let event = self.events.recv().await.unwrap();
                if let Some(found) = meaning(&event) {
                    return found;
                }
            }
        })
        .await
    }
}

struct Sender(mpsc::UnboundedSender<Fields>);

impl<S: Subscriber> Layer<S> for Sender {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // A test that has seen enough is no reason to fail in a daemon.
        let _ = self.0.send(fields);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
