use std::{
    future::{Future, ready},
    pin::Pin,
};

use hedwig_envelope::BoxError;

use super::{Mechanism, ScramKeys, Secret};

/// What an [`Authenticator`] says, in its own time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// Who knows the users: the place where a server looks up passwords, keys and tokens.
///
/// Implement what your [mechanisms](Self::mechanisms) need; what is left out refuses everybody. An error
/// is no answer: the client is told 454 and may try again.
///
/// ```
/// use hedwig_smtp::sasl::{Answer, Authenticator, Mechanism, Secret};
///
/// /// One user, whose password came from the environment.
/// struct OnlyOne { name: String, password: Secret }
///
/// impl Authenticator for OnlyOne {
///     fn mechanisms(&self) -> Vec<Mechanism> {
///         vec![Mechanism::Plain, Mechanism::Login]
///     }
///
///     fn check_password<'a>(&'a self, user: &'a str, password: &'a Secret) -> Answer<'a, bool> {
///         Box::pin(async move { Ok(user == self.name && *password == self.password) })
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// What is offered to clients, the best first.
    fn mechanisms(&self) -> Vec<Mechanism>;

    /// Whether this is the user's password: PLAIN and LOGIN ask so. It should take as long for a user
    /// who does not exist.
    fn check_password<'a>(&'a self, user: &'a str, password: &'a Secret) -> Answer<'a, bool> {
        let _ = (user, password);
        Box::pin(ready(Ok(false)))
    }

    /// The keys stored for this user: SCRAM asks so. For `None` the server makes up a decoy, so that
    /// nobody learns who exists.
    fn scram_keys<'a>(&'a self, user: &'a str) -> Answer<'a, Option<ScramKeys>> {
        let _ = user;
        Box::pin(ready(Ok(None)))
    }

    /// Whose token this is, if it is anybody's: OAUTHBEARER asks so. `user` is what the client says.
    fn check_token<'a>(
        &'a self,
        user: Option<&'a str>,
        token: &'a Secret,
    ) -> Answer<'a, Option<String>> {
        let _ = (user, token);
        Box::pin(ready(Ok(None)))
    }
}
