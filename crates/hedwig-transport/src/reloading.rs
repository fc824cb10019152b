use std::{
    fmt::Display,
    fs, io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// A value that is made from files, and made again when one of them has changed: certificates and
/// lists of users change while a daemon runs.
///
/// Whoever asks for the [current](Self::current) value pays for a look at the files' times, not for
/// reading them. While the new files make no value the old one stays; a warning in the log says why,
/// once for each change.
pub struct Reloading<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// What the files were when they were last read.
    stamps: Vec<Option<Stamp>>,
    value: Arc<T>,
}

/// What tells one version of a file from another: time, length and inode.
type Stamp = (SystemTime, u64, u64);

impl<T> Reloading<T> {
    /// Makes the value for the first time; `make` reads the `files`.
    ///
    /// # Errors
    /// As `make` does.
    pub fn new<E: Display>(
        files: impl Into<Vec<PathBuf>>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let files = files.into();
        // Before the first reading: a change in between is then seen the next time.
        let stamps = stamps(&files);
        let state = Mutex::new(State { stamps, value: Arc::new(make()?) });
        let make = Box::new(move || make().map_err(|error| error.to_string()));
        Ok(Self { files, make, state })
    }

    /// The value that the files make now.
    pub fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps != state.stamps {
            state.stamps = stamps;
            let files = || self.files.iter().map(|file| file.display().to_string());
            let files = files().collect::<Vec<_>>().join(", ");
            match (self.make)() {
                Ok(value) => {
                    state.value = Arc::new(value);
                    tracing::info!(files, "read again");
                }
                Err(error) => {
                    tracing::warn!(files, error, "changed, but what was read before stays in use");
                }
            }
        }
        state.value.clone()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| -> io::Result<Stamp> {
        let metadata = fs::metadata(file)?;
        Ok((metadata.modified()?, metadata.len(), metadata.ino()))
    };
    files.iter().map(|file| stamp(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_one_that_makes_no_sense_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        let write = |text: &str| {
            let new = directory.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, &file).unwrap();
        };
        write("1");
        let path = file.clone();
        let number = Reloading::new([file.clone()], move || {
            fs::read_to_string(&path).unwrap_or_default().parse::<u32>()
        })
        .unwrap();
        assert_eq!(*number.current(), 1);
        write("23");
        assert_eq!(*number.current(), 23);
        write("not a number");
        assert_eq!(*number.current(), 23);
        fs::remove_file(&file).unwrap();
        assert_eq!(*number.current(), 23);
        write("4");
        assert_eq!(*number.current(), 4);
    }
}
