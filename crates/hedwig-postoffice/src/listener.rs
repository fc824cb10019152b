use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc};

use hedwig_daemon::settings::{Reading, Setting, Size};
use hedwig_transport::{MessagesOptions, Token, tls};

pub(crate) static LISTEN: Setting = Setting::text("http", "listen", "ADDR")
    .flag("listen")
    .help("Take mail over HTTP at this address; show health and metrics there too")
    .default("127.0.0.1:8025");
pub(crate) static TOKEN: Setting = Setting::secret("http", "token")
    .flag("token")
    .help("The file with the tokens of which a client must show one, a line each");
pub(crate) static SIZE_MAX: Setting = Setting::text("http", "size_max", "SIZE")
    .help("The largest mail taken; a little more than mailman takes, which adds to it")
    .default("52M");
pub(crate) static MAILS_MAX: Setting = Setting::text("http", "mails_max", "N")
    .help("So many mails are in hand at once; more are told to come again")
    .default("10000");
pub(crate) static CERTIFICATE: Setting = Setting::text("http", "certificate", "FILE")
    .help("The certificate chain for HTTPS, in PEM; needs the key too");
pub(crate) static KEY: Setting =
    Setting::text("http", "key", "FILE").help("The private key of that certificate, in PEM");
pub(crate) static CLIENT_AUTHORITIES: Setting = Setting::text("http", "client_authorities", "FILE")
    .help("A client certificate that one of these authorities signed is as good as a token");
pub(crate) static ADMIN_TOKEN: Setting = Setting::secret("admin", "token")
    .help("The tokens that let an operator see and change the queue; the clients' if not set");

/// Where mail comes in, and who may bring it.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// The address and port.
    pub address: SocketAddr,
    /// HTTPS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who may hand in mail, and how much.
    pub messages: MessagesOptions,
    /// How many mails are in hand at once.
    pub mails_max: usize,
    /// Who may see and change the queue.
    pub admin_tokens: Vec<Token>,
}

impl ListenerOptions {
    /// Reads the settings of sections `[http]` and `[admin]`.
    pub fn read(read: &mut Reading<'_>) -> Option<Self> {
        let address = read.one::<SocketAddr>(&LISTEN);
        let tokens = read.many::<Token>(&TOKEN);
        let size = read.one::<Size>(&SIZE_MAX);
        let mails_max = read.one::<NonZeroUsize>(&MAILS_MAX);
        let admin_tokens = read.many::<Token>(&ADMIN_TOKEN);
        let authorities = read.optional::<PathBuf>(&CLIENT_AUTHORITIES);
        let tls = read_tls(read, authorities.clone().flatten());
        let (address, tokens, tls) = (address?, tokens?, tls?);
        let is_guarded = !tokens.is_empty() || (tls.is_some() && authorities?.is_some());
        warn_or_refuse(read, address, is_guarded, tls.is_some());
        let content_bytes_max = size.and_then(|size| usize::try_from(size.0).ok());
        let messages = MessagesOptions {
            open: !is_guarded,
            tokens: tokens.clone(),
            ..for_contents_of(content_bytes_max?)
        };
        let admin_tokens = Some(admin_tokens?).filter(|own| !own.is_empty()).unwrap_or(tokens);
        Some(Self { address, tls, messages, mails_max: mails_max?.get(), admin_tokens })
    }

    /// Whether mail may be taken at this address: a socket that somebody else opened need not be where
    /// the configuration says.
    ///
    /// # Errors
    /// With the way out, when everybody who can reach the address could send through it.
    pub fn may_listen_at(&self, address: SocketAddr) -> Result<(), OpenRelay> {
        let is_safe = address.ip().is_loopback() || !self.messages.open;
        if is_safe { Ok(()) } else { Err(OpenRelay(address)) }
    }

    /// What `check` says.
    pub(crate) fn describe(&self) -> Vec<String> {
        let protocol = if self.tls.is_some() { "HTTPS" } else { "HTTP" };
        let who = match (self.messages.open, self.messages.tokens.len()) {
            (true, _) => "programs on this host, without a token".to_owned(),
            (false, 0) => "clients with a certificate".to_owned(),
            (false, 1) => "clients with the token".to_owned(),
            (false, tokens) => format!("clients with one of {tokens} tokens"),
        };
        vec![
            format!("mail is taken at: {} ({protocol})", self.address),
            format!("and may be sent by: {who}"),
        ]
    }
}

/// An address at which everybody who can reach it could send mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRelay(SocketAddr);

impl fmt::Display for OpenRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (self.0, self.0.port());
        write!(
            f,
            "without a token {address} would relay for everybody who can reach it; set one with \
             --token-file, or listen on 127.0.0.1:{port}"
        )
    }
}

impl std::error::Error for OpenRelay {}

/// What a listener takes so that contents of this size fit in.
fn for_contents_of(content_bytes_max: usize) -> MessagesOptions {
    let defaults = MessagesOptions::default();
    // A batch has envelopes besides contents, and may have several mails.
    let request_bytes_max = defaults.request_bytes_max.max(content_bytes_max / 4 * 5);
    MessagesOptions {
        content_bytes_max,
        request_bytes_max,
        // Or there would never be room for the largest.
        held_bytes_max: defaults.held_bytes_max.max(request_bytes_max),
        ..defaults
    }
}

/// Mail from everybody is an open relay, and a token in clear text is a token for everybody.
fn warn_or_refuse(read: &mut Reading<'_>, address: SocketAddr, is_guarded: bool, tls: bool) {
    if address.ip().is_loopback() {
        return;
    }
    if !is_guarded {
        read.wrong(&LISTEN, OpenRelay(address));
    } else if !tls {
        read.warn(
            &LISTEN,
            "tokens and mails go in clear text; set certificate and key for HTTPS, unless a proxy \
             or a private network does it",
        );
    }
}

fn read_tls(
    read: &mut Reading<'_>,
    authorities: Option<PathBuf>,
) -> Option<Option<Arc<rustls::ServerConfig>>> {
    let certificate = read.optional::<PathBuf>(&CERTIFICATE);
    let key = read.optional::<PathBuf>(&KEY);
    let identity = match (certificate?, key?) {
        (Some(certificates), Some(key)) => tls::Identity { certificates, key },
        (None, None) => {
            if authorities.is_some() {
                read.wrong(
                    &CLIENT_AUTHORITIES,
                    "without HTTPS no client shows a certificate; set certificate and key",
                );
            }
            return Some(None);
        }
        (Some(_), None) => {
            read.wrong(&CERTIFICATE, "a certificate needs its private key: set key too");
            return None;
        }
        (None, Some(_)) => {
            read.wrong(&KEY, "a private key needs its certificate: set certificate too");
            return None;
        }
    };
    let config = tls::server_config(&identity, authorities.as_deref());
    config.map_err(|error| read.wrong(&CERTIFICATE, error)).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_largest_mail_however_large() {
        const MEBIBYTE: usize = 1 << 20;
        for size in [MEBIBYTE, 52 * MEBIBYTE, 600 * MEBIBYTE] {
            let options = for_contents_of(size);
            assert!(options.request_bytes_max > size, "{options:?}");
            assert!(options.held_bytes_max >= options.request_bytes_max, "{options:?}");
        }
    }
}
