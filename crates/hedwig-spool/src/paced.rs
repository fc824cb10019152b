//! How a courier claims: by the pace of each destination, which outlives a restart.

use hedwig_envelope::Timestamp;

use crate::{
    CourierOptions, Lease, Spool, SpoolError,
    engine::Engine,
    finding::Limits,
    pace::{PaceOptions, Saved},
};

/// What a claim by pace brought.
pub(crate) struct PacedClaim {
    pub(crate) leases: Vec<Lease>,
    /// More is due, and has to wait for what is under way.
    pub(crate) more: bool,
    /// There are more units that only need to be put off: claim again.
    pub(crate) put_off_more: bool,
    /// When there may be something to claim.
    pub(crate) next_due: Option<Timestamp>,
    /// When a sender is to be told next.
    pub(crate) next_telling: Option<Timestamp>,
}

impl Spool {
    /// Begins to claim by pace, with what was known before the last restart. After an error that is nothing.
    pub(crate) async fn begin_pacing(&self, options: PaceOptions) -> Result<(), SpoolError> {
        let now = self.clock().now();
        self.ask(move |engine| {
            let (texts, error) = match engine.index.take_paces() {
                Ok(texts) => (texts, None),
                // The options hold whatever is known.
                Err(error) => (Vec::new(), Some(error)),
            };
            let read = |text: &String| match serde_json::from_str::<Saved>(text) {
                Ok(saved) => Some(saved),
                Err(error) => {
                    tracing::warn!(%error, text, "what is known of a destination cannot be read");
                    None
                }
            };
            let saved: Vec<_> = texts.iter().filter_map(read).collect();
            // One that cannot be read is one too few.
            let complete = saved.len() == texts.len();
            let kept = |saved: &Saved| complete || *saved != Saved::Complete;
            engine.paces.begin(options, saved.into_iter().filter(kept).collect(), now);
            error.map_or(Ok(()), |error| Err(error.into()))
        })
        .await?
    }

    /// Keeps what is known of destinations for the next start.
    pub(crate) async fn save_paces(&self) -> Result<(), SpoolError> {
        let now = self.clock().now();
        self.ask(move |engine| {
            let saved = engine.paces.save(now);
            // Plain data with text keys: serde_json cannot fail.
            let text = |saved: &Saved| serde_json::to_string(saved).expect("a pace is plain data");
            Ok(engine.index.save_paces(&saved.iter().map(text).collect::<Vec<_>>())?)
        })
        .await?
    }

    /// Leases what is due at `now` and may be tried, `units_max` at the most, as the options have it.
    pub(crate) async fn claim_paced(
        &self,
        now: Timestamp,
        units_max: usize,
        options: &CourierOptions,
    ) -> Result<PacedClaim, SpoolError> {
        let CourierOptions { content_bytes_max, gathering, .. } = *options;
        let claim = move |engine: &mut Engine| {
            let paces = engine.paces.clone();
            let limits = Limits::Paced { units_max, content_bytes_max, paces };
            let found = engine.claim(now, limits)?;
            Ok((found, engine.next_telling(gathering)?))
        };
        let (found, next_telling) = self.ask_index(claim).await?;
        let leases = self.load_all(found.granted).await?;
        let (more, put_off_more) = (found.more, found.put_off_more);
        Ok(PacedClaim { leases, more, put_off_more, next_due: found.next_due, next_telling })
    }

    /// Until when a destination is left alone, if it is.
    pub(crate) fn rests_until(&self, destination: &str, now: Timestamp) -> Option<Timestamp> {
        self.shared.paces.rests_until(destination, now)
    }

    /// Gives a unit back untried, to be tried from `until` on.
    pub(crate) async fn put_off(&self, lease: &Lease, until: Timestamp) -> Result<(), SpoolError> {
        let (key, token) = ((lease.mail.id, lease.unit), lease.token);
        self.ask(move |engine| engine.put_off(key, token, until)).await
    }
}
