use std::time::Duration;

use hedwig_envelope::{MailId, ReversePath, State};

/// Which mails to show. What is not set does not narrow; empty, it is every mail that is not finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// These mails; empty, any.
    pub ids: Vec<MailId>,
    /// With a recipient at this domain; one that still waits, unless finished mails are wanted too.
    pub domain: Option<String>,
    /// From this sender.
    pub sender: Option<ReversePath>,
    /// With a recipient in this state.
    pub state: Option<State>,
    /// Accepted longer ago than this.
    pub older_than: Option<Duration>,
    /// Finished mails too. Without it they are shown only for their ids or a final state.
    pub finished: bool,
    /// Mails younger than this one, to read a long list in parts.
    pub after: Option<MailId>,
    /// At most so many, the oldest first.
    pub limit: Option<usize>,
}

impl Filter {
    /// Just these mails.
    #[must_use]
    pub fn ids(ids: impl IntoIterator<Item = MailId>) -> Self {
        Self { ids: ids.into_iter().collect(), ..Self::default() }
    }

    /// Whether nothing narrows it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// To which mails an operator does something: the recipients that match, and are not final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every mail.
    All,
    /// The mails that match. An empty filter selects nothing: who means all says so.
    Matching(Filter),
}

impl Selection {
    /// Just these mails.
    #[must_use]
    pub fn ids(ids: impl IntoIterator<Item = MailId>) -> Self {
        Self::Matching(Filter::ids(ids))
    }
}

impl From<Filter> for Selection {
    fn from(filter: Filter) -> Self {
        Self::Matching(filter)
    }
}

/// How many recipients there are in each [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub(crate) [u64; 8]);

impl Counts {
    /// Every state, in the order of a recipient's life.
    pub const STATES: [State; 8] = [
        State::Queued,
        State::Delivering,
        State::Deferred,
        State::Held,
        State::Delivered,
        State::Failed,
        State::Expired,
        State::Dropped,
    ];

    /// How many recipients are in this state.
    #[must_use]
    pub fn of(&self, state: State) -> u64 {
        self.0[Self::place(state)]
    }

    /// How many recipients still wait for something.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.iter().filter(|(state, _)| !state.is_final()).map(|(_, count)| count).sum()
    }

    /// Each state with its number of recipients.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> + '_ {
        Self::STATES.into_iter().map(|state| (state, self.of(state)))
    }

    pub(crate) fn place(state: State) -> usize {
        match state {
            State::Queued => 0,
            State::Delivering => 1,
            State::Deferred => 2,
            State::Held => 3,
            State::Delivered => 4,
            State::Failed => 5,
            State::Expired => 6,
            State::Dropped => 7,
        }
    }
}
