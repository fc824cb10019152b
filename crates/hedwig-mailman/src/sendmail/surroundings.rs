//! What `sendmail` needs to know of the mailman on this host.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use hedwig_daemon::{
    HOSTNAME, Hostname,
    settings::{Problems, Reading, Settings, Size, Sources},
};

use crate::{
    SCOPE,
    configuration::{DIRECTORY, mail_domain},
    listener_settings::{LISTEN, SIZE_MAX},
};

/// The settings of the mailman that `sendmail` submits to. They come from the same configuration file
/// and environment; never from an argument.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The name of this host.
    pub(crate) hostname: Hostname,
    /// What goes behind a bare local part.
    pub(crate) domain: String,
    /// Where mailman takes mail, as a program on this host reaches it.
    pub(crate) servers: Vec<SocketAddr>,
    /// Its spool.
    pub(crate) spool: PathBuf,
    /// The largest message it takes.
    pub(crate) message_bytes_max: u64,
    /// What is wrong with settings that do not matter here, such as a token that only the daemon may
    /// read. To be told when the mail finds no way.
    pub(crate) problems: Vec<String>,
}

impl Surroundings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one that matters here is wrong.
    pub(crate) fn gather(environment: Vec<(OsString, OsString)>) -> Result<Self, Problems> {
        let settings = Settings::gather(&SCOPE, Sources { environment, ..Sources::default() });
        let mut read = Reading::of(&settings);
        let servers = read.many::<SocketAddr>(&LISTEN);
        let size = read.one::<Size>(&SIZE_MAX);
        let spool = read.one(&DIRECTORY);
        let hostname = read.optional(&HOSTNAME);
        let domain = mail_domain(&mut read, hostname.clone().flatten().as_ref());
        // Building nothing gives the problems back.
        let problems = read.finish(|| None::<()>).err().unwrap_or(Problems(Vec::new()));
        let (Some(servers), Some(size), Some(spool), Some(hostname), Some(domain)) =
            (servers, size, spool, hostname, domain)
        else {
            return Err(problems);
        };
        Ok(Self {
            hostname: hostname.unwrap_or_else(Hostname::of_system),
            domain,
            servers: servers.into_iter().map(reachable).collect(),
            spool,
            message_bytes_max: size.0,
            problems: problems.0.iter().map(ToString::to_string).collect(),
        })
    }
}

/// A listener at every address of this host is reached at its loopback address.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let loopback = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(settings: &[(&str, &str)]) -> Result<Surroundings, Problems> {
        let variable =
            |(key, value): &(&str, &str)| (format!("HEDWIG_MAILMAN_{key}").into(), value.into());
        let mut environment: Vec<(OsString, OsString)> = settings.iter().map(variable).collect();
        if !settings.iter().any(|(key, _)| *key == "CONFIG") {
            environment.push(("HEDWIG_MAILMAN_CONFIG".into(), "/dev/null".into()));
        }
        Surroundings::gather(environment)
    }

    #[test]
    fn a_listener_at_every_address_is_reached_at_loopback() {
        let found = gather(&[("SMTP_LISTEN", "0.0.0.0:2525,[::]:2525,192.0.2.1:25")]).unwrap();
        let servers: Vec<String> = found.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:2525", "[::1]:2525", "192.0.2.1:25"]);
    }

    #[test]
    fn the_domain_is_the_hosts_name_unless_it_is_set() {
        let host = ("SERVER_HOSTNAME", "host.example.org");
        assert_eq!(gather(&[host]).unwrap().domain, "host.example.org");
        assert_eq!(gather(&[host, ("MAIL_DOMAIN", "example.org")]).unwrap().domain, "example.org");
        let error = gather(&[("MAIL_DOMAIN", "not a domain")]).unwrap_err();
        assert!(error.0[0].to_string().contains("[mail] domain"));
    }

    #[test]
    fn a_setting_that_only_the_daemon_needs_does_not_stop_a_mail() {
        let found = gather(&[("POSTOFFICE_TOKEN_FILE", "/nonexistent/token")]).unwrap();
        assert!(found.problems[0].contains("/nonexistent/token"), "{:?}", found.problems);
        let found = gather(&[("CONFIG", "/nonexistent/mailman.toml")]).unwrap();
        assert!(found.problems[0].contains("/nonexistent/mailman.toml"), "{:?}", found.problems);
    }

    #[test]
    fn a_setting_that_matters_is_not_guessed() {
        let error = gather(&[("SMTP_LISTEN", "port 25")]).unwrap_err();
        assert!(error.0[0].to_string().contains("[smtp] listen"));
    }
}
