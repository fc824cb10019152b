//! As whom we log in at the servers that routes name.

use std::{collections::HashMap, fs, io, os::unix::fs::PermissionsExt, path::Path};

use hedwig_smtp::sasl::{Credentials, CredentialsError};

use crate::name;

/// Whoever does not own the file, and is not of its group.
const OTHERS_READ_OR_WRITE: u32 = 0o006;

/// A user and a password for each of some hosts. `Debug` shows no password.
///
/// They are for hosts that a [route](crate::Route) names with `smtp:` or `smtps:`, and only over TLS with a
/// certificate for the host's name, unless the host is this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins(HashMap<String, Credentials>);

impl Logins {
    /// Reads a file that nobody but its owner and its group may read: each line `host user password`, where the
    /// password is the rest of the line. Empty lines, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// When it cannot be read, others may read or write it, or a line is of another form.
    pub fn load(path: &Path) -> Result<Self, LoginsError> {
        let wrong = |kind| LoginsError { path: path.display().to_string(), kind };
        let mode = fs::metadata(path).map_err(|error| wrong(Kind::Io(error)))?.permissions().mode();
        if mode & OTHERS_READ_OR_WRITE != 0 {
            return Err(wrong(Kind::Open(mode & 0o777)));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(Kind::Io(error)))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, Kind> {
        let mut logins = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, [' ', '\t']);
            let (Some(host), Some(user), Some(password)) =
                (words.next(), words.next(), words.next())
            else {
                return Err(Kind::Form(number));
            };
            let host = name::to_ascii(host.trim_matches(['[', ']'])).ok_or(Kind::Host(number))?;
            let credentials = Credentials::new(user, password);
            let credentials = credentials.map_err(|error| Kind::Credentials(number, error))?;
            if logins.insert(host.into_owned(), credentials).is_some() {
                return Err(Kind::Twice(number));
            }
        }
        Ok(Self(logins))
    }

    /// As whom to log in at this host: a name in A-labels and lower case, or an address without brackets.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&Credentials> {
        self.0.get(host)
    }

    /// Which hosts there are, and the user at each; by name.
    #[must_use]
    pub fn users(&self) -> Vec<(&str, &str)> {
        let users = self.0.iter().map(|(host, login)| (host.as_str(), login.user()));
        let mut users: Vec<_> = users.collect();
        users.sort_unstable();
        users
    }
}

/// Why there are no [`Logins`]. It does not tell what stands in the file.
#[derive(Debug, thiserror::Error)]
#[error("{path}{kind}")]
pub struct LoginsError {
    path: String,
    kind: Kind,
}

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error(": {0}")]
    Io(io::Error),
    #[error(
        ": has mode {0:04o}, and passwords in it: nobody but its owner and its group may read it (chmod o= FILE)"
    )]
    Open(u32),
    #[error(":{0}: a line should be HOST USER PASSWORD, with one space between")]
    Form(usize),
    #[error(":{0}: the host is no name and no address")]
    Host(usize),
    #[error(":{0}: {1}")]
    Credentials(usize, CredentialsError),
    #[error(":{0}: the host stands there twice")]
    Twice(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, mode: u32) -> Result<Logins, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        Logins::load(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_host_has_its_user_and_the_password_is_the_rest_of_the_line() {
        let text =
            "# smart hosts\n\nRelay.Example alice open sesame\nbücher.example bob\tx\n::1 c d\n";
        let logins = load(text, 0o640).unwrap();
        let expected = [("::1", "c"), ("relay.example", "alice"), ("xn--bcher-kva.example", "bob")];
        assert_eq!(logins.users(), expected);
        let alice = Credentials::new("alice", "open sesame").unwrap();
        assert_eq!(logins.find("relay.example"), Some(&alice));
        assert_eq!(logins.find("other.example"), None);
        assert!(!format!("{logins:?}").contains("sesame"));
    }

    #[test]
    fn what_others_can_read_is_not_taken() {
        for mode in [0o644, 0o604, 0o602] {
            let error = load("relay alice sesame", mode).unwrap_err();
            assert!(
                error.contains(&format!("mode {mode:04o}")) && error.contains("chmod"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_the_password() {
        for (text, reason) in [
            ("relay alice", ":1: a line should be"),
            ("\na..b alice sesame", ":2: the host"),
            ("relay  sesame", ":1: a user has"),
            ("relay alice \0sesame", ":1: a password has"),
            ("relay alice sesame\nRELAY bob sesame", ":2: the host stands there twice"),
        ] {
            let error = load(text, 0o600).unwrap_err();
            assert!(error.contains(reason) && !error.contains("sesame"), "{error}");
        }
    }
}
