use std::time::Duration;

use hedwig_envelope::Relay;

use super::Transcript;
use crate::server::Dialect;

/// How a client behaves on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// What the client calls itself with EHLO, HELO or LHLO: its domain name or address literal.
    pub hello_name: String,
    /// SMTP or LMTP.
    pub protocol: Dialect,
    /// How long to wait for what.
    pub time_limits: TimeLimits,
    /// The server that is spoken to, as outcomes shall name it; TLS that starts later is added.
    pub relay: Option<Relay>,
    /// Whether 8-bit content is sent to a server that does not offer 8BITMIME. `false` fails such a mail
    /// with 5.6.3.
    pub eight_bit_without_8bitmime: bool,
    /// Where to take down what is said; `None` for nowhere.
    pub transcript: Option<Transcript>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            hello_name: "localhost".into(),
            protocol: Dialect::Smtp,
            time_limits: TimeLimits::default(),
            relay: None,
            eight_bit_without_8bitmime: false,
            transcript: None,
        }
    }
}

/// How long a client waits (RFC 5321 §4.5.3.2): for replies that are whole, since an octet of one is no answer,
/// and beyond these times no longer than what is sent takes at [256 octets a second](Self::SENT_BYTES_PER_SECOND_MIN).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// For the greeting (§4.5.3.2.1).
    pub greeting: Duration,
    /// For the reply to EHLO, HELO, LHLO, STARTTLS, AUTH, RSET.
    pub hello: Duration,
    /// For the reply to MAIL (§4.5.3.2.2).
    pub mail: Duration,
    /// For the reply to RCPT (§4.5.3.2.3).
    pub recipient: Duration,
    /// For the reply to DATA (§4.5.3.2.4).
    pub data_initiation: Duration,
    /// For the server to take some of the content (§4.5.3.2.5); for all of it, this beyond what it takes at
    /// [256 octets a second](Self::SENT_BYTES_PER_SECOND_MIN).
    pub data_block: Duration,
    /// For the reply to the content (§4.5.3.2.6). A shorter time makes more second copies.
    pub data_termination: Duration,
    /// For the reply to QUIT and the end of the connection, which nothing depends on.
    pub quit: Duration,
}

impl TimeLimits {
    /// Who takes fewer octets a second than this on the whole is left. The slowest lines that mail still goes over
    /// have 2400 bit/s, 300 octets a second, and pass; a content of 50 MiB is at its end within 57 hours, half
    /// the time that a mail is commonly kept (RFC 5321 §4.5.4.1).
    pub const SENT_BYTES_PER_SECOND_MIN: u64 = 256;
}

impl Default for TimeLimits {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            greeting: minutes(5),
            hello: minutes(5),
            mail: minutes(5),
            recipient: minutes(5),
            data_initiation: minutes(2),
            data_block: minutes(3),
            data_termination: minutes(10),
            quit: Duration::from_secs(5),
        }
    }
}
