use std::{path::Path, sync::Arc, thread::available_parallelism};

use hedwig_envelope::BoxError;
use hedwig_smtp::sasl::{Answer, Authenticator, Mechanism, ScramKeys, Secret};
use hedwig_transport::Reloading;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{User, UserFileError, Users};

/// The users in a file, which is read again when it changes.
pub struct UserDirectory {
    users: Reloading<Users>,
    /// Somebody's, whose password nobody knows: so that the answer for a user who does not exist takes
    /// as long as for one who does.
    stranger: User,
    /// Each check keeps a processor busy and takes 19 MiB.
    checks: Semaphore,
}

impl UserDirectory {
    /// The users in this file.
    ///
    /// # Errors
    /// When it cannot be read, or the system gives no random numbers.
    pub fn open(path: &Path) -> Result<Self, BoxError> {
        let file = path.to_owned();
        let users = Reloading::<Users>::new::<UserFileError>([path.to_owned()], move || {
            Users::read(&file)
        })?;
        let stranger = User::with_password(&format!("{:032x}", fastrand::u128(..)))?;
        let checks = available_parallelism().map_or(1, Into::into);
        Ok(Self { users, stranger, checks: Semaphore::new(checks) })
    }

    /// All users as they are now.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        self.users.current()
    }

    async fn has_password(&self, name: &str, password: &Secret) -> Result<bool, BoxError> {
        let found = self.users().find(name).cloned();
        let exists = found.is_some();
        let user = found.unwrap_or_else(|| self.stranger.clone());
        let password = password.clone();
        let _turn = self.checks.acquire().await?;
        let is_right = spawn_blocking(move || user.has_password(password.reveal())).await?;
        Ok(exists && is_right)
    }
}

impl Authenticator for UserDirectory {
    fn mechanisms(&self) -> Vec<Mechanism> {
        vec![Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login]
    }

    fn check_password<'a>(&'a self, user: &'a str, password: &'a Secret) -> Answer<'a, bool> {
        Box::pin(self.has_password(user, password))
    }

    fn scram_keys<'a>(&'a self, user: &'a str) -> Answer<'a, Option<ScramKeys>> {
        let keys = self.users().find(user).map(|user| user.scram_keys().clone());
        Box::pin(async { Ok(keys) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_user_who_is_added_or_removed_is_known_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        fs::write(&path, "").unwrap();
        let known = UserDirectory::open(&path).unwrap();
        let password = Secret::new("wonderland");
        assert!(!known.check_password("alice", &password).await.unwrap());

        let alice = User::with_password("wonderland").unwrap();
        Users::update(&path, |users| users.insert("alice", alice)).unwrap();
        assert!(known.check_password("alice", &password).await.unwrap());
        assert!(!known.check_password("alice", &Secret::new("looking glass")).await.unwrap());
        assert!(!known.check_password("bob", &password).await.unwrap());
        assert!(known.scram_keys("alice").await.unwrap().unwrap().fit("wonderland"));
        assert!(known.scram_keys("bob").await.unwrap().is_none());

        Users::update(&path, |users| users.remove("alice")).unwrap();
        assert!(!known.check_password("alice", &password).await.unwrap());
    }
}
