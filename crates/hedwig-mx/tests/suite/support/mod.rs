//! What the tests of delivery share: names, servers, mails.

pub(crate) mod acts;
pub(crate) mod certificates;
mod conversation;
pub(crate) mod keys;
mod manners;
pub(crate) mod policy_server;
mod server;

use std::net::{IpAddr, Ipv4Addr};

use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailId, Origin, Outcome, Receipt, ReversePath, Timestamp,
};
pub(crate) use hedwig_lab::{Dns, Fault};
use hedwig_mx::{Mx, MxOptions, Resolver, Route, Routes, TrustAnchors};
pub(crate) use manners::{Manners, Tls};
pub(crate) use server::Server;
use tower::ServiceExt;

/// Options for a laboratory whose servers share this port.
pub(crate) fn options(port: u16) -> MxOptions {
    MxOptions {
        hello_name: "sender.example".into(),
        mx_port: port,
        allow_loopback: true,
        ..MxOptions::default()
    }
}

pub(crate) fn mx(dns: &Dns, options: MxOptions) -> Mx {
    Mx::new(Resolver::with_server(dns.address()).unwrap(), options)
}

/// A resolver that validates what this signed server says.
pub(crate) fn validating(dns: &Dns) -> Resolver {
    let anchors: TrustAnchors = dns.trust_anchor().unwrap().parse().unwrap();
    Resolver::with_server(dns.address()).unwrap().validating(&anchors).unwrap()
}

pub(crate) fn routes<const N: usize>(routes: [&str; N]) -> Routes {
    routes.into_iter().map(|text| text.parse::<Route>().unwrap()).collect()
}

/// 127.0.0.`last`.
pub(crate) fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

pub(crate) fn mail<const N: usize>(recipients: [&str; N]) -> Mail {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let recipients = recipients.map(|recipient| recipient.parse::<Address>().unwrap());
    let sender: ReversePath = "alice@sender.example".parse().unwrap();
    Mail {
        id: MailId::new(now, 7),
        envelope: Envelope::new(sender, recipients),
        content: Content::from("From: alice@sender.example\r\n\r\nHello\r\n.\r\nagain\r\n"),
        origin: Origin::local(now),
    }
}

pub(crate) async fn deliver<const N: usize>(mx: &Mx, recipients: [&str; N]) -> [Outcome; N] {
    outcomes(mx, mail(recipients)).await.try_into().unwrap()
}

pub(crate) async fn outcomes(mx: &Mx, mail: Mail) -> Vec<Outcome> {
    let recipients = mail.envelope.recipients.len();
    let receipt: Receipt = mx.clone().oneshot(mail).await.unwrap();
    assert_eq!(receipt.outcomes.len(), recipients);
    receipt.outcomes
}

/// The outcome in short: `done 2.0.0`, `deferred 4.4.1`, `failed 5.1.1`.
pub(crate) fn short(outcome: &Outcome) -> String {
    let word = match outcome {
        Outcome::Done(_) => "done",
        Outcome::Deferred(_) => "deferred",
        Outcome::Failed(_) => "failed",
    };
    format!("{word} {}", outcome.answer().status)
}

/// The host that an outcome names.
pub(crate) fn host(outcome: &Outcome) -> &str {
    outcome.answer().relay.as_ref().map_or("", |relay| relay.host.as_str())
}

/// What an outcome tells of the TLS policy.
pub(crate) fn tls_policy(outcome: &Outcome) -> &str {
    let relay = outcome.answer().relay.as_ref();
    relay.and_then(|relay| relay.tls_policy.as_deref()).unwrap_or("")
}
