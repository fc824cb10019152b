use super::{
    ChannelBinding, Claim, Mechanism, Verdict,
    messages::{self, Malformed},
    scram::{Challenged, ClientFirst},
};

/// What a server of OAUTHBEARER says before it refuses (RFC 7628 §3.2.2).
const INVALID_TOKEN: &[u8] = br#"{"status":"invalid_token"}"#;

/// The server's side of one authentication, by one mechanism.
///
/// Give it the client's messages, decoded, with [`respond`](Self::respond), and do what [`Next`] says. A
/// mechanism whose client speaks first may be given its first message at once: the initial response.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    binding: Option<ChannelBinding>,
    step: Step,
}

/// What comes next in an [`Exchange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this to the client, and hand its answer to [`Exchange::respond`].
    Challenge(Vec<u8>),
    /// Have this judged, and tell [`Exchange::judge`].
    Ask(Claim),
    /// The client is who it says, and this is its name.
    Accepted(String),
    /// It is over without success.
    Refused(Fault),
}

/// Why an [`Exchange`] was without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client broke the mechanism's grammar, or its order.
    Malformed,
    /// The client could not prove who it says it is.
    Credentials,
    /// The client could bind the channel, and believes that the server cannot: somebody took
    /// SCRAM-SHA-256-PLUS out of what was offered (RFC 5802 §6).
    Downgraded,
    /// Nobody could tell.
    Unavailable,
}

#[derive(Debug)]
enum Step {
    /// Waits for the client's first message.
    First,
    /// LOGIN: waits for the password of this user.
    Password(String),
    /// Waits for a verdict that ends it.
    Verdict,
    /// SCRAM: waits for the keys.
    Keys(ClientFirst),
    /// SCRAM: waits for the proof.
    Proof(Box<Challenged>),
    /// SCRAM: waits until the client has seen our proof.
    Last(String),
    /// OAUTHBEARER: waits until the client has seen why it is refused.
    Rejected,
    Over,
}

impl Exchange {
    /// An exchange that nothing was said in.
    #[must_use]
    pub fn new(mechanism: Mechanism) -> Self {
        Self { mechanism, binding: None, step: Step::First }
    }

    /// The same over a channel that can be bound, where SCRAM-SHA-256-PLUS was offered.
    #[must_use]
    pub fn bound_to(self, binding: Option<ChannelBinding>) -> Self {
        Self { binding, ..self }
    }

    /// Which mechanism it is.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What to say when the client has sent no initial response.
    #[must_use]
    pub fn first_challenge(&self) -> &'static [u8] {
        self.mechanism.first_challenge()
    }

    /// Takes the client's next message.
    pub fn respond(&mut self, message: &[u8]) -> Next {
        let step = std::mem::replace(&mut self.step, Step::Over);
        self.take(step, message).unwrap_or(Next::Refused(Fault::Malformed))
    }

    /// Takes the verdict on a claim that it asked about.
    pub fn judge(&mut self, verdict: Verdict) -> Next {
        match (std::mem::replace(&mut self.step, Step::Over), verdict) {
            (Step::Verdict, Verdict::Accepted(identity)) => Next::Accepted(identity),
            (Step::Keys(first), Verdict::Keys { keys, nonce }) => {
                let (message, challenged) = first.challenge(keys, &nonce);
                self.step = Step::Proof(Box::new(challenged));
                Next::Challenge(message.into())
            }
            (Step::Verdict, Verdict::Refused) if self.mechanism == Mechanism::OAuthBearer => {
                self.step = Step::Rejected;
                Next::Challenge(INVALID_TOKEN.to_vec())
            }
            (Step::Verdict | Step::Keys(_), Verdict::Refused) => Next::Refused(Fault::Credentials),
            _ => Next::Refused(Fault::Unavailable),
        }
    }

    fn take(&mut self, step: Step, message: &[u8]) -> Result<Next, Malformed> {
        match step {
            Step::First => self.take_first(message),
            Step::Password(user) => {
                let password = messages::password(messages::utf8(message)?)?;
                Ok(self.ask(Claim::Password { user, password }))
            }
            Step::Proof(challenged) => Ok(match challenged.verify(message)? {
                None => Next::Refused(Fault::Credentials),
                Some(proof) => {
                    self.step = Step::Last(challenged.user);
                    Next::Challenge(proof.into())
                }
            }),
            // RFC 5802 §5: the client has nothing more to say.
            Step::Last(user) if message.is_empty() => Ok(Next::Accepted(user)),
            Step::Rejected => Ok(Next::Refused(Fault::Credentials)),
            Step::Last(_) | Step::Verdict | Step::Keys(_) | Step::Over => Err(Malformed),
        }
    }

    fn take_first(&mut self, message: &[u8]) -> Result<Next, Malformed> {
        Ok(match self.mechanism {
            Mechanism::Plain => self.ask(messages::plain(message)?),
            Mechanism::OAuthBearer => self.ask(messages::oauth(message)?),
            Mechanism::Login => {
                self.step = Step::Password(messages::name(messages::utf8(message)?)?);
                Next::Challenge(b"Password:".to_vec())
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                if message.starts_with(b"y,") && self.binding.is_some() {
                    return Ok(Next::Refused(Fault::Downgraded));
                }
                let is_bound = self.mechanism == Mechanism::ScramSha256Plus;
                let binding = self.binding.filter(|_| is_bound);
                let first = ClientFirst::parse(message, binding)?;
                if is_bound && binding.is_none() {
                    return Err(Malformed);
                }
                let user = first.user.clone();
                self.step = Step::Keys(first);
                Next::Ask(Claim::Keys { user })
            }
        })
    }

    fn ask(&mut self, claim: Claim) -> Next {
        self.step = Step::Verdict;
        Next::Ask(claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::ScramKeys;

    #[test]
    fn a_verdict_that_does_not_fit_its_claim_lets_nobody_in() {
        let unavailable = Next::Refused(Fault::Unavailable);
        let mut scram = Exchange::new(Mechanism::ScramSha256);
        assert!(matches!(scram.respond(b"n,,n=user,r=abc"), Next::Ask(Claim::Keys { .. })));
        assert_eq!(scram.judge(Verdict::Accepted("user".into())), unavailable);

        let mut plain = Exchange::new(Mechanism::Plain);
        assert!(matches!(plain.respond(b"\0user\0x"), Next::Ask(_)));
        let keys = ScramKeys::decoy(b"", "user");
        assert_eq!(plain.judge(Verdict::Keys { keys, nonce: "n".into() }), unavailable);
        assert_eq!(plain.judge(Verdict::Accepted("user".into())), unavailable, "it is over");
    }

    #[test]
    fn nothing_can_be_said_while_a_verdict_is_due() {
        let mut plain = Exchange::new(Mechanism::Plain);
        assert!(matches!(plain.respond(b"\0user\0x"), Next::Ask(_)));
        assert_eq!(plain.respond(b"\0user\0y"), Next::Refused(Fault::Malformed));
        assert_eq!(
            plain.judge(Verdict::Accepted("user".into())),
            Next::Refused(Fault::Unavailable)
        );
    }

    #[test]
    fn no_secret_is_in_the_debug_of_a_claim() {
        let mut plain = Exchange::new(Mechanism::Plain);
        let next = format!("{:?}", plain.respond(b"\0user\0wonderland"));
        assert!(next.contains("user") && !next.contains("wonderland"), "{next}");
    }
}
