use std::time::Duration;

use super::Dialect;
use crate::sasl::Mechanism;

/// How a server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The name in the greeting and in the reply to EHLO.
    pub hostname: String,
    /// SMTP or LMTP.
    pub protocol: Dialect,
    /// The largest content taken, in bytes; offered with SIZE (RFC 1870).
    pub content_bytes_max: u64,
    /// The longest command line, in bytes with its CRLF (RFC 5321 §4.5.3.1.4 asks for 512 at least,
    /// and extensions for more).
    pub command_bytes_max: usize,
    /// Recipients of one mail (RFC 5321 §4.5.3.1.8 asks for 100 at least).
    pub recipients_max: usize,
    /// Refused or malformed commands before the connection is closed with 421. Recipients above
    /// `recipients_max` are none up to 100,000 (RFC 5321 §4.5.3.1.10).
    pub errors_max: usize,
    /// Commands in a row that bring no mail forward (NOOP, RSET, VRFY, EHLO...) before it is closed with 421.
    pub commands_without_mail_max: usize,
    /// What goes behind a local part that stands alone, `root` say, in MAIL and RCPT (RFC 6409 §4.2). Without it
    /// only `postmaster` may stand alone.
    pub home_domain: Option<String>,
    /// What goes behind it in MAIL, when that is to be another domain than in RCPT.
    pub sender_home_domain: Option<String>,
    /// What happens to a bare CR or LF in a content.
    pub line_endings: LineEndings,
    /// Whether DSN is offered (RFC 3461). A server that tells nobody of success must not: the client would
    /// leave that to it.
    pub dsn: bool,
    /// Whether REQUIRETLS is offered, over TLS (RFC 8689).
    pub require_tls: bool,
    /// Whether MT-PRIORITY is offered (RFC 6710).
    pub mt_priority: bool,
    /// Whether DELIVERBY is offered (RFC 2852).
    pub deliver_by: bool,
    /// The least time that BY may ask for when the mail is to be returned after it; zero is no such limit.
    pub deliver_by_min: Duration,
    /// Whether FUTURERELEASE is offered, and the longest hold then, up to 999,999,999 s (RFC 4865). It needs
    /// the time of day, which the driver tells with [`Session::at_time`](super::Session::at_time).
    pub future_release: Option<Duration>,
    /// The mechanisms of AUTH, the best first; without any it is not offered (RFC 4954). The driver puts
    /// here what its [`Authenticator`](crate::sasl::Authenticator) has.
    pub mechanisms: Vec<Mechanism>,
    /// Whether AUTH is offered without TLS too. Whoever listens in then learns the passwords.
    pub authentication_in_clear_text: bool,
    /// Whether a client must be authenticated before it may send; without it is told 530.
    pub authentication_required: bool,
    /// Failed authentications before the connection is closed with 421.
    pub authentication_failures_max: usize,
    /// How long the first failed authentication waits for its reply; the next wait longer by as much each.
    /// Kept by the driver.
    pub authentication_failure_delay: Duration,
    /// How long failures on other connections from its address may hold a client back. Kept by the driver.
    pub authentication_delay_max: Duration,
    /// How long the client may be silent (RFC 5321 §4.5.3.2.7 asks for five minutes at least).
    pub silence_max: Duration,
    /// How long a connection may last since it began, or since its last mail: a client that sends a byte
    /// now and then is never silent.
    pub connection_duration_max: Duration,
    /// Connections at once; one more is told 421. Kept by the driver.
    pub connections_max: usize,
    /// Connections at once from one address; one more is told 421. Kept by the driver.
    pub connections_per_address_max: usize,
    /// Memory for contents on their way in, in bytes, for all connections together: a quarter for those
    /// up to 1 MiB, the rest for larger ones, or as much as one of the largest needs. Each connection may
    /// have 16 KiB besides. Who finds it lent out is not read from until it is there. Kept by the driver.
    pub content_memory_bytes: u64,
    /// How long a content may wait for memory before it is refused with 452. Kept by the driver.
    pub content_wait_max: Duration,
    /// Bytes a second that a content must bring on average while others wait for the memory it has;
    /// a slower client is told 421. Kept by the driver.
    pub content_rate_min: u64,
    /// How long transactions under way may go on after a stop was asked for. Kept by the driver.
    pub shutdown_grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            hostname: "localhost".into(),
            protocol: Dialect::Smtp,
            content_bytes_max: 50 * 1024 * 1024,
            command_bytes_max: 4096,
            recipients_max: 1000,
            errors_max: 100,
            commands_without_mail_max: 100,
            home_domain: None,
            sender_home_domain: None,
            line_endings: LineEndings::Refuse,
            dsn: true,
            require_tls: false,
            mt_priority: false,
            deliver_by: false,
            deliver_by_min: Duration::ZERO,
            future_release: None,
            mechanisms: Vec::new(),
            authentication_in_clear_text: false,
            authentication_required: false,
            authentication_failures_max: 3,
            authentication_failure_delay: Duration::from_secs(1),
            authentication_delay_max: Duration::from_secs(20),
            silence_max: Duration::from_secs(300),
            connection_duration_max: Duration::from_secs(3600),
            connections_max: 1000,
            connections_per_address_max: 100,
            content_memory_bytes: 48 * 1024 * 1024,
            content_wait_max: Duration::from_secs(60),
            content_rate_min: 32 * 1024,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// What happens to a CR without LF, or a LF without CR, in a content (RFC 5321 §2.3.8 forbids both).
/// Neither ever ends it. A NUL is refused with 554 5.6.0 in any case, but for a binary content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEndings {
    /// The mail is refused with 554 5.6.11. For peers across a network: such bytes are how mails are
    /// smuggled in.
    #[default]
    Refuse,
    /// Each becomes CRLF. For programs on this host, whose authors never heard of CRLF.
    Normalise,
}
