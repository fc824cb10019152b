use std::{fs, future::Future, pin::pin, time::Duration};

use hedwig_envelope::{
    BoxError, Mail, MailId, MailService, Origin, Outcome, Receipt, RefusalKind, Timestamp, rescue,
};
use hedwig_smtp::batch::BatchMail;
use hedwig_transport::RECIPIENTS_MAX;
use tower::ServiceExt;

use super::{
    directory::DropDirectories,
    taken::{ReadError, read, take},
};

/// How dropped mail is picked up.
#[derive(Clone, Debug)]
pub struct PickUpOptions {
    /// The largest content of a mail, in bytes.
    pub content_bytes_max: u64,
    /// The most recipients of a mail.
    pub recipients_max: usize,
    /// How long to wait between two looks.
    pub interval: Duration,
}

impl Default for PickUpOptions {
    fn default() -> Self {
        Self {
            content_bytes_max: 50 * 1024 * 1024,
            recipients_max: RECIPIENTS_MAX,
            interval: Duration::from_secs(5),
        }
    }
}

/// Gives the mail that programs have dropped to a service.
///
/// The service is to store it: each mail comes with an idempotency key, and comes again under the same
/// one after a crash.
#[derive(Clone, Debug)]
pub struct PickUp<S> {
    directories: DropDirectories,
    service: S,
    options: PickUpOptions,
}

impl<S: MailService> PickUp<S> {
    /// A pick-up that gives the mail in these directories, which exist, to the service.
    pub fn new(directories: DropDirectories, service: S, options: PickUpOptions) -> Self {
        Self { directories, service, options }
    }

    /// Looks at once and then again and again, until `stop`.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            // What is cut short is not lost: its file is still there.
            tokio::select! {
                biased;
                () = &mut stop => return,
                looked = self.look() => if let Err(error) = looked {
                    tracing::error!(%error, "dropped mail cannot be picked up; trying again");
                },
            }
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(self.options.interval) => {}
            }
        }
    }

    /// Picks up what there is.
    ///
    /// # Errors
    /// When a directory cannot be read, or the service cannot take mail just now. What was not picked
    /// up is still there.
    pub async fn look(&self) -> Result<(), BoxError> {
        let directories = self.directories.clone();
        let taken = tokio::task::spawn_blocking(move || take(&directories)).await??;
        for id in taken {
            self.pick_up(id).await?;
        }
        Ok(())
    }

    async fn pick_up(&self, id: MailId) -> Result<(), BoxError> {
        let path = self.directories.taken.join(id.to_string());
        let limits = self.options.clone();
        let read = tokio::task::spawn_blocking(move || read(&path, &limits)).await?;
        let (mail, user_id) = match read {
            Ok(dropped) => (mail(id, dropped.mail), dropped.user_id),
            Err(ReadError::Io(error)) => {
                // The others are not to wait for this one.
                tracing::error!(%id, %error, "a dropped mail cannot be read; trying again");
                return Ok(());
            }
            Err(error) => return self.refuse(id, &error.to_string()),
        };
        match self.service.clone().oneshot(mail).await {
            Ok(receipt) => self.settle(id, user_id, &receipt),
            Err(error) => match rescue(&error) {
                refusal if refusal.kind == RefusalKind::KeyReused => {
                    self.refuse(id, "the file was changed after it had been picked up")
                }
                refusal if refusal.reply.is_permanent() => {
                    self.refuse(id, &refusal.reply.to_string())
                }
                _ => Err(error),
            },
        }
    }

    fn settle(&self, id: MailId, user_id: u32, receipt: &Receipt) -> Result<(), BoxError> {
        for outcome in &receipt.outcomes {
            match outcome {
                Outcome::Done(_) => {}
                Outcome::Deferred(answer) => return Err(answer.reply.to_string().into()),
                Outcome::Failed(answer) => return self.refuse(id, &answer.reply.to_string()),
            }
        }
        fs::remove_file(self.directories.taken.join(id.to_string()))?;
        tracing::info!(id = %receipt.id, user_id, "picked up a dropped mail");
        Ok(())
    }

    /// Puts what cannot be used where an operator finds it.
    fn refuse(&self, id: MailId, reason: &str) -> Result<(), BoxError> {
        let refused = self.directories.refused.join(id.to_string());
        let (path, reason) = (refused.display(), reason.replace(char::is_control, "?"));
        tracing::error!(%path, reason, "a dropped file is no mail that can be sent; it is kept there");
        fs::rename(self.directories.taken.join(id.to_string()), &refused).map_err(Into::into)
    }
}

/// The mail that a dropped one becomes. All in it follows from the file and its name, so that it is the
/// same mail when it is read again.
fn mail(id: MailId, dropped: BatchMail) -> Mail {
    let [a, b, c, d, e, f, ..] = id.to_bytes();
    let millisecond = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let taken_at = Timestamp::from_millisecond(millisecond).unwrap_or(Timestamp::UNIX_EPOCH);
    Mail {
        id,
        envelope: dropped.envelope,
        content: dropped.content,
        origin: Origin { idempotency_key: Some(id.into()), ..Origin::local(taken_at) },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::unix::fs::symlink,
        path::Path,
        sync::{Arc, Mutex},
        time::SystemTime,
    };

    use hedwig_envelope::{Body, Content, Envelope, Reply, ReversePath, Status};
    use hedwig_spool::{Filter, Spool, SpoolOptions};

    use super::*;
    use crate::sendmail::drop::{taken::TEMPORARY_AGE_MAX, write};

    struct Place {
        _spool: tempfile::TempDir,
        directories: DropDirectories,
    }

    impl Place {
        fn new() -> Self {
            let spool = tempfile::tempdir().unwrap();
            let directories = DropDirectories::of_spool(spool.path());
            directories.make().unwrap();
            Self { _spool: spool, directories }
        }

        fn pick_up<S: MailService>(&self, service: S) -> PickUp<S> {
            PickUp::new(self.directories.clone(), service, PickUpOptions::default())
        }

        fn drop_mail(&self, body: &'static str) {
            write(&self.directories, new_id(), envelope(), Content::from(body)).unwrap();
        }

        fn count(&self, directory: &Path) -> usize {
            fs::read_dir(directory).unwrap().count()
        }

        /// Files in drop, drop-taken and drop-refused.
        fn counts(&self) -> [usize; 3] {
            let DropDirectories { drop, taken, refused } = &self.directories;
            [drop, taken, refused].map(|directory| self.count(directory))
        }
    }

    fn new_id() -> MailId {
        MailId::new(Timestamp::now(), fastrand::u128(..))
    }

    fn envelope() -> Envelope {
        let recipient: hedwig_envelope::Address = "b@example.net".parse().unwrap();
        Envelope::new(ReversePath::Null, [recipient])
    }

    /// A service that answers so and keeps what it was given.
    fn keeper(code: u16, status: Status) -> (impl MailService, Arc<Mutex<Vec<Mail>>>) {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let service = tower::service_fn({
            let kept = kept.clone();
            move |mail: Mail| {
                let outcome = Outcome::of_reply(Reply::with_status(code, status, "word"), None);
                let receipt = Receipt::uniform(mail.id, mail.envelope.recipients.len(), outcome);
                kept.lock().unwrap().push(mail);
                async { Ok::<_, BoxError>(receipt) }
            }
        });
        (service, kept)
    }

    #[tokio::test]
    async fn a_drop_becomes_a_mail_with_a_name_and_a_key_of_the_daemons_own() {
        let place = Place::new();
        let dropped_as = new_id();
        write(&place.directories, dropped_as, envelope(), Content::from("hi\r\n")).unwrap();
        let (service, kept) = keeper(250, Status::OK);
        place.pick_up(service).look().await.unwrap();
        let kept = kept.lock().unwrap();
        assert_eq!(kept[0].content.to_bytes(), "hi\r\n");
        assert_ne!(kept[0].id, dropped_as);
        assert_eq!(kept[0].origin.idempotency_key, Some(kept[0].id.into()));
        let age = Timestamp::now().duration_since(kept[0].origin.received_at);
        assert!(age.as_secs() < 60, "the time is that of the name: {age:?}");
        assert_eq!(place.counts(), [0, 0, 0]);
    }

    #[tokio::test]
    async fn a_crash_between_commit_and_unlink_makes_no_second_mail() {
        let place = Place::new();
        place.drop_mail("once\r\n");
        let id = take(&place.directories).unwrap()[0];
        let path = place.directories.taken.join(id.to_string());
        let bytes = fs::read(&path).unwrap();
        let spool = Spool::in_memory(SpoolOptions::default()).unwrap();
        let pick_up = place.pick_up(spool.clone());
        pick_up.look().await.unwrap();
        fs::write(&path, &bytes).unwrap();
        pick_up.look().await.unwrap();
        assert_eq!(spool.list(&Filter::default()).await.unwrap().len(), 1);
        assert_eq!(place.counts(), [0, 0, 0]);
        let other = String::from_utf8(bytes).unwrap().replace("once", "twic");
        fs::write(&path, other).unwrap();
        pick_up.look().await.unwrap();
        assert_eq!(spool.list(&Filter::default()).await.unwrap().len(), 1);
        assert_eq!(place.counts(), [0, 0, 1], "a file that changed is kept for an operator");
    }

    #[tokio::test]
    async fn what_cannot_be_taken_now_is_taken_later_under_the_same_key() {
        let place = Place::new();
        place.drop_mail("later\r\n");
        let (busy, asked) = keeper(452, Status::transient(3, 1));
        assert!(place.pick_up(busy).look().await.is_err());
        assert_eq!(place.counts(), [0, 1, 0]);
        let (free, kept) = keeper(250, Status::OK);
        place.pick_up(free).look().await.unwrap();
        assert_eq!(asked.lock().unwrap()[0], kept.lock().unwrap()[0]);
        assert_eq!(place.counts(), [0, 0, 0]);
    }

    #[tokio::test]
    async fn what_is_no_mail_is_kept_apart_and_holds_up_nothing() {
        let place = Place::new();
        let drop = &place.directories.drop;
        let name = || drop.join(new_id().to_string());
        fs::write(name(), "root:x:0:0\n").unwrap();
        fs::write(name(), "").unwrap();
        fs::write(name(), "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 99999999999 LAST\r\nx").unwrap();
        fs::write(name(), "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 1 LAST\r\nx".repeat(2)).unwrap();
        let linked = name();
        fs::write(&linked, "x").unwrap();
        fs::hard_link(&linked, drop.join("another-name")).unwrap();
        place.drop_mail("good\r\n");
        let (service, kept) = keeper(250, Status::OK);
        place.pick_up(service).look().await.unwrap();
        assert_eq!(kept.lock().unwrap().len(), 1);
        assert_eq!(place.counts(), [1, 0, 5]);
    }

    #[tokio::test]
    async fn a_nul_is_set_aside_unless_the_mail_is_binary() {
        let place = Place::new();
        place.drop_mail("a\0b\r\n");
        let mut binary = envelope();
        binary.parameters.body = Some(Body::BinaryMime);
        write(&place.directories, new_id(), binary, Content::from("a\0b\n")).unwrap();
        let (service, kept) = keeper(250, Status::OK);
        place.pick_up(service).look().await.unwrap();
        assert_eq!(kept.lock().unwrap()[0].content.to_bytes(), "a\0b\n");
        assert_eq!(place.counts(), [0, 0, 1]);
    }

    #[tokio::test]
    async fn links_directories_and_foreign_names_are_not_touched() {
        let place = Place::new();
        let drop = &place.directories.drop;
        symlink("/etc/passwd", drop.join(new_id().to_string())).unwrap();
        fs::create_dir(drop.join(new_id().to_string())).unwrap();
        fs::write(drop.join("README"), "x").unwrap();
        fs::write(drop.join(format!("tmp.{}", new_id())), "under way").unwrap();
        let (service, kept) = keeper(250, Status::OK);
        place.pick_up(service).look().await.unwrap();
        assert!(kept.lock().unwrap().is_empty());
        assert_eq!(place.counts(), [4, 0, 0]);
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_a_taken_file_is_not_followed() {
        let place = Place::new();
        let taken = place.directories.taken.join(new_id().to_string());
        symlink("/etc/passwd", &taken).unwrap();
        let (service, kept) = keeper(250, Status::OK);
        place.pick_up(service).look().await.unwrap();
        assert!(kept.lock().unwrap().is_empty());
        assert_eq!(place.counts(), [0, 0, 1]);
    }

    #[tokio::test]
    async fn what_was_never_finished_is_removed_in_the_end() {
        let place = Place::new();
        let path = place.directories.drop.join(format!("tmp.{}", new_id()));
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - 2 * TEMPORARY_AGE_MAX).unwrap();
        let (service, _) = keeper(250, Status::OK);
        place.pick_up(service).look().await.unwrap();
        assert_eq!(place.counts(), [0, 0, 0]);
    }

    #[tokio::test]
    async fn a_mail_that_is_larger_than_any_is_not_read() {
        let place = Place::new();
        place.drop_mail("large\r\n");
        let (service, kept) = keeper(250, Status::OK);
        let options = PickUpOptions { content_bytes_max: 4, ..PickUpOptions::default() };
        PickUp::new(place.directories.clone(), service, options).look().await.unwrap();
        assert!(kept.lock().unwrap().is_empty());
        assert_eq!(place.counts(), [0, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_again_and_again_until_it_is_stopped() {
        let place = Place::new();
        let (service, kept) = keeper(250, Status::OK);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let pick_up = place.pick_up(service);
        let running = tokio::spawn(pick_up.run(async { stopped.await.unwrap() }));
        for count in 1..=3 {
            place.drop_mail("again\r\n");
            while kept.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        stop.send(()).unwrap();
        running.await.unwrap();
    }
}
