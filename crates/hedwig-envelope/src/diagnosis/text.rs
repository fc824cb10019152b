//! What the text of a reply says, when its code does not say enough.

use super::Diagnosis;
use crate::Answer;

/// More of a text than this, in bytes, is not looked at.
const TEXT_BYTES_MAX: usize = 4096;

/// Words that tell of a kind of failure, in ASCII lower case. The first that is found counts: what
/// explains more stands before what explains less, as a reply on an address in a list mentions spam as well.
const WORDS: &[(Diagnosis, &[&str])] = &[
    (Diagnosis::GivenUp, &["given up by the operator"]),
    (Diagnosis::Greylisting, &["greylist", "graylist", "grey-list", "grey list", "gray list"]),
    (
        Diagnosis::RateLimit,
        &[
            "rate limit",
            "ratelimit",
            "rate-limit",
            "unusual rate",
            "at a rate that",
            "too quickly",
            "too fast",
            "too many",
            "frequency limit",
            "throttl",
            "[tss",
            "[ts0",
            "unexpected volume",
            "rp:trc",
            "rp:qrc",
            "rp:cel",
        ],
    ),
    (
        Diagnosis::Authentication,
        &[
            "unauthenticated",
            "authentication level",
            "authentication check",
            "authentication results",
            "spf",
            "dkim",
            "dmarc",
            "mi:dmc",
            "ptr record",
            "reverse dns",
            "reverse hostname",
            "rdns",
            "cannot find your hostname",
            "helo command rejected",
            "invalid helo",
        ],
    ),
    (
        Diagnosis::Reputation,
        &[
            "reputation",
            "spamhaus",
            "spamcop",
            "barracudacentral",
            "dnsbl",
            "blocklist",
            "block list",
            "blacklist",
            "black list",
            "blocked using",
            "banned sending",
            "(s3140)",
            "(s3150)",
            "[bl2",
            "hl:ipb",
            "hl:rbl",
            "not authorized to send email directly",
            "ip address is listed",
            "your ip has been blocked",
        ],
    ),
    (
        Diagnosis::Spam,
        &[
            "spam",
            "unsolicited",
            "dt:spm",
            "mi:imf",
            "junk",
            "phish",
            "virus",
            "malware",
            "suspicious",
            "content rejected",
            "content denied",
            "mail content",
            "message content",
            "security issue",
        ],
    ),
    (
        Diagnosis::SenderRefused,
        &[
            "sender address rejected",
            "sender rejected",
            "sender verify",
            "invalid sender",
            "null sender",
            "domain of sender",
            "sender domain",
            "sender's domain",
        ],
    ),
    (
        Diagnosis::Routing,
        &["relay access denied", "relaying denied", "relay not permitted", "unable to relay"],
    ),
    (
        Diagnosis::MailboxClosed,
        &["disabled", "inactive", "deactivated", "suspended", "mailbox locked", "is locked"],
    ),
    (
        Diagnosis::MailboxFull,
        &["quota", "mailbox full", "mailbox is full", "out of storage", "storage allocation"],
    ),
    (Diagnosis::UnknownUser, DENIALS),
    (
        Diagnosis::UnknownUser,
        &[
            "mailbox unavailable",
            "recipient address rejected: access denied",
            "unrouteable address",
        ],
    ),
    (Diagnosis::Size, &["message size", "too large", "too big", "size limit"]),
    (Diagnosis::Tls, &["starttls", "tls required", "encryption"]),
];

/// Words that say of an address that there is no such.
const DENIALS: &[&str] = &[
    "user unknown",
    "unknown user",
    "unknown recipient",
    "recipient unknown",
    "no such user",
    "no such recipient",
    "no such mailbox",
    "no such address",
    "no mailbox here",
    "no mailbox by that name",
    "user not found",
    "recipient not found",
    "mailbox not found",
    "address not found",
    "user does not exist",
    "user doesn't exist",
    "recipient does not exist",
    "mailbox does not exist",
    "account does not exist",
    "address does not exist",
    "you tried to reach does not exist",
    "user doesn't have a",
    "invalid recipient",
    "invalid mailbox",
    "not a valid mailbox",
];

/// What a text tells of. `likely` is what the status says: where that denies the address, words that deny
/// it too go before all others.
pub(super) fn said_by(answer: &Answer, likely: Option<Diagnosis>) -> Option<Diagnosis> {
    let text = normal(answer.reply.text());
    if likely == Some(Diagnosis::UnknownUser) && contains(&text, DENIALS) {
        return likely;
    }
    WORDS.iter().find(|(_, words)| contains(&text, words)).map(|(diagnosis, _)| *diagnosis)
}

/// Whether a text says of an address that there is no such.
pub(super) fn denies_the_address(text: &str) -> bool {
    contains(&normal(text), DENIALS)
}

fn contains(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// One line in lower case, without what stands in angle brackets: the address of a user named "spam" is no
/// reason.
fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    let mut depth = 0_usize;
    for character in text.chars() {
        match character {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            '\n' => normal.push(' '),
            other => normal.push(other.to_ascii_lowercase()),
        }
        if normal.len() >= TEXT_BYTES_MAX {
            break;
        }
    }
    normal
}
