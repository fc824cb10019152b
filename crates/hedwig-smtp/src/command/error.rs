use hedwig_envelope::{Reply, Status};

/// Why a line is no command, or a command no line. The client is to blame; [`reply`](Self::reply)
/// tells it so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reply}")]
pub struct CommandError {
    reply: Reply,
}

impl CommandError {
    pub(crate) fn new(code: u16, status: Status, text: impl Into<String>) -> Self {
        Self { reply: Reply::with_status(code, status, text.into()) }
    }

    /// What to tell the client: 500, 501, 504 or 555.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }
}
