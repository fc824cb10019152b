//! AUTH (RFC 4954), as a client.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_envelope::Reply;

use super::{Cause, Event, NotReady, Phase, Session, session::Expected};
use crate::{
    Command, ReplyError,
    sasl::{Credentials, Responder, Secret, ServerFault},
};

/// The longest initial response that still fits a command line of 512 bytes (RFC 4954 §4), with room for the
/// longest mechanism.
const INITIAL_RESPONSE_BYTES_MAX: usize = 480;

impl Session {
    /// Says AUTH, by the strongest of SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN and LOGIN that the server offers. The last two
    /// show the password: the caller must know whom it talks to, and that nobody listens.
    ///
    /// [`Event::Authenticated`], [`Event::NoMechanism`] or [`Event::Refused`] answers. `nonce` is as
    /// [`Responder::strongest`] needs it.
    ///
    /// # Errors
    /// When the session is not ready, or has another command under way.
    pub fn authenticate(
        &mut self,
        credentials: &Credentials,
        nonce: &str,
        now: Instant,
    ) -> Result<(), NotReady> {
        self.check_ready()?;
        self.begin_step(now);
        let (offered, binding) = (&self.capabilities.auth, self.binding);
        let strongest = Responder::strongest(offered, credentials, nonce, binding);
        let Some(mut responder) = strongest else {
            self.events.push_back(Event::NoMechanism);
            return Ok(());
        };
        let initial_response = responder.initial().map(|initial| STANDARD.encode(initial));
        let initial_response =
            initial_response.filter(|response| response.len() <= INITIAL_RESPONSE_BYTES_MAX);
        if initial_response.is_some() {
            responder.initial_was_sent();
        }
        let command = Command::Auth {
            mechanism: responder.mechanism().name().to_owned(),
            initial_response: initial_response.map(Secret::new),
        };
        self.responder = Some(responder);
        self.say(&command, Expected::Authentication);
        Ok(())
    }

    pub(super) fn take_authentication_reply(&mut self, reply: Reply) {
        let Some(mut responder) = self.responder.take() else { return };
        match reply.code() {
            334 => match respond(&mut responder, reply.text()) {
                Ok(response) => {
                    self.responder = Some(responder);
                    self.outbox.write_secret(&response);
                    self.expected.push_back(Expected::Authentication);
                }
                Err(fault) => self.distrust(fault),
            },
            // A success without its proof is what somebody in the server's place would say.
            235 if responder.trusts_server() => self.events.push_back(Event::Authenticated),
            235 => self.distrust(ServerFault::Signature),
            421 => self.fail_authentication(Cause::SaidGoodbye(reply)),
            400.. => {
                let phase = Phase::Authentication;
                self.events.push_back(Event::Refused { phase, reply });
            }
            _ => self.fail_authentication(Cause::Protocol(ReplyError::Unexpected(reply))),
        }
    }

    fn distrust(&mut self, fault: ServerFault) {
        self.fail_authentication(Cause::Untrusted(fault));
    }

    fn fail_authentication(&mut self, cause: Cause) {
        self.expected.push_front(Expected::Authentication);
        self.fail(cause);
    }
}

/// The line that answers a challenge.
fn respond(responder: &mut Responder, challenge: &str) -> Result<String, ServerFault> {
    let challenge = STANDARD.decode(challenge.trim()).map_err(|_| ServerFault::Malformed)?;
    responder.respond(&challenge).map(|answer| STANDARD.encode(answer))
}
