use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    str::FromStr,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use hedwig_envelope::BoxError;
use hedwig_smtp::sasl::ScramKeys;
use rustix::fs::{FlockOperation, flock};

use super::replace::replace;

/// What is stored of a user: nothing that a password could be read from.
#[derive(Clone)]
pub struct User {
    /// Argon2id, for PLAIN and LOGIN.
    hash: PasswordHash,
    /// For SCRAM-SHA-256.
    keys: ScramKeys,
}

impl User {
    /// A user with this password. It takes some hundredths of a second.
    ///
    /// # Errors
    /// When the password has a character in it that RFC 4013 (SASLprep) forbids, or the system gives no random
    /// numbers.
    pub fn with_password(password: &str) -> Result<Self, BoxError> {
        let hash = Argon2::default().hash_password(password.as_bytes())?;
        // The salt of the hash is random already; one for both costs nobody anything.
        let salt = hash.salt.as_ref().ok_or("the hash has no salt")?;
        let keys = ScramKeys::of_password(password, salt.as_ref(), ScramKeys::ITERATIONS)?;
        Ok(Self { hash, keys })
    }

    /// Whether this is the password. It takes some hundredths of a second, and 19 MiB.
    #[must_use]
    pub fn has_password(&self, password: &str) -> bool {
        Argon2::default().verify_password(password.as_bytes(), &self.hash).is_ok()
    }

    /// What SCRAM needs.
    #[must_use]
    pub fn scram_keys(&self) -> &ScramKeys {
        &self.keys
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User(..)")
    }
}

/// All users, by their names. As text: a line for each, `NAME $argon2id$... SCRAM-SHA-256$...`; lines
/// that are empty or begin with `#` mean nothing.
#[derive(Clone, Debug, Default)]
pub struct Users(BTreeMap<String, User>);

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or a line of it.
    pub fn read(path: &Path) -> Result<Self, UserFileError> {
        let text = fs::read_to_string(path).map_err(|source| UserFileError::io(path, source))?;
        text.parse().map_err(|error| match error {
            UserFileError::Line { line, what, .. } => {
                UserFileError::Line { path: path.into(), line, what }
            }
            other => other,
        })
    }

    /// Changes the file, or makes it, so that a reader sees it as it was or as it is to be. Two who
    /// change it at once wait for each other.
    ///
    /// # Errors
    /// When it cannot be read or written, or `change` says so.
    pub fn update<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, UserFileError>,
    ) -> Result<T, UserFileError> {
        let wrong = |source| UserFileError::io(path, source);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = fs::File::open(parent.unwrap_or(Path::new("."))).map_err(wrong)?;
        flock(&directory, FlockOperation::LockExclusive).map_err(|e| wrong(e.into()))?;
        let mut users = match Self::read(path) {
            Err(UserFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::default()
            }
            read => read?,
        };
        let changed = change(&mut users)?;
        users.write(path, &directory).map_err(wrong)?;
        Ok(changed)
    }

    /// Takes the file's place with its mode and its owner. We hold the lock.
    fn write(&self, path: &Path, directory: &fs::File) -> io::Result<()> {
        replace(path, directory, |file| {
            if let Ok(old) = fs::metadata(path) {
                fchown(&*file, Some(old.uid()), Some(old.gid()))?;
                file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
            }
            file.write_all(self.to_string().as_bytes())
        })
    }

    /// The user of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&User> {
        self.0.get(name)
    }

    /// Puts a user in; whether there was one of this name before.
    ///
    /// # Errors
    /// When nobody can be called so: a name is printable ASCII without spaces, does not begin with `#`,
    /// and has at most 255 characters.
    pub fn insert(&mut self, name: &str, user: User) -> Result<bool, UserFileError> {
        check_name(name)?;
        Ok(self.0.insert(name.to_owned(), user).is_some())
    }

    /// Takes a user out.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<(), UserFileError> {
        let removed = self.0.remove(name).map(drop);
        removed.ok_or_else(|| UserFileError::Unknown(name.chars().take(64).collect()))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Whether somebody can be called so.
pub(super) fn check_name(name: &str) -> Result<(), UserFileError> {
    let is_printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    if !name.is_empty() && name.len() <= 255 && !name.starts_with('#') && is_printable {
        return Ok(());
    }
    Err(UserFileError::Name(name.chars().take(64).collect()))
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Written by hedwig-mailman user; a line is a name, an Argon2 hash and SCRAM keys."
        )?;
        for (name, User { hash, keys }) in &self.0 {
            writeln!(f, "{name} {hash} {keys}")?;
        }
        Ok(())
    }
}

impl FromStr for Users {
    type Err = UserFileError;

    fn from_str(text: &str) -> Result<Self, UserFileError> {
        let mut users = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| UserFileError::Line { path: PathBuf::new(), line: index + 1, what };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let parts: Vec<&str> = line.split_ascii_whitespace().collect();
            let [name, hash, keys] = parts[..] else {
                return Err(wrong("a line is a name, an Argon2 hash and SCRAM keys"));
            };
            let hash = PasswordHash::new(hash).map_err(|_| wrong("the Argon2 hash is damaged"))?;
            let keys = keys.parse().map_err(|_| wrong("the SCRAM keys are damaged"))?;
            let is_second = users.insert(name, User { hash, keys });
            if is_second.map_err(|_| wrong("nobody can be called so"))? {
                return Err(wrong("this user is in the file twice"));
            }
        }
        Ok(users)
    }
}

/// What is wrong with the file of users. It tells no hash and no key.
#[derive(Debug, thiserror::Error)]
pub enum UserFileError {
    /// It cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line makes no sense.
    #[error("{path}:{line}: {what}; make it anew with hedwig-mailman user add", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nobody can be called so.
    #[error("{0:?} is no name: one is printable ASCII without spaces, and does not begin with #")]
    Name(String),
    /// There is no such user.
    #[error("there is no user {0:?}")]
    Unknown(String),
}

impl UserFileError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_lets_in_whom_it_should() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let alice = User::with_password("wonderland").unwrap();
        Users::update(&path, |users| users.insert("alice", alice.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            !Users::update(&path, |users| users.insert("bob@example.org", alice.clone())).unwrap()
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640, "its mode stays");
        let users = Users::read(&path).unwrap();
        assert_eq!(users.names().collect::<Vec<_>>(), ["alice", "bob@example.org"]);
        let found = users.find("alice").unwrap();
        assert!(found.has_password("wonderland") && !found.has_password("Wonderland"));
        assert!(found.scram_keys().fit("wonderland") && !found.scram_keys().fit("Wonderland"));

        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("wonderland"));
        assert!(!format!("{users:?}").contains('$'), "{users:?}");
        Users::update(&path, |users| users.remove("alice")).unwrap();
        assert!(Users::read(&path).unwrap().find("alice").is_none());
        assert!(Users::update(&path, |users| users.remove("alice")).is_err());
    }

    #[test]
    fn a_damaged_line_is_named_without_telling_what_is_in_it() {
        let line = Users::from([("alice", "x")]).to_string().lines().nth(1).unwrap().to_owned();
        for (text, what) in [
            ("alice", "a line is"),
            ("alice $argon2id$secret SCRAM-SHA-256$x", "hash is damaged"),
            (&line.replace("SCRAM-SHA-256$", "SCRAM$"), "keys are damaged"),
            (&format!("{line}\n{line}"), "twice"),
        ] {
            let error = text.parse::<Users>().unwrap_err().to_string();
            assert!(error.contains(what) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_name_is_one_word() {
        let user = User::with_password("x").unwrap();
        for name in ["", "a b", "#a", "grün", "a\n"] {
            assert!(Users::default().insert(name, user.clone()).is_err(), "{name:?}");
        }
    }

    impl<const COUNT: usize> From<[(&str, &str); COUNT]> for Users {
        fn from(users: [(&str, &str); COUNT]) -> Self {
            let made = |(name, password): (&str, &str)| {
                (name.to_owned(), User::with_password(password).unwrap())
            };
            Self(users.into_iter().map(made).collect())
        }
    }
}
