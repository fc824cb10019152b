//! What was counted outlives a restart: a file of JSON.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::{Clock, TlsCountLimits, TlsCounts, counts::State};

impl TlsCounts {
    /// Goes on with what a file has, if there is one, and [saves](Self::save) into it. A file that cannot be understood is
    /// set aside, for its end is `.damaged` then.
    ///
    /// # Errors
    /// When the file cannot be read or set aside.
    pub fn open(path: &Path, clock: Clock, limits: TlsCountLimits) -> io::Result<Self> {
        let state = match fs::read(path) {
            Ok(text) => match serde_json::from_slice::<State>(&text) {
                Ok(state) => state,
                Err(error) => {
                    let aside = path.with_extension("damaged");
                    tracing::error!(file = %path.display(), aside = %aside.display(), %error,
                        "what was counted for TLS reports is damaged: it was set aside, and begins anew");
                    fs::rename(path, aside)?;
                    State::default()
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        let mut counts = Self::with_state(state, clock, limits);
        counts.path = Some(path.to_owned());
        Ok(counts)
    }

    /// What is counted, as the file has it.
    ///
    /// # Errors
    /// Never; JSON has a form for all of it.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&*self.state())
    }

    /// Writes the file, if there is one and something is new: at any moment there is a whole one, the old or the new.
    ///
    /// # Errors
    /// When it cannot be written. The next time it is tried again.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = {
            let mut state = self.state();
            if !state.changed {
                return Ok(());
            }
            state.changed = false;
            serde_json::to_vec(&*state)?
        };
        let written = write(path, &text);
        if written.is_err() {
            self.state().changed = true;
        }
        written
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{SessionPolicy, TlsFailure, TlsFailureKind, TlsObserver, TlsSession};

    fn open(path: &Path) -> TlsCounts {
        let clock: Clock = Arc::new(|| "2026-11-25T12:00:00Z".parse().unwrap());
        TlsCounts::open(path, clock, TlsCountLimits::default()).unwrap()
    }

    #[test]
    fn what_was_counted_is_there_again_and_what_is_damaged_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tls-reports.json");
        let counts = open(&path);
        counts.save().unwrap();
        assert!(!path.exists(), "there was nothing to save");
        let lines = ["3 1 1 00".to_owned()];
        let failure = TlsFailure::new(TlsFailureKind::CertificateNotTrusted, "who is that?");
        counts.observe(&TlsSession {
            domain: "example.com",
            policy: SessionPolicy::Tlsa(&lines),
            host: "mx.example.com",
            address: None,
            source: Some("2001:db8::1".parse().unwrap()),
            failure: Some(&failure),
        });
        counts.sent("2026-11-25".parse().unwrap(), "example.com", "mailto:a@example.com");
        counts.save().unwrap();
        let again = open(&path);
        assert_eq!(again.to_json().unwrap(), counts.to_json().unwrap());
        assert_eq!(again.to_json().unwrap(), fs::read(&path).unwrap());
        let day = "2026-11-25".parse().unwrap();
        assert_eq!(again.of_domain(day, "example.com"), counts.of_domain(day, "example.com"));

        fs::write(&path, "{\"days\": ").unwrap();
        assert!(open(&path).domains(day).is_empty());
        assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), b"{\"days\": ");
        fs::create_dir(&path).unwrap();
        let clock: Clock = Arc::new(|| "2026-11-25T12:00:00Z".parse().unwrap());
        assert!(TlsCounts::open(&path, clock, TlsCountLimits::default()).is_err());
    }
}
