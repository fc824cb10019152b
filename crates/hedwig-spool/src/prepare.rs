//! What can be done for a mail before it meets the committing thread: its record, its checksum, and the
//! file of a large content. All on the caller's time, and many at once.

use std::{borrow::Cow, io::IoSlice, sync::Arc};

use bytes::Bytes;
use hedwig_envelope::{Content, Mail, Timestamp};
use xxhash_rust::xxh3::{Xxh3, Xxh3Default};

use crate::{
    SpoolError, SpoolOptions,
    disk::Disk,
    record::{Encoded, Kind},
    state::{MailRecord, Place, StoredContent, units_of},
};

pub(crate) const CONTENTS: &str = "contents";
/// More would not fit the numbers of a record's header.
const INLINE_BYTES_MAX: usize = 256 << 20;

/// A mail that only needs to be written.
pub(crate) struct Prepared {
    pub(crate) mail: Arc<Mail>,
    pub(crate) record: Box<MailRecord>,
    pub(crate) encoded: Encoded,
    pub(crate) file: Option<ContentFile>,
}

/// Whether preparing this mail writes to the disk, and so blocks.
pub(crate) fn blocks(mail: &Mail, options: &SpoolOptions) -> bool {
    mail.content.len() >= options.inline_content_bytes_max.min(INLINE_BYTES_MAX)
}

pub(crate) fn prepare(
    mut mail: Mail,
    fingerprint: String,
    now: Timestamp,
    options: &SpoolOptions,
    disk: &Arc<dyn Disk>,
) -> Result<Prepared, SpoolError> {
    if mail.envelope.recipients.is_empty() {
        return Err(SpoolError::Malformed("A mail needs a recipient"));
    }
    let (place, content, file) = if blocks(&mail, options) {
        let (written, checksum) = ContentFile::write(&mail, disk)?;
        let place = Place::File { name: written.name.clone(), checksum };
        (place, Default::default(), Some(written))
    } else {
        mail.content = detached(&mail.content);
        (Place::Record, mail.content.chunks().map(Bytes::clone), None)
    };
    let record = Box::new(MailRecord {
        id: mail.id,
        envelope: mail.envelope.clone(),
        origin: mail.origin.clone(),
        content: StoredContent {
            added: mail.content.added().len() as u64,
            size: mail.content.len() as u64,
            place,
        },
        fingerprint,
        at: now,
        units: units_of(&mail, options.grouping, now),
        finished_at: None,
    });
    let encoded = Encoded::new(Kind::Mail, &*record, content);
    Ok(Prepared { mail: Arc::new(mail), record, encoded, file })
}

/// The same content in memory of its own. One that came in a request of many mails is a slice of that
/// request, and a single cached mail would keep all of it in memory, unseen by the cache's budget.
fn detached(content: &Content) -> Content {
    let bytes = Bytes::from(content.chunks().map(Bytes::as_ref).concat());
    let added = content.added().len();
    Content::with_added(bytes.slice(..added), bytes.slice(added..))
}

/// Equal for two submissions of one mail: what relays added does not count, and neither do the times that
/// shrink from one to the next.
pub(crate) fn fingerprint(mail: &Mail) -> String {
    let mut hasher = Xxh3Default::new();
    let mut envelope = Cow::Borrowed(&mail.envelope);
    if envelope.parameters.deliver_by.is_some() || envelope.parameters.hold.is_some() {
        let parameters = &mut envelope.to_mut().parameters;
        (parameters.deliver_by, parameters.hold) = (None, None);
    }
    // An envelope is plain data: serde_json cannot fail.
    hasher.update(&serde_json::to_vec(&*envelope).expect("an envelope is plain data"));
    hasher.update(mail.content.message());
    format!("{:032x}", hasher.digest128())
}

/// The file of a large content. Goes away unless it is kept.
pub(crate) struct ContentFile {
    disk: Arc<dyn Disk>,
    name: String,
    kept: bool,
}

impl ContentFile {
    fn write(mail: &Mail, disk: &Arc<dyn Disk>) -> Result<(Self, u64), SpoolError> {
        // One mail may be submitted twice at a time, so its id alone is no name.
        let name = format!("{}-{:016x}", mail.id, fastrand::u64(..));
        let path = format!("{CONTENTS}/{name}");
        let doing = |what: &str| SpoolError::io(format!("{what} {path}"));
        let file = disk.create(&path).map_err(doing("make"))?;
        let guard = Self { disk: disk.clone(), name, kept: false };
        let mut parts = mail.content.chunks().map(|chunk| IoSlice::new(chunk));
        file.append(&mut parts).map_err(doing("write"))?;
        file.flush().map_err(doing("flush"))?;
        disk.flush_directory(CONTENTS)
            .map_err(SpoolError::io("flush the directory of contents"))?;
        let mut hasher = Xxh3::new();
        mail.content.chunks().iter().for_each(|chunk| hasher.update(chunk));
        Ok((guard, hasher.digest()))
    }

    /// The log refers to it now, or may do so. Tells its name.
    pub(crate) fn keep(mut self) -> String {
        self.kept = true;
        std::mem::take(&mut self.name)
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if !self.kept {
            remove_content(&*self.disk, &self.name);
        }
    }
}

/// Removes the file of a content. If that fails, it is removed when the spool is opened again.
pub(crate) fn remove_content(disk: &dyn Disk, name: &str) {
    if let Err(error) = disk.unlink(&format!("{CONTENTS}/{name}")) {
        tracing::warn!(%error, name, "the file of a content stays behind");
    }
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Address, Envelope, Hold, MailId, Origin, ReversePath};

    use super::*;

    #[test]
    fn a_mail_that_is_submitted_again_is_the_same_though_its_time_shrinks() {
        let now = Timestamp::UNIX_EPOCH;
        let recipient: Address = "a@x.example".parse().unwrap();
        let submitted = |by: &str, hold, recipient: &Address| {
            let mut envelope = Envelope::new(ReversePath::Null, [recipient.clone()]);
            envelope.parameters.deliver_by = Some(by.parse().unwrap());
            envelope.parameters.hold = Some(Hold::For(hold));
            let (id, origin) = (MailId::new(now, 1), Origin::local(now));
            fingerprint(&Mail { id, envelope, content: Content::default(), origin })
        };
        let first = submitted("120;R", 60, &recipient);
        assert_eq!(submitted("90;R", 30, &recipient), first);
        assert_ne!(submitted("120;R", 60, &"b@x.example".parse().unwrap()), first);
    }

    #[test]
    fn a_detached_content_is_the_same_and_lets_go_of_its_request() {
        let request = Bytes::from(vec![b'x'; 1 << 20]);
        let content = Content::with_added("Received: x\r\n".into(), request.slice(7..4000));
        let detached = detached(&content);
        assert_eq!(detached, content);
        drop(content);
        assert!(request.is_unique(), "something keeps the request in memory");
    }
}
