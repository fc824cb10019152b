//! What all listeners share: the certificate for TLS, and who may authenticate.

use std::{path::PathBuf, sync::Arc};

use hedwig_daemon::settings::{Reading, Setting};
use hedwig_transport::tls;
use rustls::ServerConfig;

use crate::UserDirectory;

pub(crate) static TLS_CERTIFICATE: Setting = Setting::text("tls", "certificate", "FILE")
    .help(
        "The certificate chain to show mail clients, in PEM; with it STARTTLS is offered, and it is \
         read again when it changes",
    )
    .example("/etc/hedwig/fullchain.pem");
pub(crate) static TLS_KEY: Setting = Setting::text("tls", "key", "FILE")
    .help("The private key of that certificate, in PEM")
    .example("/etc/hedwig/privkey.pem");
pub(crate) static USERS_FILE: Setting = Setting::text("users", "file", "FILE")
    .flag("users")
    .help("Who may authenticate, and then send anywhere; written by: hedwig-mailman user add NAME")
    .example("/etc/hedwig/users");
pub(crate) static USERS_IN_CLEAR_TEXT: Setting = Setting::switch("users", "in_clear_text")
    .help("Let them authenticate without TLS too; whoever listens in learns the passwords");

/// What all listeners share: a certificate, and users.
pub struct FrontDoor {
    /// The certificate, as TLS wants it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may authenticate.
    pub users: Option<Arc<UserDirectory>>,
}

impl FrontDoor {
    /// Reads the settings; what is wrong stays with the reading.
    pub(crate) fn read(read: &mut Reading<'_>) -> Option<Self> {
        let (tls, users) = (read_tls(read), read_users(read));
        Some(Self { tls: tls?, users: users? })
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let tls = match &self.tls {
            None => "mail clients cannot use TLS",
            Some(_) => "mail clients may use TLS where it is offered",
        };
        let users = match &self.users {
            None => "nobody can authenticate".to_owned(),
            Some(users) => format!("users who may authenticate: {}", users.users().names().count()),
        };
        vec![tls.to_owned(), users]
    }
}

fn read_tls(read: &mut Reading<'_>) -> Option<Option<Arc<ServerConfig>>> {
    let certificate = read.optional::<PathBuf>(&TLS_CERTIFICATE);
    let key = read.optional::<PathBuf>(&TLS_KEY);
    let identity = match (certificate?, key?) {
        (None, None) => return Some(None),
        (Some(certificates), Some(key)) => tls::Identity { certificates, key },
        (Some(_), None) => {
            read.wrong(&TLS_CERTIFICATE, "a certificate needs its private key: set key too");
            return None;
        }
        (None, Some(_)) => {
            read.wrong(&TLS_KEY, "a private key needs its certificate: set certificate too");
            return None;
        }
    };
    match tls::server_config(&identity, None) {
        Ok(config) => {
            // Those that it names speak HTTP.
            let mut config = Arc::unwrap_or_clone(config);
            config.alpn_protocols.clear();
            Some(Some(Arc::new(config)))
        }
        Err(error) => {
            read.wrong(&TLS_CERTIFICATE, error);
            None
        }
    }
}

fn read_users(read: &mut Reading<'_>) -> Option<Option<Arc<UserDirectory>>> {
    let Some(file) = read.optional::<PathBuf>(&USERS_FILE)? else { return Some(None) };
    match UserDirectory::open(&file) {
        Ok(users) => Some(Some(Arc::new(users))),
        Err(error) => {
            read.wrong(&USERS_FILE, error);
            None
        }
    }
}
