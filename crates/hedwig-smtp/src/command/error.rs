use hedwig_envelope::{Reply, Status};

/// Why a line is no command, or a command fits on no line. Whoever wrote it is to blame;
/// [`reply`](Self::reply) tells a client so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reply}")]
pub struct CommandError {
    reply: Reply,
}

impl CommandError {
    /// 500: the line is no command at all.
    pub(crate) fn unreadable(text: &'static str) -> Self {
        Self { reply: Reply::with_status(500, Status::permanent(5, 2), text) }
    }

    /// 500: a verb that nobody knows.
    pub(crate) fn unknown_command() -> Self {
        Self { reply: Reply::with_status(500, Status::permanent(5, 1), "Unknown command") }
    }

    /// 501: the verb is known, what follows is not.
    pub(crate) fn arguments(text: impl Into<String>) -> Self {
        Self { reply: Reply::with_status(501, Status::permanent(5, 4), text.into()) }
    }

    /// 501: the sender's address cannot be read (RFC 3463 §3.2, X.1.7).
    pub(crate) fn sender(text: impl Into<String>) -> Self {
        Self { reply: Reply::with_status(501, Status::permanent(1, 7), text.into()) }
    }

    /// 501: the recipient's address cannot be read (RFC 3463 §3.2, X.1.3).
    pub(crate) fn recipient(text: impl Into<String>) -> Self {
        Self { reply: Reply::with_status(501, Status::permanent(1, 3), text.into()) }
    }

    /// 555: a parameter that is unknown, or was not offered (RFC 5321 §4.1.1.11).
    pub(crate) fn unknown_parameter(keyword: &str) -> Self {
        let text = format!("The parameter {keyword} is not known here");
        Self { reply: Reply::with_status(555, Status::permanent(5, 4), text) }
    }

    /// What to tell the client: 500, 501 or 555.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }
}
