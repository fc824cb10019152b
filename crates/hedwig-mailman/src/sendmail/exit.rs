use std::process::ExitCode;

use hedwig_envelope::Answer;

/// How `sendmail` ends, in the codes of `sysexits.h` that its callers know.
///
/// 75 says that nothing was stored and that the same call may go well later; every other code but 0
/// says that it will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: the mail is stored, here or further on, for every recipient.
    Done,
    /// 64, `EX_USAGE`: the arguments make no sense.
    Usage,
    /// 65, `EX_DATAERR`: the message or an address cannot be understood, or is too large.
    Data,
    /// 67, `EX_NOUSER`: there is no such mailbox.
    NoUser,
    /// 68, `EX_NOHOST`: there is no such domain.
    NoHost,
    /// 69, `EX_UNAVAILABLE`: the mail was refused for another reason.
    Unavailable,
    /// 75, `EX_TEMPFAIL`: nothing was stored; it may go well another time.
    TryAgain,
    /// 78, `EX_CONFIG`: a setting must be mended first.
    Configuration,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoUser => 67,
            Self::NoHost => 68,
            Self::Unavailable => 69,
            Self::TryAgain => 75,
            Self::Configuration => 78,
        }
    }

    /// What a server's final no means (RFC 3463 §3).
    pub(crate) fn of_refusal(answer: &Answer) -> Self {
        match (answer.status.subject, answer.status.detail) {
            (1, 2) => Self::NoHost,
            (1, 1 | 3 | 6) => Self::NoUser,
            (2 | 3, 3 | 4) | (6, _) => Self::Data,
            _ => Self::Unavailable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Outcome, Reply, Status};

    use super::*;

    #[test]
    fn a_refusal_tells_what_is_at_fault() {
        let exit = |subject, detail| {
            let reply = Reply::with_status(550, Status::permanent(subject, detail), "no");
            Exit::of_refusal(Outcome::of_reply(reply, None).answer()).code()
        };
        assert_eq!((exit(1, 1), exit(1, 2)), (67, 68));
        assert_eq!((exit(3, 4), exit(6, 0), exit(6, 11)), (65, 65, 65));
        assert_eq!((exit(7, 1), exit(0, 0)), (69, 69));
    }
}
