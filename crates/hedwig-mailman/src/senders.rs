//! Senders: who may be one, and who takes the place of one that may not, or that nobody could answer.

use std::{future::ready, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use hedwig_envelope::{
    Address, BoxError, Content, Mail, Reply, ReversePath, Status,
    header::{Field, fields},
};
use hedwig_smtp::{Policy, Question};
use tower::{ServiceExt, service_fn};

use crate::{
    OtherSenders, SenderRule,
    sendmail::{Mention, addresses},
};

/// The fields that name a mail's author (RFC 5322 §3.6.2).
const AUTHOR_FIELDS: [&str; 3] = ["From", "Sender", "Reply-To"];
/// Where an answer goes is nobody's claim to be somebody.
const CLAIMING_FIELDS: [&str; 2] = ["From", "Sender"];

/// What is made of senders.
///
/// A sender whose domain the world does not know, `root@af5be243f321` as a container's programs write it, gets
/// [`domain`](Self::domain), or becomes the [`default_sender`](Self::default_sender) if there is one. Of all others
/// [`allowed`](Self::allowed) says who may stay.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    /// Who may be a sender; without any, anybody. The null sender always may: it is nobody's.
    pub allowed: Arc<[SenderRule]>,
    /// What becomes of the others; they are refused if there is no default sender.
    pub others: OtherSenders,
    /// Who takes the place of a sender that cannot stay.
    pub default_sender: Option<Address>,
    /// The domain that senders get. One without a dot is no better than what it would replace, so nothing
    /// gets it then.
    pub domain: Arc<str>,
}

impl Senders {
    /// Refuses a sender that may neither stay nor be changed with 550 5.7.1, and asks `policy` about all else.
    pub fn policy<P: Policy>(&self, policy: P) -> impl Policy + use<P> {
        let senders = self.clone();
        service_fn(move |question: Question| {
            if let Question::Mail { sender: ReversePath::Address(sender), .. } = &question {
                let stays = senders.in_place_of(sender, true).unwrap_or_else(|| sender.clone());
                if !senders.allows(&stays) {
                    let text = format!("Nobody may send as {stays} from here");
                    let reply = Reply::with_status(550, Status::permanent(7, 1), text);
                    return Either::Left(ready(Ok::<_, BoxError>(reply)));
                }
            }
            Either::Right(policy.clone().oneshot(question))
        })
    }

    /// The change that puts others in the place of senders that cannot stay: in the envelope, and in From, Sender
    /// and Reply-To, the last only where nobody could answer it. All else of a mail stays as it is.
    pub fn changing(&self) -> impl Fn(&mut Mail) + Clone + use<> {
        let senders = self.clone();
        move |mail| {
            let sender = mail.envelope.sender.address();
            if let Some(other) = sender.and_then(|sender| senders.in_place_of(sender, true)) {
                mail.envelope.sender = other.into();
            }
            if let Some(message) = senders.in_header(mail.content.message()) {
                let added = mail.content.added().clone();
                mail.content = Content::with_added(added, message);
            }
        }
    }

    fn allows(&self, sender: &Address) -> bool {
        self.allowed.is_empty()
            || self.default_sender.as_ref() == Some(sender)
            || self.allowed.iter().any(|rule| rule.allows(sender))
    }

    /// Who is to stand here in the place of this address, unless it stays. `is_claim` says that whoever wrote it
    /// would be the author of the mail.
    fn in_place_of(&self, address: &Address, is_claim: bool) -> Option<Address> {
        if !is_known_to_the_world(address.domain_text()?) {
            return self.at_home(address.local_part());
        }
        let is_rewritten = is_claim && self.others == OtherSenders::Rewrite;
        self.default_sender.clone().filter(|_| is_rewritten && !self.allows(address))
    }

    fn at_home(&self, local_part: &str) -> Option<Address> {
        if self.default_sender.is_some() {
            return self.default_sender.clone();
        }
        let domain = Some(&self.domain).filter(|domain| is_known_to_the_world(domain))?;
        // With a longer domain it may be too long for an address; then it stays as it is.
        format!("{local_part}@{domain}").parse().ok()
    }

    /// The message with the authors' addresses changed, if any is to be.
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
        let is_claim = CLAIMING_FIELDS.iter().any(|name| field.is_named(name));
        // What is no list of addresses is not ours to mend.
        let mentions = addresses(field.value).unwrap_or_default();
        let change = |mention: Mention| {
            let address = if mention.is_bare() {
                self.at_home(&mention.text)?
            } else {
                self.in_place_of(&mention.text.parse().ok()?, is_claim)?
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
    use hedwig_envelope::{Envelope, MailId, MailParameters, Origin, Timestamp};
    use hedwig_smtp::{Peer, policy::allow_all};
    use tower::Service;

    use super::*;

    fn at(domain: &str) -> Senders {
        Senders { domain: domain.into(), ..Senders::default() }
    }

    fn changed(senders: &Senders, sender: &str, message: &'static str) -> (String, String) {
        let recipient: Address = "bob@intranet".parse().unwrap();
        let sender: ReversePath = sender.parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let mut mail = Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(sender, [recipient]),
            content: Content::from(message),
            origin: Origin::local(now),
        };
        senders.changing()(&mut mail);
        assert_eq!(mail.envelope.recipients[0].address.as_str(), "bob@intranet");
        let message = String::from_utf8(mail.content.to_bytes().into()).unwrap();
        (mail.envelope.sender.to_string(), message)
    }

    const MESSAGE: &str = "Subject: root@af5be243f321\r\n\
        from: root (at root@x) <root@af5be243f321>,\r\n\t\"a@b\"@host (x), cron\r\n\
        Reply-To: group: eve@localhost, bob@example.com;\r\n\
        To: bob@intranet\r\nSender: not; an address list\r\n\r\nFrom: a@b\r\n";

    #[test]
    fn a_containers_root_gets_a_domain_that_can_be_answered() {
        let (sender, changed) = changed(&at("example.org"), "root@af5be243f321", MESSAGE);
        assert_eq!(sender, "root@example.org");
        let expected = MESSAGE
            .replacen("<root@af5be243f321>", "<root@example.org>", 1)
            .replacen("@host", "@example.org", 1)
            .replacen(", cron", ", cron@example.org", 1)
            .replacen("eve@localhost", "eve@example.org", 1);
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_default_sender_takes_the_place_of_a_containers_root() {
        let default_sender = Some("app@example.org".parse().unwrap());
        let senders = Senders { default_sender, ..at("example.com") };
        let (sender, changed) = changed(&senders, "root@af5be243f321", MESSAGE);
        assert_eq!(sender, "app@example.org");
        let expected = MESSAGE
            .replacen("<root@af5be243f321>", "<app@example.org>", 1)
            .replacen("\"a@b\"@host", "app@example.org", 1)
            .replacen(", cron", ", app@example.org", 1)
            .replacen("eve@localhost", "app@example.org", 1);
        assert_eq!(changed, expected);
    }

    #[test]
    fn what_the_world_knows_stays_as_it_is() {
        let message = "From: a@example.com, b@[192.0.2.1]\r\n\r\nx\r\n";
        for sender in ["", "a@example.com", "b@[192.0.2.1]", "postmaster"] {
            let unchanged = (sender.to_owned(), message.to_owned());
            assert_eq!(changed(&at("example.org"), sender, message), unchanged);
        }
        let message = "From: root@host\r\n\r\n";
        let unchanged = ("root@host".to_owned(), message.to_owned());
        assert_eq!(changed(&at("af5be243f321"), "root@host", message), unchanged);
    }

    fn only(rules: &[&str], others: OtherSenders, default_sender: Option<&str>) -> Senders {
        let allowed = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let default_sender = default_sender.map(|sender| sender.parse().unwrap());
        Senders { allowed, others, default_sender, ..at("example.org") }
    }

    async fn code(senders: &Senders, sender: &str) -> u16 {
        let question = Question::Mail {
            peer: Arc::new(Peer::new(None)),
            sender: sender.parse().unwrap(),
            parameters: MailParameters::default(),
        };
        senders.policy(allow_all()).call(question).await.unwrap().code()
    }

    #[tokio::test]
    async fn only_senders_that_are_named_may_send() {
        let senders = only(&["example.org", "root@example.com"], OtherSenders::Refuse, None);
        for (sender, expected) in [
            ("", 250),
            ("anybody@Example.ORG", 250),
            ("root@af5be243f321", 250),
            ("root@example.com", 250),
            ("eve@example.com", 550),
            ("eve@sub.example.org", 550),
            ("postmaster", 550),
        ] {
            assert_eq!(code(&senders, sender).await, expected, "{sender}");
        }
    }

    #[tokio::test]
    async fn a_sender_that_is_not_named_may_be_replaced() {
        let senders = only(&["example.org"], OtherSenders::Rewrite, Some("app@example.net"));
        assert_eq!(code(&senders, "eve@example.com").await, 250);
        let message = "From: Eve <eve@example.com>\r\nReply-To: eve@example.com\r\n\r\n";
        let (sender, message) = changed(&senders, "eve@example.com", message);
        assert_eq!(sender, "app@example.net");
        assert_eq!(message, "From: Eve <app@example.net>\r\nReply-To: eve@example.com\r\n\r\n");
        let message = "From: alice@example.org\r\n\r\n";
        let unchanged = ("alice@example.org".to_owned(), message.to_owned());
        assert_eq!(changed(&senders, "alice@example.org", message), unchanged);
        assert_eq!(changed(&senders, "", message).0, "");
    }
}
