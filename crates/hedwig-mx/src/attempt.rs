//! What became of one mail at one server.

use hedwig_envelope::Outcome;
use hedwig_smtp::client::{ConnectionError, Phase, SendError};

use crate::{
    connect::{ConnectError, Endpoint},
    policy::Chosen,
    transaction::{Transaction, Weight},
    word,
};

/// The code of a server that closes the connection (RFC 5321 §3.8).
const SERVICE_NOT_AVAILABLE: u16 = 421;

/// The mail would come back to us, so nobody else may be tried.
pub(crate) struct IsUs;

/// Why a mail was not sent to a server.
pub(crate) enum Failure {
    IsUs,
    NoWay(Box<Outcome>),
    NoConnection(Box<Outcome>),
    Broken(Box<SendError>),
}

impl Failure {
    pub(crate) fn broken(error: SendError) -> Self {
        Self::Broken(Box::new(error))
    }

    pub(crate) fn requiretls_needed(endpoint: &Endpoint) -> Self {
        Self::NoConnection(Box::new(word::requiretls_needed(endpoint.relay())))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::IsUs => Self::IsUs,
            ConnectError::NoWay(outcome) => Self::NoWay(outcome),
            ConnectError::Failed(outcome) | ConnectError::Insecure(outcome, ..) => {
                Self::NoConnection(outcome)
            }
        }
    }
}

/// Takes down what became of the recipients that stand at these places.
pub(crate) fn take_down(
    sent: Result<Vec<Outcome>, Failure>,
    places: Vec<usize>,
    endpoint: &Endpoint,
    chosen: &Chosen,
    mail: &mut Transaction,
) -> Result<(), IsUs> {
    let told = |outcome| word::with_policy(outcome, &chosen.told);
    match sent {
        Ok(outcomes) => {
            for (place, outcome) in places.into_iter().zip(outcomes.into_iter().map(told)) {
                if outcome.answer().reply.code() == SERVICE_NOT_AVAILABLE {
                    mail.note(outcome);
                } else {
                    mail.outcomes[place] = Some(outcome);
                }
            }
        }
        Err(Failure::IsUs) => return Err(IsUs),
        Err(Failure::NoWay(outcome)) => {
            mail.weigh(Weight::NoWay, told(*outcome).unreached());
        }
        Err(Failure::NoConnection(outcome)) => {
            tracing::debug!(host = endpoint.host, reply = %outcome.answer().reply, "next host");
            let outcome = told(*outcome);
            // Any other mail would have met the same, unless it asked for less.
            mail.note(if mail.wishes.required { outcome } else { outcome.unreached() });
        }
        Err(Failure::Broken(broken)) => {
            let outcomes = broken.outcomes.into_iter().map(told);
            for (place, outcome) in places.into_iter().zip(outcomes) {
                // After the final dot another server might make a second copy (RFC 1047).
                if broken.ambiguous || !word::is_transient(&outcome) {
                    mail.outcomes[place] = Some(outcome);
                } else {
                    mail.note(outcome);
                }
            }
        }
    }
    Ok(())
}

/// Whether the server was gone, or was just going, before it looked at the mail.
pub(crate) fn is_unheard(error: &SendError) -> bool {
    let phase = match &error.error {
        ConnectionError::Closed { phase } | ConnectionError::Io { phase, .. } => phase,
        ConnectionError::Refused { phase, reply } if reply.code() == SERVICE_NOT_AVAILABLE => phase,
        _ => return false,
    };
    matches!(phase, Phase::Mail | Phase::Reset | Phase::Idle) && !error.ambiguous
}

/// Whether the server says of all that it closes the connection.
pub(crate) fn all_not_available(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.answer().reply.code() == SERVICE_NOT_AVAILABLE)
}
