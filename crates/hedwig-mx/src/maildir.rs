//! Delivery into a Maildir: written to `tmp`, flushed, and renamed into `new`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use hedwig_envelope::{Handover, Mail, Outcome, Reply, Status, trace};

use crate::word;

/// Writes the mail once, and answers for so many recipients.
///
/// The file's name follows from the mail's id: an attempt that is repeated, because nobody learnt of its
/// success, replaces the unread copy instead of making a second one.
pub(crate) async fn deliver(
    path: &Path,
    mail: &Mail,
    recipients: usize,
    hostname: &str,
) -> Vec<Outcome> {
    let delivery = Delivery::new(path, mail, hostname);
    let written = tokio::task::spawn_blocking(move || delivery.write()).await;
    let outcome = match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(()) => {
            let reply = Reply::with_status(250, Status::OK, "Written to the Maildir");
            Outcome::of_reply(reply, None).handed_over(Handover::Delivered)
        }
        Err(error) => {
            let status = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (2, 2),
                _ => (3, 0),
            };
            let text = format!("The Maildir {} cannot be written: {error}", path.display());
            word::say(Status::transient(status.0, status.1), text, None)
        }
    };
    vec![outcome; recipients]
}

struct Delivery {
    directory: PathBuf,
    name: String,
    head: String,
    mail: hedwig_envelope::Content,
}

impl Delivery {
    fn new(directory: &Path, mail: &Mail, hostname: &str) -> Self {
        let host: String = hostname
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
            .collect();
        let seconds = mail.origin.received_at.as_second();
        Self {
            directory: directory.to_owned(),
            name: format!("{seconds}.{}.{host}", mail.id),
            head: trace::return_path(&mail.envelope.sender),
            mail: mail.content.clone(),
        }
    }

    fn write(&self) -> io::Result<()> {
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(self.directory.join(part))?;
        }
        // Two attempts at once must not write into one file.
        let attempt = format!("{}.{:016x}", self.name, fastrand::u64(..));
        let temporary = self.directory.join("tmp").join(attempt);
        let written = self
            .write_to(&temporary)
            .and_then(|()| fs::rename(&temporary, self.directory.join("new").join(&self.name)));
        if let Err(error) = written {
            // Best effort: what is left in tmp is cleared away by mail readers after 36 hours.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        File::open(self.directory.join("new"))?.sync_all()
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.head.as_bytes())?;
        for chunk in self.mail.chunks() {
            file.write_all(chunk)?;
        }
        file.sync_all()
    }
}
