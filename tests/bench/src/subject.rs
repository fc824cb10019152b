//! What is measured: Hedwig, and Postfix in the same place.

use std::net::SocketAddr;

use hedwig_lab::{
    Daemon, Dns, Half, House, HouseOptions, Postfix, PostfixOptions, Program, Result, eventually,
};

use crate::usage::{self, Usage};

/// So many connections from one client are let in, by each of them.
const CONNECTIONS_MAX: usize = 1000;

/// One way from the client to the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// mailman, then the postoffice.
    Hedwig,
    /// One Postfix that relays.
    Postfix,
    /// Two Postfixes in a row: what Hedwig's two halves replace.
    TwoPostfixes,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Hedwig, Self::Postfix, Self::TwoPostfixes];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hedwig => "hedwig",
            Self::Postfix => "postfix",
            Self::TwoPostfixes => "postfix-twice",
        }
    }

    pub(crate) async fn start(self, sink: SocketAddr) -> Result<Subject> {
        Ok(match self {
            Self::Hedwig => {
                let dns = Dns::start().await?;
                dns.mail_domain("bench.example", sink.ip()).await;
                let mut options = HouseOptions::new(dns.address(), sink.port());
                for (key, value) in [
                    ("connections_per_client", &*CONNECTIONS_MAX.to_string()),
                    // smtp-source tells no size and writes to one connection after the other: it would wait for
                    // itself where contents wait for memory. A fourth is for those up to 1 MiB.
                    ("content_memory", "2500M"),
                ] {
                    options.mailman = options.mailman.set(Half::Mailman, "smtp", key, value);
                }
                let house = House::start(&Program::this()?, options).await?;
                Subject::Hedwig { house: Box::new(house), _dns: dns }
            }
            Self::Postfix => Subject::Postfixes(vec![relay(sink).await?]),
            Self::TwoPostfixes => {
                let second = relay(sink).await?;
                let first = relay(second.address()).await?;
                Subject::Postfixes(vec![first, second])
            }
        })
    }
}

/// Servers that run.
pub(crate) enum Subject {
    Hedwig {
        house: Box<House>,
        _dns: Dns,
    },
    /// In the order in which a mail passes them.
    Postfixes(Vec<Postfix>),
}

impl Subject {
    /// Where mails go in.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Hedwig { house, .. } => house.smtp(),
            Self::Postfixes(postfixes) => postfixes[0].address(),
        }
    }

    /// What each server has used so far.
    pub(crate) fn usage(&mut self) -> Result<Vec<(&'static str, Usage)>> {
        match self {
            Self::Hedwig { house, .. } => Ok(vec![
                ("mailman", usage::of_process(house.mailman.process().id()?)?),
                ("postoffice", usage::of_process(house.postoffice.process().id()?)?),
            ]),
            Self::Postfixes(postfixes) => postfixes
                .iter()
                .zip(["postfix", "postfix 2"])
                .map(|(postfix, name)| Ok((name, usage::of_family(postfix.master_id()?)?)))
                .collect(),
        }
    }

    /// Waits until no queue has anything left, so that nothing can arrive any more.
    pub(crate) async fn wait_until_idle(&self) -> Result<()> {
        match self {
            Self::Hedwig { house, .. } => {
                for daemon in [&house.mailman, &house.postoffice] {
                    idle(daemon).await?;
                }
            }
            Self::Postfixes(postfixes) => {
                for postfix in postfixes {
                    postfix.wait_until_idle().await?;
                }
            }
        }
        Ok(())
    }
}

async fn idle(daemon: &Daemon) -> Result<()> {
    const WAITING: [&str; 4] = ["queued", "delivering", "deferred", "held"];
    eventually("an empty queue", async || {
        for state in WAITING {
            let listed =
                daemon.queue(&["list", "--json", "--limit", "1", "--state", state]).await?;
            if !listed.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// A Postfix that passes everything on to one server.
async fn relay(next: SocketAddr) -> Result<Postfix> {
    Postfix::start(&PostfixOptions {
        hostname: "relay.lab.example".into(),
        main_cf: vec![
            "virtual_mailbox_domains =".into(),
            "mynetworks = 127.0.0.0/8".into(),
            format!("default_process_limit = {CONNECTIONS_MAX}"),
            "smtpd_relay_restrictions = permit_mynetworks, reject".into(),
            format!("relayhost = [{}]:{}", next.ip(), next.port()),
        ],
        ..PostfixOptions::default()
    })
    .await
}
