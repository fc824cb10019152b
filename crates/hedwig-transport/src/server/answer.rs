//! From what became of the mails to an answer.
//!
//! 202 says that at least one recipient was taken, and what became of each. A problem says that none
//! was: so a client may send the whole request again, or somewhere else.

use hedwig_envelope::{
    Address, BoxError, Class, MailId, Outcome, Receipt, Refusal, RefusalKind, rescue,
};
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    AcceptedMail, AcceptedMails, AcceptedRecipient, Body, MESSAGES_PATH, Problem, json,
    text::printable,
};

/// A mail that was handed in, and what came of it.
pub(super) struct HandedIn {
    pub(super) id: MailId,
    pub(super) recipients: Vec<Address>,
    pub(super) result: Result<Receipt, Refusal>,
}

impl HandedIn {
    pub(super) fn new(
        id: MailId,
        recipients: Vec<Address>,
        result: Result<Receipt, BoxError>,
    ) -> Self {
        let result = match result {
            Ok(receipt) if receipt.outcomes.len() == recipients.len() => Ok(receipt),
            Ok(receipt) => {
                let (given, wanted) = (receipt.outcomes.len(), recipients.len());
                tracing::error!(%id, given, wanted, "a receipt with the wrong number of outcomes");
                Err(Refusal::new(RefusalKind::Unavailable, "Local error in processing"))
            }
            Err(error) => {
                let text = printable(&error.to_string(), 1024);
                tracing::warn!(%id, error = text, "mail not taken");
                Err(rescue(&error))
            }
        };
        Self { id, recipients, result }
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.result.iter().flat_map(|receipt| &receipt.outcomes)
    }

    fn told(&self) -> AcceptedMail {
        let recipients = match &self.result {
            Ok(receipt) => self
                .recipients
                .iter()
                .zip(&receipt.outcomes)
                .map(|(address, outcome)| AcceptedRecipient::new(address, outcome))
                .collect(),
            Err(refusal) => {
                let outcome = Outcome::of_reply(refusal.reply.clone(), None);
                let told = |address| AcceptedRecipient::new(address, &outcome);
                self.recipients.iter().map(told).collect()
            }
        };
        let id = self.result.as_ref().map_or(self.id, |receipt| receipt.id);
        AcceptedMail { id, recipients }
    }
}

/// The answer to a request with these mails.
pub(super) fn answer(mails: &[HandedIn]) -> Response<Body> {
    let is_done = |outcome: &Outcome| matches!(outcome, Outcome::Done(_));
    if mails.iter().flat_map(HandedIn::outcomes).any(is_done) {
        return accepted(mails);
    }
    let problem = problem_of(mails);
    let alone = mails.len() == 1 && mails[0].result.is_err();
    if alone { problem } else { problem.messages(told(mails)) }.into_response()
}

fn told(mails: &[HandedIn]) -> Vec<AcceptedMail> {
    mails.iter().map(HandedIn::told).collect()
}

fn accepted(mails: &[HandedIn]) -> Response<Body> {
    let answer = AcceptedMails { messages: told(mails) };
    let mut response = json(StatusCode::ACCEPTED, &answer);
    if let [mail] = answer.messages.as_slice()
        && let Ok(location) = HeaderValue::from_str(&format!("{MESSAGES_PATH}/{}", mail.id))
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The problem of a request of which nothing was taken. What may go well later comes first: only when
/// all of it is refused for good is the whole.
fn problem_of(mails: &[HandedIn]) -> Problem {
    let refusals = || mails.iter().filter_map(|mail| mail.result.as_ref().err());
    let transient = |refusal: &&Refusal| refusal.reply.is_transient();
    if let Some(refusal) = refusals().find(transient) {
        return Problem::of_refusal(refusal);
    }
    let of_class = |class| {
        let outcomes = mails.iter().flat_map(HandedIn::outcomes);
        outcomes.map(Outcome::answer).find(move |answer| answer.status.class == class)
    };
    if let Some(answer) = of_class(Class::Transient) {
        return recipients_refused(StatusCode::SERVICE_UNAVAILABLE, &answer.reply);
    }
    match (refusals().next(), of_class(Class::Permanent)) {
        (Some(refusal), _) => Problem::of_refusal(refusal),
        (None, Some(answer)) => recipients_refused(StatusCode::BAD_REQUEST, &answer.reply),
        // No outcome at all: a mail without recipients, which is not let in.
        (None, None) => recipients_refused(
            StatusCode::BAD_REQUEST,
            &Refusal::new(RefusalKind::Malformed, "No valid recipients").reply,
        ),
    }
}

fn recipients_refused(status: StatusCode, reply: &hedwig_envelope::Reply) -> Problem {
    let title = match status {
        StatusCode::SERVICE_UNAVAILABLE => "Recipients deferred",
        _ => "Recipients refused",
    };
    Problem::new(status, title, printable(reply.text(), 1024)).reply(reply.to_string())
}
