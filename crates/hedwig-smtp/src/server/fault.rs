use hedwig_envelope::{Reply, Status, lines::Stray};

use super::LineEndings;

/// Why a content is refused once its end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentFault {
    TooLarge,
    /// Something in it has no place in lines.
    Stray(Stray),
    /// Others need the memory.
    NoMemory,
}

impl ContentFault {
    pub(crate) fn reply(self) -> Reply {
        match self {
            Self::TooLarge => {
                Reply::with_status(552, Status::permanent(3, 4), "The message is too large")
            }
            Self::Stray(stray) => Reply::with_status(554, stray.status(), stray.words()),
            // RFC 3463 §3.4: the system's storage, not the mailbox's.
            Self::NoMemory => Reply::with_status(
                452,
                Status::transient(3, 1),
                "Too many large messages at once, try again later",
            ),
        }
    }
}

impl LineEndings {
    /// What stands in the place of an octet that has none in lines.
    pub(crate) fn in_place_of(self, stray: Stray) -> Result<&'static [u8], ContentFault> {
        match (self, stray) {
            (Self::Normalise, Stray::LineEnd) => Ok(b"\r\n"),
            // A NUL is meant by nobody who writes text, so there is nothing that it could be mended to.
            (Self::Normalise | Self::Refuse, stray) => Err(ContentFault::Stray(stray)),
        }
    }
}
