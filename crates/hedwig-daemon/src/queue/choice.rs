use std::{fmt::Write, time::Duration};

use hedwig_envelope::{MailId, ReversePath, State};

use crate::settings::Span;

/// Which mails an operator means: ids, or a filter, or all.
///
/// It travels as the query of a request: `?domain=example.org&state=deferred`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// These mails; empty is every mail that the rest fits.
    pub ids: Vec<MailId>,
    /// Recipients at this domain.
    pub domain: Option<String>,
    /// Mails from this sender; `<>` is the null sender.
    pub sender: Option<ReversePath>,
    /// Recipients in this state.
    pub state: Option<State>,
    /// Mails that have waited at least so long.
    pub older_than: Option<Duration>,
    /// Every mail. An action without any other restriction needs it, so that none is a slip.
    pub all: bool,
    /// At most so many mails.
    pub limit: Option<usize>,
    /// Mails younger than this one, to read a long list in parts.
    pub after: Option<MailId>,
}

impl Choice {
    /// Whether it names anything, be it all.
    #[must_use]
    pub fn is_deliberate(&self) -> bool {
        self.all
            || !self.ids.is_empty()
            || self.domain.is_some()
            || self.sender.is_some()
            || self.state.is_some()
            || self.older_than.is_some()
    }

    /// The choice as the query of a request, without the question mark.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = String::new();
        let mut push = |name: &str, value: &str| {
            let separator = if query.is_empty() { "" } else { "&" };
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            // Writing to a String cannot fail.
            let _ = write!(query, "{separator}{name}={value}");
        };
        self.ids.iter().for_each(|id| push("id", &id.to_string()));
        self.domain.iter().for_each(|domain| push("domain", domain));
        self.sender.iter().for_each(|sender| push("sender", &sender.to_string()));
        self.state.iter().for_each(|state| push("state", state_name(*state)));
        self.older_than
            .iter()
            .for_each(|age| push("older_than", &format!("{}ms", age.as_millis())));
        self.limit.iter().for_each(|limit| push("limit", &limit.to_string()));
        self.after.iter().for_each(|after| push("after", &after.to_string()));
        if self.all {
            push("all", "true");
        }
        query
    }

    /// The choice that a query makes.
    ///
    /// # Errors
    /// With the parameter that is unknown or wrong, and why.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut choice = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_encoding::percent_decode_str(&value).decode_utf8();
            let value = value.map_err(|_| format!("{name} is not UTF-8"))?;
            choice.set(name, &value)?;
        }
        Ok(choice)
    }

    /// Adds one restriction, as a flag or a parameter names it.
    ///
    /// # Errors
    /// When there is no such restriction, or its value is wrong.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{name}={value:?}: {error}");
        match name {
            "id" => self.ids.push(value.parse().map_err(|e| wrong(&e))?),
            "domain" => self.domain = Some(value.to_lowercase()),
            "sender" => {
                let address = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
                let sender = address.unwrap_or(value).parse();
                self.sender = Some(sender.map_err(|e| wrong(&e))?);
            }
            "state" => self.state = Some(parse_state(value).map_err(|e| wrong(&e))?),
            "older_than" => {
                self.older_than = Some(value.parse::<Span>().map_err(|e| wrong(&e))?.0);
            }
            "limit" => self.limit = Some(value.parse().map_err(|e| wrong(&e))?),
            "after" => self.after = Some(value.parse().map_err(|e| wrong(&e))?),
            "all" => self.all = value.parse().map_err(|e| wrong(&e))?,
            _ => return Err(format!("there is no parameter {name:?}")),
        }
        Ok(())
    }
}

/// Every state, with its name.
pub(crate) const STATES: [(State, &str); 8] = [
    (State::Queued, "queued"),
    (State::Delivering, "delivering"),
    (State::Deferred, "deferred"),
    (State::Held, "held"),
    (State::Delivered, "delivered"),
    (State::Failed, "failed"),
    (State::Expired, "expired"),
    (State::Dropped, "dropped"),
];

/// A state's name, as the API writes it.
pub(crate) fn state_name(state: State) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("unknown", |(_, name)| name)
}

fn parse_state(text: &str) -> Result<State, String> {
    let found = STATES.iter().find(|(_, name)| *name == text).map(|(state, _)| *state);
    found.ok_or_else(|| {
        let names: Vec<_> = STATES.iter().map(|(_, name)| *name).collect();
        format!("a state is one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_survives_being_a_query() {
        let choice = Choice {
            ids: vec!["01ja0000000000000000000000".parse().unwrap()],
            domain: Some("例子.广告".to_owned()),
            sender: Some("a+b&c@example.org".parse().unwrap()),
            state: Some(State::Deferred),
            older_than: Some(Duration::from_secs(300)),
            all: true,
            limit: Some(7),
            after: Some("01ja0000000000000000000001".parse().unwrap()),
        };
        assert_eq!(Choice::from_query(&choice.to_query()), Ok(choice));
        assert_eq!(Choice::from_query(""), Ok(Choice::default()));
    }

    #[test]
    fn the_null_sender_can_be_chosen() {
        for query in ["sender=", "sender=%3C%3E"] {
            let choice = Choice::from_query(query).unwrap();
            assert_eq!(choice.sender, Some(ReversePath::Null));
            assert!(choice.is_deliberate());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, text) in [
            ("state=lost", "a state is one of queued, "),
            ("id=x", "is not a mail id"),
            ("older_than=5", "a time is"),
            ("dommain=x", "there is no parameter \"dommain\""),
        ] {
            let error = Choice::from_query(query).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn nothing_chosen_is_not_all() {
        assert!(!Choice::default().is_deliberate());
        assert!(!Choice { limit: Some(1), ..Choice::default() }.is_deliberate());
    }
}
