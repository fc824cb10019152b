use std::{fmt, str::FromStr};

use hedwig_envelope::Domain;

use crate::settings::{Reading, Setting};

/// The name this host gives itself in greetings, trace fields and reports (RFC 5321 §2.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname(String);

/// The setting for it. Without one, the [system's](Hostname::of_system).
pub static HOSTNAME: Setting = Setting::text("server", "hostname", "NAME")
    .flag("hostname")
    .help("The name of this host in greetings and trace fields; the system's if not set")
    .example("mail.example.org");

impl Hostname {
    /// What the system calls itself; `localhost` if it will not say.
    #[must_use]
    pub fn of_system() -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::fs::read_to_string("/etc/hostname"));
        let name = name.ok().and_then(|name| name.trim().parse().ok());
        name.unwrap_or_else(|| Self("localhost".to_owned()))
    }

    /// Reads the setting, or asks the system, and warns of a name that other servers may refuse.
    pub fn read(read: &mut Reading<'_>) -> Option<Self> {
        let hostname = read.optional(&HOSTNAME)?.unwrap_or_else(Self::of_system);
        if !hostname.is_qualified() {
            let what = format!(
                "{hostname:?} is not fully qualified, and other servers may refuse it; \
                 write it like mail.example.org",
                hostname = hostname.as_str()
            );
            read.warn(&HOSTNAME, what);
        }
        Some(hostname)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether other servers can take it for a fully qualified name: it has a dot, or is an address
    /// literal.
    #[must_use]
    pub fn is_qualified(&self) -> bool {
        self.0.contains('.') || self.0.starts_with('[')
    }
}

impl FromStr for Hostname {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        match Domain::parse(text) {
            Ok(_) if text.is_ascii() => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(HostnameError),
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`Hostname`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither a domain name in ASCII nor an address literal")]
pub struct HostnameError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_others_would_refuse_is_seen() {
        let name = |text: &str| text.parse::<Hostname>();
        assert!(name("Mail.Example.org").unwrap().is_qualified());
        assert!(name("[192.0.2.1]").unwrap().is_qualified());
        assert!(!name("af5be243f321").unwrap().is_qualified());
        assert_eq!(name("a\r\nb"), Err(HostnameError));
    }
}
