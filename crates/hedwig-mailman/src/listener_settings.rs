//! What can be set for listeners: for all of them, and for each `[listener.NAME]` in the place of that.

use hedwig_daemon::settings::Setting;

use crate::front_door::USERS_IN_CLEAR_TEXT;

pub(crate) static LISTEN: Setting = Setting::list("smtp", "listen", "ADDR")
    .flag("listen")
    .help("Take mail over SMTP at these addresses")
    .default("127.0.0.1:25");
pub(crate) static TLS_LISTEN: Setting = Setting::list("tls", "listen", "ADDR")
    .flag("tls-listen")
    .help("Take mail at these addresses too, with TLS from the first byte")
    .example("0.0.0.0:465");
pub(crate) static SIZE_MAX: Setting =
    Setting::text("smtp", "size_max", "SIZE").help("The largest mail taken").default("50M");
pub(crate) static RECIPIENTS_MAX: Setting = Setting::text("smtp", "recipients_max", "N")
    .help("So many recipients one mail may have; 10000 at most, which is what the postoffice takes")
    .default("1000");
pub(crate) static RELAY_FROM: Setting = Setting::list("smtp", "relay_from", "NETWORK")
    .help(
        "Clients in these networks may send anywhere, besides those on this host; a network's gateway may not, unless \
         its address is named by itself",
    )
    .example("10.0.0.0/8");
pub(crate) static LINE_ENDINGS: Setting = Setting::text(
    "smtp",
    "line_endings",
    "refuse|normalise|auto",
)
.help("What happens to a bare CR or LF; auto normalises at loopback listeners, refuses elsewhere")
.default("auto");
pub(crate) static SENDERS: Setting = Setting::list("mail", "senders", "SENDER")
    .help("The addresses and domains that clients may send as over SMTP; without any, as anybody")
    .example("example.org");
pub(crate) static OTHER_SENDERS: Setting = Setting::text("mail", "other_senders", "refuse|rewrite")
    .help("What becomes of others: they are refused, or the default sender takes their place")
    .default("refuse");
pub(crate) static DEFAULT_SENDER: Setting = Setting::text("mail", "default_sender", "ADDRESS")
    .help("Who takes the place of root, and of root at a container's name; without one they get the domain")
    .example("app@example.org");
pub(crate) static PER_CLIENT: Setting = Setting::text("rates", "per_client", "N/TIME")
    .help("So many mails from each client's address; more are told 450")
    .example("100/h");
pub(crate) static PER_SENDER: Setting = Setting::text("rates", "per_sender", "N/TIME")
    .help("So many mails from each sender")
    .example("1000/d");
pub(crate) static PER_USER: Setting = Setting::text("rates", "per_user", "N/TIME")
    .help("So many mails from each user who is authenticated")
    .example("200/h");

/// The addresses of a named listener.
pub(crate) static NAMED_LISTEN: Setting = Setting::list("listener", "listen", "ADDR")
    .named()
    .help("Take mail at these addresses too, by rules of their own; one may be unix:/absolute/path")
    .example("172.17.0.1:25");
pub(crate) static PROTOCOL: Setting = Setting::text("listener", "protocol", "smtp|lmtp")
    .named()
    .help("What is spoken there")
    .default("smtp");
pub(crate) static TLS: Setting = Setting::text("listener", "tls", "none|starttls|implicit")
    .named()
    .help("TLS not at all, when the client asks, or from the first byte; starttls if there is a certificate");
pub(crate) static AUTH: Setting = Setting::text("listener", "auth", "none|offered|required")
    .named()
    .help("Whether users may, or must, authenticate; offered if there are users");
pub(crate) static MODE: Setting = Setting::text("listener", "mode", "OCTAL")
    .named()
    .help("The permissions of Unix sockets among them; whoever may write there may send anywhere")
    .default("0660");
pub(crate) static PROXIES: Setting = Setting::list("listener", "proxies", "ADDRESS")
    .named()
    .help(
        "The addresses of proxies, such as HAProxy, that begin with a header of the PROXY protocol (version 1 or 2); \
         who connects from there must, and from elsewhere it is refused",
    )
    .example("192.0.2.10");
pub(crate) static XCLIENTS: Setting = Setting::list("listener", "xclients", "ADDRESS")
    .named()
    .help(
        "The addresses of front ends, such as nginx, that say with XCLIENT for whom they speak, logins included: only \
         of those that always do",
    )
    .example("192.0.2.11");
pub(crate) static NAMED_IN_CLEAR_TEXT: Setting =
    Setting::text("listener", "in_clear_text", "true|false")
        .named()
        .help("Let them authenticate without TLS too")
        .otherwise(&USERS_IN_CLEAR_TEXT);
pub(crate) static NAMED_CLIENTS: Setting = Setting::list("listener", "clients", "NETWORK")
    .named()
    .help("Who may send anywhere from there, besides this host and users")
    .otherwise(&RELAY_FROM);
pub(crate) static NAMED_SENDERS: Setting =
    Setting::list("listener", "senders", "SENDER").named().help("As whom").otherwise(&SENDERS);
pub(crate) static NAMED_OTHER_SENDERS: Setting =
    Setting::text("listener", "other_senders", "refuse|rewrite")
        .named()
        .help("What becomes of other senders")
        .otherwise(&OTHER_SENDERS);
pub(crate) static NAMED_DEFAULT_SENDER: Setting =
    Setting::text("listener", "default_sender", "ADDRESS")
        .named()
        .help("Who takes the place of root, and of root at a container's name")
        .otherwise(&DEFAULT_SENDER);
pub(crate) static NAMED_SIZE_MAX: Setting = Setting::text("listener", "size_max", "SIZE")
    .named()
    .help("The largest mail taken there")
    .otherwise(&SIZE_MAX);
pub(crate) static NAMED_RECIPIENTS_MAX: Setting = Setting::text("listener", "recipients_max", "N")
    .named()
    .help("So many recipients one mail may have")
    .otherwise(&RECIPIENTS_MAX);
pub(crate) static NAMED_LINE_ENDINGS: Setting =
    Setting::text("listener", "line_endings", "refuse|normalise|auto")
        .named()
        .help("What happens to a bare CR or LF")
        .otherwise(&LINE_ENDINGS);
pub(crate) static NAMED_PER_CLIENT: Setting = Setting::text("listener", "per_client", "N/TIME")
    .named()
    .help("So many mails from each client's address")
    .otherwise(&PER_CLIENT);
pub(crate) static NAMED_PER_SENDER: Setting = Setting::text("listener", "per_sender", "N/TIME")
    .named()
    .help("So many mails from each sender")
    .otherwise(&PER_SENDER);
pub(crate) static NAMED_PER_USER: Setting = Setting::text("listener", "per_user", "N/TIME")
    .named()
    .help("So many mails from each user")
    .otherwise(&PER_USER);

/// The settings of a listener's rules, by what they are for.
pub(crate) struct Keys {
    pub(crate) in_clear_text: &'static Setting,
    pub(crate) clients: &'static Setting,
    pub(crate) senders: &'static Setting,
    pub(crate) other_senders: &'static Setting,
    pub(crate) default_sender: &'static Setting,
    pub(crate) size_max: &'static Setting,
    pub(crate) recipients_max: &'static Setting,
    pub(crate) line_endings: &'static Setting,
    pub(crate) per_client: &'static Setting,
    pub(crate) per_sender: &'static Setting,
    pub(crate) per_user: &'static Setting,
}

/// Those of all listeners.
pub(crate) static OF_ALL: Keys = Keys {
    in_clear_text: &USERS_IN_CLEAR_TEXT,
    clients: &RELAY_FROM,
    senders: &SENDERS,
    other_senders: &OTHER_SENDERS,
    default_sender: &DEFAULT_SENDER,
    size_max: &SIZE_MAX,
    recipients_max: &RECIPIENTS_MAX,
    line_endings: &LINE_ENDINGS,
    per_client: &PER_CLIENT,
    per_sender: &PER_SENDER,
    per_user: &PER_USER,
};

/// Those of a named listener.
pub(crate) static OF_ONE: Keys = Keys {
    in_clear_text: &NAMED_IN_CLEAR_TEXT,
    clients: &NAMED_CLIENTS,
    senders: &NAMED_SENDERS,
    other_senders: &NAMED_OTHER_SENDERS,
    default_sender: &NAMED_DEFAULT_SENDER,
    size_max: &NAMED_SIZE_MAX,
    recipients_max: &NAMED_RECIPIENTS_MAX,
    line_endings: &NAMED_LINE_ENDINGS,
    per_client: &NAMED_PER_CLIENT,
    per_sender: &NAMED_PER_SENDER,
    per_user: &NAMED_PER_USER,
};
