//! Several postoffices: which to ask, and what their answers mean for the next question.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hedwig_envelope::Receipt;
use hedwig_smtp::batch::BatchMail;
use http::{HeaderValue, Method, Request, header};
use tokio::time::Instant;

use super::{
    ClientError, ClientOptions,
    answer::{self, Failure},
    bindings::Bindings,
    endpoint::{Endpoint, EndpointAnswer, EndpointError},
};
use crate::{BATCH_SMTP, Body, MESSAGES_PATH, body::Chunks};

/// The postoffices, the preferred one first.
pub(super) struct Postoffices {
    all: Vec<Postoffice>,
    /// Where there is only one, nothing need be remembered.
    bindings: Option<Bindings>,
    down_min: Duration,
    down_max: Duration,
}

struct Postoffice {
    endpoint: Endpoint,
    health: Mutex<Health>,
}

#[derive(Clone, Debug)]
struct Health {
    /// How often it failed since it last answered.
    failures: u32,
    /// What it failed with.
    why: String,
    /// Until when it is left alone.
    down_until: Instant,
    /// Whether a request is finding out whether it is back.
    probing: bool,
}

/// What to do after an answer.
enum Next {
    /// Ask nobody else: it is settled, or may be.
    Settled(Result<Vec<Receipt>, Failure>),
    /// Nothing was taken: ask the next one.
    Elsewhere(Failure),
}

impl Postoffices {
    pub(super) fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        if options.urls.is_empty() {
            return Err(ClientError::NoUrl);
        }
        let postoffice = |url: &String| {
            let health = Health {
                failures: 0,
                why: String::new(),
                down_until: Instant::now(),
                probing: false,
            };
            Ok(Postoffice { endpoint: Endpoint::new(url, options)?, health: Mutex::new(health) })
        };
        let all: Vec<_> =
            options.urls.iter().map(postoffice).collect::<Result<_, ClientError>>()?;
        let bindings = (all.len() > 1).then(|| Bindings::new(options.ambiguous_hold));
        Ok(Self { all, bindings, down_min: options.down_min, down_max: options.down_max })
    }

    /// Hands mails over to the first postoffice that answers.
    pub(super) async fn hand_over(
        &self,
        mails: &[BatchMail],
        chunks: Chunks,
        traceparent: Option<&str>,
    ) -> Result<Vec<Receipt>, Failure> {
        let bindings = self.bindings.as_ref();
        let bound = bindings.map_or(Ok(None), |bindings| bindings.find(mails))?;
        let mut failure = None;
        for index in 0..self.all.len() {
            if bound.is_some_and(|bound| bound != index) {
                continue;
            }
            let Some(_turn) = self.turn(index, bound.is_some()) else { continue };
            let under_way = match bindings.map(|bindings| bindings.begin(mails, index)) {
                Some(None) => continue,
                begun => begun.flatten(),
            };
            match self.ask(index, mails, &chunks, traceparent).await {
                Next::Settled(result) => return result,
                Next::Elsewhere(why) => {
                    if let Some(under_way) = under_way {
                        under_way.nothing_taken();
                    }
                    failure = Some(why);
                }
            }
        }
        Err(failure.unwrap_or_else(|| self.all_down()))
    }

    /// Whoever asked for this mail was told what became of it, and does not ask again.
    pub(super) fn told(&self, mail: &BatchMail) {
        if let Some(bindings) = &self.bindings {
            bindings.told(mail);
        }
    }

    async fn ask(
        &self,
        index: usize,
        mails: &[BatchMail],
        chunks: &Chunks,
        traceparent: Option<&str>,
    ) -> Next {
        let endpoint = &self.all[index].endpoint;
        let ask = || endpoint.request(request(chunks, traceparent), answer_bytes_max(mails));
        let mut answer = ask().await;
        let broken = matches!(answer, Err(EndpointError::Broken(_)));
        if broken {
            // Most likely a pooled connection that it was just closing. Asking the same one again is
            // safe, for it knows the keys.
            answer = ask().await;
        }
        let next = match answer {
            Ok(answer) => self.judge(index, mails, &answer),
            Err(error) => {
                self.went_down(index, None, &error);
                let failure = Failure::unreachable(endpoint.host(), &error);
                match error {
                    EndpointError::Connect(_) => Next::Elsewhere(failure),
                    _ => unclear(failure),
                }
            }
        };
        match next {
            // Of the first request nobody knows.
            Next::Elsewhere(failure) if broken => unclear(failure),
            next => next,
        }
    }

    fn judge(&self, index: usize, mails: &[BatchMail], answer: &EndpointAnswer) -> Next {
        let status = answer.status.as_u16();
        if status == 202 {
            return self.judge_accepted(index, mails, answer);
        }
        let retry_after = answer.retry_after();
        let (host, said) = (&answer.relay.host, answer::describe(answer));
        let failure = Failure::unavailable(host, &said).retry_after(retry_after);
        match status {
            408 | 425 => Next::Elsewhere(failure),
            409 => unclear(Failure::key_in_use(host, &said).retry_after(retry_after)),
            // Whoever stands between may have bounds of its own.
            413 => self.settled(index, answer::refused(answer, mails)),
            400..=499 if answer.is_problem() && !matches!(status, 401 | 403 | 429) => {
                self.settled(index, answer::refused(answer, mails))
            }
            // Nothing was taken: what it has against us, or against now, others may not have. What is no problem
            // was said by somebody between, or by what stands at a wrong URL; but 503 is said there also when the
            // postoffice ended over the mails.
            400..=499 | 503 if status != 503 || answer.is_problem() => {
                self.went_down(index, retry_after, &said);
                Next::Elsewhere(failure)
            }
            _ => {
                self.went_down(index, retry_after, &said);
                unclear(failure)
            }
        }
    }

    fn judge_accepted(&self, index: usize, mails: &[BatchMail], answer: &EndpointAnswer) -> Next {
        if let Some(receipts) = answer::receipts(answer, mails) {
            return self.settled(index, Ok(receipts));
        }
        let what = "its answer 202 is not about what it was sent";
        self.went_down(index, None, &what);
        unclear(Failure::unavailable(&answer.relay.host, what))
    }

    fn settled(&self, index: usize, result: Result<Vec<Receipt>, Failure>) -> Next {
        let mut health = self.all[index].lock();
        if health.failures > 0 {
            tracing::info!(postoffice = self.all[index].endpoint.host(), "postoffice is back");
            health.failures = 0;
        }
        Next::Settled(result)
    }

    fn went_down(&self, index: usize, retry_after: Option<Duration>, why: &dyn std::fmt::Display) {
        let postoffice = &self.all[index];
        let mut health = postoffice.lock();
        let doubled = self.down_min.saturating_mul(1 << health.failures.min(16));
        let pause = retry_after.unwrap_or_default().max(doubled).min(self.down_max);
        health.failures = health.failures.saturating_add(1);
        health.down_until = Instant::now() + pause;
        health.why = why.to_string();
        let host = postoffice.endpoint.host();
        tracing::warn!(postoffice = host, failures = health.failures, %why, "postoffice failed");
    }

    /// The right to ask a postoffice: everybody has it while it is up. Once it failed, one request at a
    /// time may find out whether it is back: when its pause is over, or nobody else is left to ask.
    fn turn(&self, index: usize, bound: bool) -> Option<Turn<'_>> {
        let now = Instant::now();
        let soonest = self.soonest();
        let nobody_up = bound || self.all.iter().all(|p| !p.lock().is_up(now));
        let mut health = self.all[index].lock();
        if health.failures == 0 {
            return Some(Turn { postoffice: &self.all[index], probe: false });
        }
        let due = health.is_up(now) || bound || (nobody_up && index == soonest);
        if health.probing || !due {
            return None;
        }
        health.probing = true;
        Some(Turn { postoffice: &self.all[index], probe: true })
    }

    /// The postoffice that is to be tried again first.
    fn soonest(&self) -> usize {
        let by_time = |&index: &usize| self.all[index].lock().down_until;
        (0..self.all.len()).min_by_key(by_time).unwrap_or(0)
    }

    fn all_down(&self) -> Failure {
        let soonest = &self.all[self.soonest()];
        let health = soonest.lock();
        let wait = health.down_until.saturating_duration_since(Instant::now());
        let failure = Failure::unreachable(soonest.endpoint.host(), &health.why);
        failure.retry_after(Some(wait))
    }
}

impl Postoffice {
    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    fn is_up(&self, now: Instant) -> bool {
        self.failures == 0 || self.down_until <= now
    }
}

/// It may have taken the mails: nobody else may be asked.
fn unclear(failure: Failure) -> Next {
    Next::Settled(Err(failure))
}

/// See [`Postoffices::turn`].
struct Turn<'a> {
    postoffice: &'a Postoffice,
    probe: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.postoffice.lock().probing = false;
        }
    }
}

fn request(chunks: &Chunks, traceparent: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::new(chunks.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(MESSAGES_PATH);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(BATCH_SMTP));
    if let Some(trace) = traceparent.and_then(|trace| HeaderValue::from_str(trace).ok()) {
        headers.insert("traceparent", trace);
    }
    request
}

/// The largest answer worth reading, in bytes: an address and a reply for each recipient, escaped.
fn answer_bytes_max(mails: &[BatchMail]) -> usize {
    let recipients: usize = mails.iter().map(|mail| mail.envelope.recipients.len()).sum();
    64 * 1024 + 256 * mails.len() + 8 * 1024 * recipients
}
