use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{Class, Status};

/// What a server says to a command: a code, perhaps a status, and text for a person
/// (RFC 5321 §4.2, RFC 2034).
///
/// The text never holds a control character but `\n` between lines, whoever said it, so it can be
/// logged, shown and sent on as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply {
    code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply of one or more lines, `\n` between them. Other control characters become `?`.
    ///
    /// # Panics
    /// When `code` has not three digits: a reply's code is written by a programmer or was read by a
    /// parser, and both know.
    pub fn new(code: u16, status: Option<Status>, text: impl Into<Cow<'static, str>>) -> Self {
        assert!((200..=599).contains(&code), "{code} is no reply code");
        let mut text = text.into();
        if text.contains(is_unprintable) {
            text = text.replace(is_unprintable, "?").into();
        }
        Self { code, status, text }
    }

    /// A reply whose code's first digit follows from its status.
    ///
    /// # Panics
    /// When `code` and `status` disagree in their class.
    pub fn with_status(code: u16, status: Status, text: impl Into<Cow<'static, str>>) -> Self {
        assert_eq!(Class::of_reply(code), Some(status.class), "{code} cannot go with {status}");
        Self::new(code, Some(status), text)
    }

    /// The three-digit code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, if one was said.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// The text, `\n` between its lines, without codes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is 2yz.
    #[must_use]
    pub fn is_success(&self) -> bool {
        Class::of_reply(self.code) == Some(Class::Success)
    }

    /// Whether it is 4yz.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        Class::of_reply(self.code) == Some(Class::Transient)
    }

    /// Whether it is 5yz.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        Class::of_reply(self.code) == Some(Class::Permanent)
    }
}

fn is_unprintable(character: char) -> bool {
    character.is_control() && character != '\n'
}

/// One line, as a log or a report shows it.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        self.text.lines().try_for_each(|line| write!(f, " {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_shown_on_one_line() {
        let reply = Reply::with_status(550, Status::permanent(1, 1), "No such user\nTry again");
        assert_eq!(reply.to_string(), "550 5.1.1 No such user Try again");
    }

    #[test]
    fn control_characters_do_not_survive() {
        let reply = Reply::new(250, None, "a\r\nb\0\u{1b}[2J");
        assert_eq!(reply.text(), "a?\nb??[2J");
    }
}
