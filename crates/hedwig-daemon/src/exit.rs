use std::{
    io::{self, StdoutLock, Write},
    process::ExitCode,
};

use hedwig_envelope::BoxError;

/// How a program ends, in the codes of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: what was asked for is not there, or was refused.
    Refused,
    /// 64, `EX_USAGE`: the arguments make no sense.
    Usage,
    /// 65, `EX_DATAERR`: something in a spool is damaged.
    Damaged,
    /// 75, `EX_TEMPFAIL`: it may go well another time; nothing was stored.
    TryAgain,
    /// 78, `EX_CONFIG`: a setting must be mended first.
    Configuration,
}

impl Exit {
    /// How a command ends that writes to standard output. What went wrong is told, and may go well another time; that the
    /// reader has seen enough (`queue list | head`) is no error.
    #[must_use]
    pub fn of(done: Result<Self, BoxError>) -> Self {
        done.unwrap_or_else(|error| {
            if error.downcast_ref().is_some_and(is_broken_pipe) {
                return Self::Done;
            }
            eprintln!("error: {error}");
            Self::TryAgain
        })
    }

    /// How a command ends that would end so, once its answer is on standard output. That the reader has seen enough
    /// (`doctor | grep -q fail`) changes nothing; an answer that cannot be written is told, and may go well another time.
    #[must_use]
    pub fn once_written(
        self,
        write: impl FnOnce(&mut StdoutLock<'static>) -> io::Result<()>,
    ) -> Self {
        let mut out = io::stdout().lock();
        match write(&mut out).and_then(|()| out.flush()) {
            Err(error) if !is_broken_pipe(&error) => Self::of(Err(error.into())),
            _ => self,
        }
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 64,
            Self::Damaged => 65,
            Self::TryAgain => 75,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
