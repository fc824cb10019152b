//! Senders: who may be one, and what becomes of one whose domain nobody outside knows.

use std::{
    fmt,
    future::ready,
    ops::Range,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use hedwig_envelope::{
    Address, BoxError, Content, Mail, Reply, ReversePath, Status,
    header::{Field, fields},
};
use hedwig_smtp::{Policy, Question};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::sendmail::{Mention, addresses};

/// The fields that name a mail's author (RFC 5322 §3.6.2).
const AUTHOR_FIELDS: [&str; 3] = ["From", "Sender", "Reply-To"];

/// Senders that are allowed: `alice@example.org`, or everybody at `example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderRule {
    /// One address.
    Address(Address),
    /// All addresses of this domain, but not of those below it.
    Domain(String),
}

impl SenderRule {
    fn allows(&self, sender: &Address) -> bool {
        match self {
            Self::Address(address) => address == sender,
            Self::Domain(domain) => {
                sender.domain_text().is_some_and(|other| other.eq_ignore_ascii_case(domain))
            }
        }
    }
}

impl fmt::Display for SenderRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => f.write_str(domain),
        }
    }
}

impl FromStr for SenderRule {
    type Err = SenderRuleError;

    fn from_str(text: &str) -> Result<Self, SenderRuleError> {
        if text.contains('@') {
            return text.parse().map(Self::Address).map_err(|_| SenderRuleError);
        }
        // With somebody in front of it, it must be an address.
        let somebody: Address = format!("a@{text}").parse().map_err(|_| SenderRuleError)?;
        Ok(Self::Domain(somebody.domain_text().unwrap_or(text).to_owned()))
    }
}

/// A text that is no [`SenderRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderRuleError;

impl fmt::Display for SenderRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sender is an address, or a domain whose addresses are all meant")
    }
}

/// Refuses other senders than these with 550 5.7.1, and asks `policy` about all else. Without rules every
/// sender is allowed; the null sender always is, for it is nobody's.
///
/// A sender is looked at as [`AuthorsLayer`] with this domain will make it.
pub fn sender_policy<P: Policy>(
    rules: Vec<SenderRule>,
    domain: &str,
    policy: P,
) -> impl Policy + use<P> {
    let home = Home::new(domain);
    let rules: Arc<[SenderRule]> = rules.into();
    service_fn(move |question: Question| {
        if let Question::Mail { sender: ReversePath::Address(sender), .. } = &question {
            let sender = home.of(sender).unwrap_or_else(|| sender.clone());
            if !rules.is_empty() && !rules.iter().any(|rule| rule.allows(&sender)) {
                let text = format!("Nobody may send as {sender} from here");
                let reply = Reply::with_status(550, Status::permanent(7, 1), text);
                return Either::Left(ready(Ok::<_, BoxError>(reply)));
            }
        }
        Either::Right(policy.clone().oneshot(question))
    })
}

/// Gives senders a domain that the world knows: `root@af5be243f321`, as a container's programs write it,
/// becomes `root@` and this domain, in the envelope and in From, Sender and Reply-To. All else of a mail, and
/// every sender whose domain has a dot in it, stays as it is.
#[derive(Clone, Debug)]
pub struct AuthorsLayer {
    home: Home,
}

impl AuthorsLayer {
    /// A layer that writes this domain. One without a dot is no better than what it would replace, so
    /// nothing is changed then.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self { home: Home::new(domain) }
    }
}

impl<S> Layer<S> for AuthorsLayer {
    type Service = Authors<S>;

    fn layer(&self, inner: S) -> Authors<S> {
        Authors { inner, home: self.home.clone() }
    }
}

/// What [`AuthorsLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Authors<S> {
    inner: S,
    home: Home,
}

impl<S: Service<Mail>> Service<Mail> for Authors<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut mail: Mail) -> S::Future {
        if let Some(sender) = mail.envelope.sender.address().and_then(|a| self.home.of(a)) {
            mail.envelope.sender = sender.into();
        }
        if let Some(message) = self.home.in_header(mail.content.message()) {
            let added = mail.content.added().clone();
            mail.content = Content::with_added(added, message);
        }
        self.inner.call(mail)
    }
}

/// The domain of whoever has none that the world knows.
#[derive(Clone, Debug)]
struct Home(Option<Arc<str>>);

impl Home {
    fn new(domain: &str) -> Self {
        Self(Some(domain.into()).filter(|_| is_known_to_the_world(domain)))
    }

    /// The address at home, unless it has a better domain already.
    fn of(&self, address: &Address) -> Option<Address> {
        let is_known = is_known_to_the_world(address.domain_text()?);
        if is_known { None } else { self.at_home(address.local_part()) }
    }

    fn at_home(&self, local_part: &str) -> Option<Address> {
        // With a longer domain it may be too long for an address; then it stays as it is.
        format!("{local_part}@{}", self.0.as_ref()?).parse().ok()
    }

    /// The message with the authors' addresses at home, if any is to be changed.
    fn in_header(&self, message: &Bytes) -> Option<Bytes> {
        let changes: Vec<_> = fields(message)
            .filter(|field| AUTHOR_FIELDS.iter().any(|name| field.is_named(name)))
            .flat_map(|field| self.changes(message, field))
            .collect();
        if changes.is_empty() {
            return None;
        }
        let mut changed = BytesMut::with_capacity(message.len() + 64 * changes.len());
        let mut copied = 0;
        for (span, address) in changes {
            changed.extend_from_slice(&message[copied..span.start]);
            changed.extend_from_slice(address.as_str().as_bytes());
            copied = span.end;
        }
        changed.extend_from_slice(&message[copied..]);
        Some(changed.freeze())
    }

    /// Where addresses in a field of the message are to be changed, and to what.
    fn changes(&self, message: &[u8], field: Field<'_>) -> Vec<(Range<usize>, Address)> {
        let offset = field.value.as_ptr() as usize - message.as_ptr() as usize;
        // What is no list of addresses is not ours to mend.
        let mentions = addresses(field.value).unwrap_or_default();
        let change = |mention: Mention| {
            let address = if mention.is_bare() {
                self.at_home(&mention.text)?
            } else {
                self.of(&mention.text.parse().ok()?)?
            };
            Some((mention.span.start + offset..mention.span.end + offset, address))
        };
        mentions.into_iter().filter_map(change).collect()
    }
}

/// Whether a domain can be one of the Internet's: an address literal, or a name of two labels at least.
fn is_known_to_the_world(domain: &str) -> bool {
    let domain = domain.trim_end_matches('.');
    domain.starts_with('[') || (domain.contains('.') && domain != "localhost.localdomain")
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Envelope, MailId, MailParameters, Origin, Receipt, Timestamp};
    use hedwig_smtp::{Peer, policy::allow_all};

    use super::*;

    async fn through(domain: &str, sender: &str, message: &'static str) -> (String, String) {
        let recipient: Address = "bob@intranet".parse().unwrap();
        let sender: ReversePath = sender.parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let mail = Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(sender, [recipient]),
            content: Content::from(message),
            origin: Origin::local(now),
        };
        let seen = Arc::new(std::sync::Mutex::new(None));
        let inner = service_fn({
            let seen = seen.clone();
            move |mail: Mail| {
                let message = String::from_utf8(mail.content.to_bytes().into()).unwrap();
                *seen.lock().unwrap() = Some((mail.envelope.sender.to_string(), message));
                assert_eq!(mail.envelope.recipients[0].address.as_str(), "bob@intranet");
                ready(Ok::<_, BoxError>(Receipt { id: mail.id, outcomes: Vec::new() }))
            }
        });
        AuthorsLayer::new(domain).layer(inner).oneshot(mail).await.unwrap();
        seen.lock().unwrap().take().unwrap()
    }

    #[tokio::test]
    async fn a_containers_root_gets_a_domain_that_can_be_answered() {
        let message = "Subject: root@af5be243f321\r\n\
            from: root (at root@x) <root@af5be243f321>,\r\n\t\"a@b\"@host (x), cron\r\n\
            Reply-To: group: eve@localhost, bob@example.com;\r\n\
            To: bob@intranet\r\nSender: not; an address list\r\n\r\nFrom: a@b\r\n";
        let (sender, changed) = through("example.org", "root@af5be243f321", message).await;
        assert_eq!(sender, "root@example.org");
        let expected = message
            .replacen("<root@af5be243f321>", "<root@example.org>", 1)
            .replacen("@host", "@example.org", 1)
            .replacen(", cron", ", cron@example.org", 1)
            .replacen("eve@localhost", "eve@example.org", 1);
        assert_eq!(changed, expected);
    }

    #[tokio::test]
    async fn what_the_world_knows_stays_as_it_is() {
        let message = "From: a@example.com, b@[192.0.2.1]\r\n\r\nx\r\n";
        for sender in ["", "a@example.com", "b@[192.0.2.1]", "postmaster"] {
            let unchanged = (sender.to_owned(), message.to_owned());
            assert_eq!(through("example.org", sender, message).await, unchanged);
        }
        let message = "From: root@host\r\n\r\n";
        let unchanged = ("root@host".to_owned(), message.to_owned());
        assert_eq!(through("af5be243f321", "root@host", message).await, unchanged);
    }

    #[tokio::test]
    async fn only_senders_that_are_named_may_send() {
        let rules = ["example.org", "root@example.com"].map(|rule| rule.parse().unwrap()).to_vec();
        let mut policy = sender_policy(rules, "example.org", allow_all());
        for (sender, code) in [
            ("", 250),
            ("anybody@Example.ORG", 250),
            ("root@af5be243f321", 250),
            ("root@example.com", 250),
            ("eve@example.com", 550),
            ("eve@sub.example.org", 550),
            ("postmaster", 550),
        ] {
            let question = Question::Mail {
                peer: Arc::new(Peer::new(None)),
                sender: sender.parse().unwrap(),
                parameters: MailParameters::default(),
            };
            assert_eq!(policy.call(question).await.unwrap().code(), code, "{sender}");
        }
        for wrong in ["", "@example.org", "exa mple.org", "a@"] {
            assert!(wrong.parse::<SenderRule>().is_err(), "{wrong}");
        }
    }
}
