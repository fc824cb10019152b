//! How clients come in: at which addresses, with which TLS, and who may authenticate.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use hedwig_daemon::settings::{Reading, Setting};
use hedwig_envelope::MailService;
use hedwig_smtp::{Policy, ServerOptions, server::Serve};
use hedwig_transport::tls;
use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::UserDirectory;

pub(crate) static TLS_LISTEN: Setting = Setting::list("tls", "listen", "ADDR")
    .flag("tls-listen")
    .help("Take mail at these addresses too, with TLS from the first byte")
    .example("0.0.0.0:465");
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

/// The ways in besides SMTP in clear text.
pub struct FrontDoor {
    /// Where TLS is spoken from the first byte.
    pub tls_listen: Vec<SocketAddr>,
    /// The certificate, as TLS wants it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may authenticate.
    pub users: Option<Arc<UserDirectory>>,
    /// Whether that is allowed without TLS.
    pub in_clear_text: bool,
}

/// When a listener's connections get their TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// After STARTTLS, if the client wishes.
    InClearText,
    WithTls,
}

impl FrontDoor {
    /// Reads the settings; what is wrong stays with the reading.
    pub(crate) fn read(read: &mut Reading<'_>) -> Option<Self> {
        let tls_listen = read.many::<SocketAddr>(&TLS_LISTEN);
        let tls = read_tls(read);
        let users = read_users(read);
        let in_clear_text = read.one::<bool>(&USERS_IN_CLEAR_TEXT);
        let door = Self {
            tls_listen: tls_listen?,
            tls: tls?,
            users: users?,
            in_clear_text: in_clear_text?,
        };
        if door.tls.is_none() && !door.tls_listen.is_empty() {
            read.wrong(&TLS_LISTEN, "TLS needs a certificate: set [tls] certificate and key");
        }
        if door.users.is_some() && door.tls.is_none() && !door.in_clear_text {
            let reason = "nobody can authenticate without TLS: set [tls] certificate and key";
            read.warn(&USERS_FILE, reason);
        }
        if door.users.is_some() && door.in_clear_text {
            read.warn(&USERS_IN_CLEAR_TEXT, "passwords may cross the network in clear text");
        }
        Some(door)
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let addresses = self.tls_listen.iter().map(ToString::to_string).collect::<Vec<_>>();
        let tls = match (&self.tls, addresses.join(", ")) {
            (None, _) => "mail clients cannot use TLS".to_owned(),
            (Some(_), none) if none.is_empty() => "mail clients may use STARTTLS".to_owned(),
            (Some(_), at) => format!("mail clients may use STARTTLS, or TLS at: {at}"),
        };
        let users = match &self.users {
            None => "nobody can authenticate".to_owned(),
            Some(users) => format!("users who may authenticate: {}", users.users().names().count()),
        };
        vec![tls, users]
    }

    /// A server at this listener.
    pub(crate) fn serve<P: Policy, S: MailService>(
        &self,
        begin: Begin,
        listener: TcpListener,
        policy: P,
        service: S,
        options: ServerOptions,
    ) -> Serve<P, S> {
        let authentication_in_clear_text = self.in_clear_text;
        let mut server = hedwig_smtp::serve(listener, policy, service)
            .options(ServerOptions { authentication_in_clear_text, ..options });
        if let Some(users) = &self.users {
            server = server.authenticator(users.clone());
        }
        match (&self.tls, begin) {
            (None, _) => server,
            (Some(tls), Begin::InClearText) => server.tls(tls.clone()),
            (Some(tls), Begin::WithTls) => server.implicit_tls(tls.clone()),
        }
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
