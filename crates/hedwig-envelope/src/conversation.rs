use serde::{Deserialize, Serialize};

/// What was said in one attempt, a line each, oldest first: `> ` before what we said, `< ` before what a server
/// said, `* ` before what we say of it. No line has a control character.
///
/// It holds no content, and nothing of an authentication but its mechanism. Who records it bounds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conversation {
    /// The lines.
    pub lines: Vec<String>,
}

impl Conversation {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}
