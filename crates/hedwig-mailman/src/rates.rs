//! Who sends too much: rates for each client, sender and user.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::Either;
use hedwig_envelope::{Envelope, Reply, Status};
use hedwig_smtp::{Peer, Policy, Question, site};
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};

use crate::{Rate, rate::Buckets};

/// How many mails may come at a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// From each client's address (of IPv6, from each /64). Clients without one, those at a Unix socket, count as one.
    pub per_client: Option<Rate>,
    /// From each sender, whoever the client is; the null sender is free.
    pub per_sender: Option<Rate>,
    /// From each user who is authenticated.
    pub per_user: Option<Rate>,
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (rate, limit) in [
            (self.per_client, Limit::Client),
            (self.per_sender, Limit::Sender),
            (self.per_user, Limit::User),
        ] {
            if let Some(rate) = rate {
                write!(f, "{separator}{rate} for each {}", limit.name())?;
                separator = ", ";
            }
        }
        if separator.is_empty() { f.write_str("without limit") } else { Ok(()) }
    }
}

/// Which of the [`Rates`] was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// That for each client.
    Client,
    /// That for each sender.
    Sender,
    /// That for each user.
    User,
}

impl Limit {
    /// Its name, for a metric.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Sender => "sender",
            Self::User => "user",
        }
    }
}

/// Holds clients, senders and users to these limits: to a mail too many it says 450 4.7.1 in the place of 354, with the
/// limit and when to come again, and calls `exceeded`. All else is for `policy`; what it refuses does not count.
pub fn rate_policy<P: Policy>(
    limits: Limits,
    exceeded: impl Fn(Limit) + Clone + Send + Sync + 'static,
    policy: P,
) -> impl Policy {
    service_fn(move |question: Question| {
        let asked = policy.clone().oneshot(question.clone());
        let Question::Data { peer, envelope } = question else { return Either::Left(asked) };
        let (limits, exceeded) = (limits.clone(), exceeded.clone());
        Either::Right(async move {
            let reply = asked.await?;
            if !reply.is_success() {
                return Ok(reply);
            }
            Ok(match limits.take(&peer, &envelope, Instant::now()) {
                Ok(()) => reply,
                Err(excess) => {
                    exceeded(excess.limit);
                    tracing::info!(
                        client = peer.client.map(tracing::field::display),
                        from = %envelope.sender,
                        limit = excess.limit.name(),
                        "too many mails"
                    );
                    excess.reply()
                }
            })
        })
    })
}

/// [`Rates`], and who has sent how much of late. A cheap handle: what came by one clone counts for all of them, so that
/// who connects to another address of a listener wins nothing by that.
#[derive(Clone, Debug)]
pub struct Limits {
    rates: Rates,
    buckets: Arc<AllBuckets>,
}

#[derive(Debug)]
struct AllBuckets {
    per_client: Option<Buckets>,
    per_sender: Option<Buckets>,
    per_user: Option<Buckets>,
}

/// A mail too many.
struct Excess {
    limit: Limit,
    who: String,
    rate: Rate,
    wait: Duration,
}

impl Limits {
    /// Limits at these rates, of which nobody has used anything.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        let buckets = AllBuckets {
            per_client: rates.per_client.map(Buckets::new),
            per_sender: rates.per_sender.map(Buckets::new),
            per_user: rates.per_user.map(Buckets::new),
        };
        Self { rates, buckets: Arc::new(buckets) }
    }

    /// The rates.
    #[must_use]
    pub fn rates(&self) -> Rates {
        self.rates
    }

    /// Takes a token from each bucket that the mail counts in, or from none.
    fn take(&self, peer: &Peer, envelope: &Envelope, now: Instant) -> Result<(), Excess> {
        let client = peer.client.map(|client| client.ip().to_canonical());
        let sender = envelope.sender.address().map(|a| a.as_str().to_ascii_lowercase());
        let client_name = client.map_or_else(|| "this socket".to_owned(), |ip| ip.to_string());
        let buckets = [
            (
                Limit::Client,
                &self.buckets.per_client,
                Some(Key::Client(client.map(site))),
                client_name,
            ),
            (Limit::User, &self.buckets.per_user, peer.authenticated.clone().map(Key::Name), {
                peer.authenticated.clone().unwrap_or_default()
            }),
            (Limit::Sender, &self.buckets.per_sender, sender.clone().map(Key::Name), {
                sender.unwrap_or_default()
            }),
        ];
        let mut taken: Vec<(&Buckets, Key)> = Vec::with_capacity(buckets.len());
        for (limit, buckets, key, who) in buckets {
            let (Some(buckets), Some(key)) = (buckets, key) else { continue };
            if let Err(wait) = buckets.take(&key, now) {
                taken.iter().for_each(|(buckets, key)| buckets.put_back(key));
                return Err(Excess { limit, who, rate: buckets.rate(), wait });
            }
            taken.push((buckets, key));
        }
        Ok(())
    }
}

#[derive(Hash)]
enum Key {
    Client(Option<IpAddr>),
    Name(String),
}

impl Excess {
    fn reply(&self) -> Reply {
        let seconds = self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0);
        let text = format!(
            "Too many mails from the {} {}: the limit is {}; try again in {seconds} s",
            self.limit.name(),
            self.who,
            self.rate
        );
        Reply::with_status(450, Status::transient(7, 1), text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hedwig_envelope::{Address, ReversePath};
    use hedwig_smtp::policy::{allow_all, policy_fn};

    use super::*;

    fn question(client: &str, user: Option<&str>, sender: &str) -> Question {
        let recipient: Address = "b@example.net".parse().unwrap();
        let sender: ReversePath = sender.parse().unwrap();
        let peer = Peer::new(Some(client.parse().unwrap()));
        Question::Data {
            peer: Arc::new(Peer { authenticated: user.map(str::to_owned), ..peer }),
            envelope: Arc::new(Envelope::new(sender, [recipient])),
        }
    }

    fn one_an_hour() -> Option<Rate> {
        Some("1/h".parse().unwrap())
    }

    async fn ask(policy: &mut impl Policy, question: Question) -> String {
        policy.call(question).await.unwrap().to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn a_mail_too_many_is_told_which_limit_and_when_to_come_again() {
        let exceeded = Arc::new(Mutex::new(Vec::new()));
        let note = exceeded.clone();
        let rates = Rates {
            per_client: Some("2/m".parse().unwrap()),
            per_sender: one_an_hour(),
            per_user: one_an_hour(),
        };
        let mut policy = rate_policy(
            Limits::new(rates),
            move |limit| note.lock().unwrap().push(limit),
            allow_all(),
        );
        let here = "192.0.2.1:25";
        let first = ask(&mut policy, question(here, Some("alice"), "a@example.org")).await;
        assert_eq!(first, "250 2.0.0 Go ahead");
        assert_eq!(
            ask(&mut policy, question(here, Some("alice"), "b@example.org")).await,
            "450 4.7.1 Too many mails from the user alice: the limit is 1 in 1h; try again in 3600 s"
        );
        assert_eq!(
            ask(&mut policy, question(here, Some("bob"), "A@Example.org")).await,
            "450 4.7.1 Too many mails from the sender a@example.org: the limit is 1 in 1h; try again in 3600 s"
        );
        // What was refused took nothing from the client.
        assert!(ask(&mut policy, question(here, Some("bob"), "")).await.starts_with("250"));
        assert_eq!(
            ask(&mut policy, question("192.0.2.1:26", None, "")).await,
            "450 4.7.1 Too many mails from the client 192.0.2.1: the limit is 2 in 1m; try again in 30 s"
        );
        assert!(ask(&mut policy, question("192.0.2.2:25", None, "")).await.starts_with("250"));
        assert_eq!(*exceeded.lock().unwrap(), [Limit::User, Limit::Sender, Limit::Client]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_many_addresses_is_one_client() {
        let rates = Rates { per_client: one_an_hour(), ..Rates::default() };
        let mut policy = rate_policy(Limits::new(rates), |_| {}, allow_all());
        for (client, code) in [
            ("[2001:db8::1]:25", "250"),
            ("[2001:db8::2]:25", "450"),
            ("[2001:db8:0:1::1]:25", "250"),
        ] {
            let reply = ask(&mut policy, question(client, None, "")).await;
            assert!(reply.starts_with(code), "{client}: {reply}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_cannot_use_up_what_a_sender_has() {
        let rates = Rates { per_sender: one_an_hour(), ..Rates::default() };
        let refuse_strangers = policy_fn(|question: &Question| {
            let client = question.peer().client;
            let is_stranger = client.is_some_and(|client| !client.ip().is_loopback());
            let no = || Reply::with_status(550, Status::permanent(7, 1), "No");
            if is_stranger { no() } else { question.yes() }
        });
        let mut policy = rate_policy(Limits::new(rates), |_| {}, refuse_strangers);
        for (client, code) in [
            ("192.0.2.1:25", "550"),
            ("192.0.2.1:25", "550"),
            ("127.0.0.1:25", "250"),
            ("127.0.0.1:25", "450"),
        ] {
            let reply = ask(&mut policy, question(client, None, "a@example.org")).await;
            assert!(reply.starts_with(code), "{client}: {reply}");
        }
    }
}
