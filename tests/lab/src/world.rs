//! Everything at once: a name server, a receiving server, DKIM keys, and both daemons.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tempfile::TempDir;

use crate::{Dns, Half, House, HouseOptions, Program, Receiver, Result, dkim};

/// A small Internet with one house in it.
///
/// The sender's domain is `geneegroup.com`: it has DKIM keys, and its mail goes to the receiver as
/// that of every other domain does.
pub struct World {
    /// The name server; every domain of the world is in its zone.
    pub dns: Dns,
    /// The server that takes the mail of every domain.
    pub receiver: Receiver,
    /// The daemons.
    pub house: House,
    /// Held because the keys lie in it.
    _keys: TempDir,
}

/// The sender's domain in a [`World`].
pub const SENDER_DOMAIN: &str = "geneegroup.com";
/// The sender in a [`World`].
pub const SENDER: &str = "sender@geneegroup.com";

impl World {
    /// A world with these domains besides the sender's; `change` alters how the daemons start.
    ///
    /// Mails that wait are tried again after a second, so that nobody has to wait long for it.
    ///
    /// # Errors
    /// With the log of the daemon that does not start.
    pub async fn start(
        program: &Program,
        domains: &[&str],
        change: impl FnOnce(HouseOptions) -> HouseOptions,
    ) -> Result<Self> {
        let receiver = Receiver::start_at(SocketAddr::from((loopback_address(), 0))).await?;
        Self::with_receiver(program, domains, receiver, change).await
    }

    /// The same, with a receiver that the test has made.
    ///
    /// # Errors
    /// With the log of the daemon that does not start.
    pub async fn with_receiver(
        program: &Program,
        domains: &[&str],
        receiver: Receiver,
        change: impl FnOnce(HouseOptions) -> HouseOptions,
    ) -> Result<Self> {
        let dns = Dns::start().await?;
        for domain in domains.iter().chain([&SENDER_DOMAIN]) {
            dns.mail_domain(domain, receiver.address().ip()).await;
        }
        let keys = TempDir::with_prefix("lab-keys-")?;
        dkim::publish_keys(keys.path(), SENDER_DOMAIN, &dns).await?;
        let mut options = HouseOptions::new(dns.address(), receiver.address().port());
        options.dkim_keys = Some(keys.path().to_owned());
        options.mailman = options.mailman.set(Half::Mailman, "delivery", "retry", "1s");
        options.postoffice = options.postoffice.set(Half::Postoffice, "delivery", "retry", "1s");
        let house = House::start(program, change(options)).await?;
        Ok(Self { dns, receiver, house, _keys: keys })
    }

    /// Stops both daemons and returns how many mails had arrived by then: nothing can follow.
    ///
    /// # Errors
    /// When one does not stop.
    pub async fn close(mut self) -> Result<usize> {
        self.house.mailman.stop().await?;
        self.house.postoffice.stop().await?;
        Ok(self.receiver.mails().len())
    }
}

/// An address of this host that hardly anybody else uses just now: with it, servers at different
/// addresses can share one port number.
#[must_use]
pub fn loopback_address() -> IpAddr {
    Ipv4Addr::new(127, fastrand::u8(1..=254), fastrand::u8(..), fastrand::u8(1..=254)).into()
}
