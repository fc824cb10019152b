//! Idempotency keys: which mail has which, and which are being worked on.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hedwig_envelope::IdempotencyKey;
use hedwig_smtp::batch::BatchMail;
use http::{HeaderMap, StatusCode};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::Problem;

/// Gives each mail without a key of its own that of the request's `Idempotency-Key` field. In a batch
/// of several the place is added, `KEY/1` and so on, so that the whole batch can be sent again.
pub(super) fn assign(headers: &HeaderMap, mails: &mut [BatchMail]) -> Result<(), Problem> {
    let Some(given) = header_key(headers)? else { return Ok(()) };
    let several = mails.len() > 1;
    for (index, mail) in mails.iter_mut().enumerate().filter(|(_, mail)| mail.key.is_none()) {
        let key = if several { format!("{given}/{}", index + 1) } else { given.clone() };
        mail.key = Some(key.parse().map_err(|_| malformed())?);
    }
    Ok(())
}

/// The key in the header. The quotes that make it a string of RFC 9651 do not belong to it.
fn header_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut fields = headers.get_all("idempotency-key").iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let text = field.to_str().map_err(|_| malformed())?;
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if fields.next().is_some() || text.parse::<IdempotencyKey>().is_err() {
        return Err(malformed());
    }
    Ok(Some(text.to_owned()))
}

fn malformed() -> Problem {
    let detail = "The Idempotency-Key must be one field of 1 to 255 visible ASCII characters.";
    Problem::new(StatusCode::BAD_REQUEST, "Malformed idempotency key", detail)
}

/// The keys of the mails that are being handed in just now.
#[derive(Clone, Debug, Default)]
pub(super) struct KeysUnderWay(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    keys: Mutex<HashSet<IdempotencyKey>>,
    freed: Notify,
}

/// Keeps its keys under way for as long as it lives.
#[derive(Debug)]
pub(super) struct KeysGuard {
    under_way: KeysUnderWay,
    keys: Vec<IdempotencyKey>,
}

impl KeysUnderWay {
    /// Puts the mails' keys under way. While one of them is under way already it waits, so that a
    /// request that comes twice at once gets the one mail's id twice; but not longer than `patience`.
    pub(super) async fn enter(
        &self,
        mails: &[BatchMail],
        patience: Duration,
    ) -> Result<KeysGuard, Problem> {
        let keys: Vec<_> = mails.iter().filter_map(|mail| mail.key.clone()).collect();
        let mut own = HashSet::with_capacity(keys.len());
        if let Some(repeated) = keys.iter().find(|key| !own.insert(*key)) {
            // Within one request there is no first that could be waited for.
            return Err(still_running(repeated));
        }
        let deadline = Instant::now() + patience;
        loop {
            let mut freed = pin!(self.0.freed.notified());
            // From here on no key is freed unheard.
            freed.as_mut().enable();
            let Some(busy) = self.insert(&keys) else {
                return Ok(KeysGuard { under_way: self.clone(), keys });
            };
            timeout_at(deadline, freed).await.map_err(|_| still_running(&busy))?;
        }
    }

    /// Puts all of the keys in, or none and says which one is there already.
    fn insert(&self, keys: &[IdempotencyKey]) -> Option<IdempotencyKey> {
        let mut set = self.lock();
        let busy = keys.iter().find(|key| set.contains(*key)).cloned();
        if busy.is_none() {
            set.extend(keys.iter().cloned());
        }
        busy
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<IdempotencyKey>> {
        // A set of keys has no state between states that a panic could leave behind.
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeysGuard {
    fn drop(&mut self) {
        let mut set = self.under_way.lock();
        for key in &self.keys {
            set.remove(key);
        }
        drop(set);
        self.under_way.0.freed.notify_waiters();
    }
}

fn still_running(key: &IdempotencyKey) -> Problem {
    let detail = format!("The mail with the key {key} is still being taken in.");
    Problem::new(StatusCode::CONFLICT, "Idempotency key in use", detail)
        .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedwig_envelope::{Content, Envelope, ReversePath};

    fn mail(key: &str) -> BatchMail {
        let envelope = Envelope::new(ReversePath::Null, Vec::<hedwig_envelope::Address>::new());
        BatchMail { key: key.parse().ok(), envelope, content: Content::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_batch_leaves_no_key_behind() {
        let keys = KeysUnderWay::default();
        let patience = Duration::from_secs(10);
        let first = keys.enter(&[mail("b")], patience).await.unwrap();
        assert!(keys.enter(&[mail("a"), mail("b")], patience).await.is_err());
        drop(first);
        assert!(keys.enter(&[mail("a"), mail("b")], patience).await.is_ok());
        assert!(keys.lock().is_empty());
    }

    #[test]
    fn a_batch_gets_numbered_keys_where_it_has_none() {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", "\"k\"".parse().unwrap());
        let mut mails = [mail("own"), mail("")];
        assert!(assign(&headers, &mut mails).is_ok());
        let keys = mails.map(|mail| mail.key.unwrap().to_string());
        assert_eq!(keys, ["own", "k/2"]);
    }
}
