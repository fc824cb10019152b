use super::{
    ChannelBinding, Mechanism, Secret,
    messages::{Malformed, name, password},
    scram_client::{Bound, Proved, ServerFirst, client_first},
};

/// A user and its password, for a client to log in with. `Debug` shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: Secret,
}

impl Credentials {
    /// Takes a user's name and password.
    ///
    /// # Errors
    /// When no mechanism could say them: the name has 1 to 255 bytes and no control characters, the password
    /// 1 to 1024 bytes and no NUL.
    pub fn new(user: &str, secret: &str) -> Result<Self, CredentialsError> {
        let user = name(user).map_err(|Malformed| CredentialsError::User)?;
        let password = password(secret).map_err(|Malformed| CredentialsError::Password)?;
        Ok(Self { user, password })
    }

    /// Who logs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// Why a user and a password are no [`Credentials`]. It does not tell the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The name.
    #[error("a user has a name of 1 to 255 bytes without control characters")]
    User,
    /// The password.
    #[error("a password has 1 to 1024 bytes and no NUL")]
    Password,
}

/// What a password is enough for, the best first.
const BY_PASSWORD: [Mechanism; 4] =
    [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];

/// The client's side of one authentication, by one mechanism: the counterpart of [`Exchange`](super::Exchange).
///
/// Say [`initial`](Self::initial), answer each challenge with [`respond`](Self::respond), and believe a success
/// only when the server [is trusted](Self::trusts_server) by then.
///
/// ```
/// use hedwig_smtp::sasl::{Credentials, Mechanism, Responder};
///
/// let alice = Credentials::new("alice", "wonderland")?;
/// let mut login = Responder::strongest(&["LOGIN".into()], &alice, "a nonce", None).expect("it is known");
/// assert_eq!((login.mechanism(), login.initial()), (Mechanism::Login, None));
/// assert_eq!(login.respond(b"Username:")?, b"alice");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Responder {
    mechanism: Mechanism,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Plain(Credentials),
    LoginUser(Credentials),
    LoginPassword(Secret),
    /// SCRAM: has not said its first message.
    First(ServerFirst),
    /// SCRAM: waits for the server's first message.
    Challenge(ServerFirst),
    /// SCRAM: waits for the server's own proof.
    Signature(Box<Proved>),
    /// There is nothing more to say.
    Over {
        trusts_server: bool,
    },
}

impl Responder {
    /// The strongest of the mechanisms that are offered and need no more than a password: SCRAM-SHA-256-PLUS, where there
    /// is a `binding` to a TLS connection, SCRAM-SHA-256, PLAIN, LOGIN. `None` when none is offered.
    ///
    /// `nonce` is printable ASCII without commas that was never used before: 18 random bytes in base64, say.
    #[must_use]
    pub fn strongest(
        offered: &[String],
        credentials: &Credentials,
        nonce: &str,
        binding: Option<ChannelBinding>,
    ) -> Option<Self> {
        let is_offered = |mechanism: &Mechanism| {
            offered.iter().any(|name| name.eq_ignore_ascii_case(mechanism.name()))
        };
        let is_able =
            |mechanism: &Mechanism| binding.is_some() || *mechanism != Mechanism::ScramSha256Plus;
        let mut able = BY_PASSWORD.into_iter().filter(is_able);
        let mechanism = able.find(is_offered)?;
        let scram = |bound| {
            let Credentials { user, password } = credentials;
            Step::First(ServerFirst::awaited(user, password.clone(), nonce, bound))
        };
        let step = match (mechanism, binding) {
            (Mechanism::ScramSha256Plus, Some(binding)) => scram(Bound::To(binding)),
            (Mechanism::ScramSha256, Some(_)) => scram(Bound::NotOffered),
            (Mechanism::ScramSha256, None) => scram(Bound::No),
            (Mechanism::Login, _) => Step::LoginUser(credentials.clone()),
            _ => Step::Plain(credentials.clone()),
        };
        Some(Self { mechanism, step })
    }

    /// Which mechanism it is.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The initial response, where the client speaks first (RFC 4954 §4).
    #[must_use]
    pub fn initial(&self) -> Option<Vec<u8>> {
        match &self.step {
            Step::Plain(Credentials { user, password }) => {
                Some(format!("\0{user}\0{}", password.reveal()).into_bytes())
            }
            Step::First(awaited) => Some(client_first(awaited).into_bytes()),
            _ => None,
        }
    }

    /// Tells that the initial response was sent along with the command.
    pub fn initial_was_sent(&mut self) {
        let over = Step::Over { trusts_server: true };
        self.step = match std::mem::replace(&mut self.step, over) {
            Step::Plain(_) => Step::Over { trusts_server: true },
            Step::First(awaited) => Step::Challenge(awaited),
            other => other,
        };
    }

    /// The answer to a challenge.
    ///
    /// # Errors
    /// When the server breaks the mechanism, or does not prove that it knows the password. Then it must be told
    /// nothing more.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ServerFault> {
        let over = Step::Over { trusts_server: false };
        let (answer, next) = match std::mem::replace(&mut self.step, over) {
            Step::Plain(Credentials { user, password }) => {
                let answer = format!("\0{user}\0{}", password.reveal());
                (answer, Step::Over { trusts_server: true })
            }
            // What it asks with is not looked at: no RFC says how it is spelled.
            Step::LoginUser(Credentials { user, password }) => {
                (user, Step::LoginPassword(password))
            }
            Step::LoginPassword(password) => {
                (password.reveal().to_owned(), Step::Over { trusts_server: true })
            }
            Step::First(awaited) => (client_first(&awaited), Step::Challenge(awaited)),
            Step::Challenge(awaited) => {
                let (answer, proved) = awaited.answer(challenge)?;
                (answer, Step::Signature(Box::new(proved)))
            }
            Step::Signature(proved) => {
                proved.verify(challenge)?;
                (String::new(), Step::Over { trusts_server: true })
            }
            Step::Over { .. } => return Err(ServerFault::Malformed),
        };
        self.step = next;
        Ok(answer.into_bytes())
    }

    /// Whether a success may be believed: of SCRAM the server's signature was seen, and of the others all was
    /// said.
    #[must_use]
    pub fn trusts_server(&self) -> bool {
        matches!(self.step, Step::Over { trusts_server: true })
    }
}

/// What is wrong with a server that a client authenticates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// It broke the mechanism's grammar, or its order.
    #[error("the server's challenge is malformed")]
    Malformed,
    /// It asks for a proof that would be easy to guess the password from, or is made to keep us busy.
    #[error("the server asks for {0} iterations of SCRAM-SHA-256; 4096 to 1000000 are done")]
    Iterations(u32),
    /// It does not know the password: somebody stands in its place.
    #[error("the server could not prove that it knows the password")]
    Signature,
    /// SASLprep (RFC 4013) forbids a character of the user or the password.
    #[error("the password has a character in it that RFC 4013 (SASLprep) does not allow")]
    Password,
}

impl From<Malformed> for ServerFault {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::sasl::{Exchange, Next, ScramKeys, Verdict};

    fn alice() -> Credentials {
        Credentials::new("alice, =", "wonderland").unwrap()
    }

    fn offered(names: &str) -> Vec<String> {
        names.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_strongest_mechanism_is_chosen_and_a_token_is_not_made_up() {
        let chosen_over = |names, binding| {
            let chosen = Responder::strongest(&offered(names), &alice(), "n", binding);
            chosen.map(|chosen| chosen.mechanism())
        };
        let chosen = |names| chosen_over(names, None);
        let all = "SCRAM-SHA-256-PLUS LOGIN PLAIN SCRAM-SHA-256";
        assert_eq!(chosen(all), Some(Mechanism::ScramSha256));
        assert_eq!(chosen_over(all, Some(BINDING)), Some(Mechanism::ScramSha256Plus));
        assert_eq!(chosen_over("PLAIN", Some(BINDING)), Some(Mechanism::Plain));
        assert_eq!(chosen("SCRAM-SHA-256-PLUS"), None);
        assert_eq!(chosen("LOGIN plain"), Some(Mechanism::Plain));
        assert_eq!(chosen("CRAM-MD5 LOGIN"), Some(Mechanism::Login));
        assert_eq!(chosen("OAUTHBEARER CRAM-MD5"), None);
    }

    const BINDING: ChannelBinding = ChannelBinding::new([7; 32]);

    /// What our server says to our client, each over its TLS connection, where the server offers these.
    fn bound(offers: &str, client: ChannelBinding, server: ChannelBinding) -> Next {
        let keys = ScramKeys::of_password("wonderland", b"salt", NonZeroU32::new(4096).unwrap());
        let mut client =
            Responder::strongest(&offered(offers), &alice(), "client", Some(client)).unwrap();
        let mut exchange = Exchange::new(client.mechanism()).bound_to(Some(server));
        let asked = exchange.respond(&client.initial().unwrap());
        let Next::Ask(_) = asked else { return asked };
        client.initial_was_sent();
        let nonce = "server".to_owned();
        let Next::Challenge(challenge) =
            exchange.judge(Verdict::Keys { keys: keys.unwrap(), nonce })
        else {
            panic!("no challenge")
        };
        let next = exchange.respond(&client.respond(&challenge).unwrap());
        if let Next::Challenge(signature) = &next {
            assert_eq!(client.respond(signature), Ok(Vec::new()));
            assert!(client.trusts_server());
        }
        next
    }

    #[test]
    fn who_sits_between_two_tls_connections_is_found_out() {
        let other = ChannelBinding::new([8; 32]);
        let all = "SCRAM-SHA-256 SCRAM-SHA-256-PLUS";
        assert!(matches!(bound(all, BINDING, BINDING), Next::Challenge(_)));
        assert!(matches!(bound(all, BINDING, other), Next::Refused(_)));
        // Somebody took the better mechanism out of the offer.
        assert!(matches!(bound("SCRAM-SHA-256", BINDING, BINDING), Next::Refused(_)));
    }

    /// What our own server makes of our client, with keys of this password.
    fn scram(password: &str) -> (Next, Responder, ScramKeys) {
        let keys = ScramKeys::of_password(password, b"salt", NonZeroU32::new(4096).unwrap());
        let keys = keys.unwrap();
        let mut client =
            Responder::strongest(&offered("SCRAM-SHA-256"), &alice(), "client", None).unwrap();
        let mut server = Exchange::new(Mechanism::ScramSha256);
        assert!(matches!(server.respond(&client.initial().unwrap()), Next::Ask(_)));
        client.initial_was_sent();
        let nonce = "server".to_owned();
        let Next::Challenge(challenge) = server.judge(Verdict::Keys { keys: keys.clone(), nonce })
        else {
            panic!("no challenge")
        };
        let answer = client.respond(&challenge).unwrap();
        (server.respond(&answer), client, keys)
    }

    #[test]
    fn our_server_and_our_client_prove_each_other() {
        let (next, mut client, _) = scram("wonderland");
        let Next::Challenge(signature) = next else { panic!("{next:?}") };
        assert!(!client.trusts_server(), "it has proved nothing yet");
        assert_eq!(client.respond(&signature), Ok(Vec::new()));
        assert!(client.trusts_server());
        assert_eq!(client.respond(b""), Err(ServerFault::Malformed), "it is over");
        assert!(!client.trusts_server());
        assert!(matches!(scram("looking glass").0, Next::Refused(_)));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        for wrong in ["v=AAAA", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "e=other-error"] {
            let (_, mut client, _) = scram("wonderland");
            assert_eq!(client.respond(wrong.as_bytes()), Err(ServerFault::Signature), "{wrong}");
            assert!(!client.trusts_server());
        }
        let (_, mut client, _) = scram("wonderland");
        assert_eq!(client.respond(b"x"), Err(ServerFault::Malformed));
    }

    #[test]
    fn no_challenge_makes_us_say_what_is_easily_guessed_or_work_for_ever() {
        for (challenge, fault) in [
            ("r=clientx,s=c2FsdA==,i=4095", ServerFault::Iterations(4095)),
            ("r=clientx,s=c2FsdA==,i=4000000000", ServerFault::Iterations(4_000_000_000)),
            ("r=clientx,s=c2FsdA==,i=0", ServerFault::Malformed),
            ("r=clientx,s=,i=4096", ServerFault::Malformed),
            ("r=client,s=c2FsdA==,i=4096", ServerFault::Malformed),
            ("r=other,s=c2FsdA==,i=4096", ServerFault::Malformed),
            ("m=x,r=clientx,s=c2FsdA==,i=4096", ServerFault::Malformed),
            ("", ServerFault::Malformed),
        ] {
            let mut client =
                Responder::strongest(&offered("SCRAM-SHA-256"), &alice(), "client", None).unwrap();
            client.initial_was_sent();
            assert_eq!(client.respond(challenge.as_bytes()), Err(fault), "{challenge}");
        }
    }

    #[test]
    fn no_debug_shows_the_password() {
        for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
            let client = Responder::strongest(&offered(mechanism), &alice(), "n", None).unwrap();
            let shown = format!("{client:?} {:?}", alice());
            assert!(shown.contains("alice") && !shown.contains("wonderland"), "{shown}");
        }
        assert_eq!(Credentials::new("a\nb", "x"), Err(CredentialsError::User));
        assert_eq!(Credentials::new("a", ""), Err(CredentialsError::Password));
    }
}
