//! The addresses of ours that connections come from.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::name;

/// A weight has at most so much, so that the sum of many cannot overflow.
const WEIGHT_MAX: u32 = 1_000_000;

/// The largest most that a source may have: as good as none.
const AT_ONCE_MAX: usize = 1_000_000;

/// An address that connections come from, how often, and by which name: `ADDRESS [weight=N] [max=N] [hello=NAME]`.
///
/// ```
/// # use hedwig_mx::Source;
/// let source: Source = "192.0.2.1 weight=3 hello=a.example.org".parse()?;
/// assert_eq!((source.weight, source.hello_name.as_deref()), (3, Some("a.example.org")));
/// assert!("192.0.2.1 weight=0".parse::<Source>().is_err());
/// # Ok::<(), hedwig_mx::SourceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The address, which this host must have.
    pub address: IpAddr,
    /// How much of the mail it gets, next to the weights of the others of its family; 1 to 1,000,000.
    pub weight: u32,
    /// How many mails may be under way from it at once, to all servers together; `None` for any number.
    pub at_once_max: Option<usize>,
    /// What we call ourselves there; `None` is [`MxOptions::hello_name`](crate::MxOptions::hello_name).
    pub hello_name: Option<String>,
}

impl Source {
    /// An address of weight 1 without a name of its own.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self { address, weight: 1, at_once_max: None, hello_name: None }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = |reason| SourceError { text: text.chars().take(200).collect(), reason };
        let mut words = text.split_ascii_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        let mut source = Self::of(address.ok_or_else(|| wrong("it should begin with an address"))?);
        for word in words {
            if let Some(weight) = word.strip_prefix("weight=") {
                let weight = weight.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
                source.weight =
                    weight.ok_or_else(|| wrong("the weight is no number from 1 to 1000000"))?;
            } else if let Some(most) = word.strip_prefix("max=") {
                let most = most.parse().ok().filter(|most| (1..=AT_ONCE_MAX).contains(most));
                source.at_once_max =
                    Some(most.ok_or_else(|| wrong("the most is no number from 1 to 1000000"))?);
            } else if let Some(name) = word.strip_prefix("hello=") {
                let name = name::to_ascii(name).ok_or_else(|| wrong("the hello is no name"))?;
                source.hello_name = Some(name.into_owned());
            } else {
                return Err(wrong("after the address there may be weight=N, max=N and hello=NAME"));
            }
        }
        Ok(source)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weight={}", self.address, self.weight)?;
        if let Some(most) = self.at_once_max {
            write!(f, " max={most}")?;
        }
        match &self.hello_name {
            Some(name) => write!(f, " hello={name}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no [`Source`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no source address: {reason}")]
pub struct SourceError {
    text: String,
    reason: &'static str,
}

/// The places at those sources that have a most: a mail has one while it is under way from there.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<(IpAddr, Arc<Semaphore>)>);

impl Places {
    pub(crate) fn of(sources: &[Source]) -> Self {
        let places =
            |source: &Source| Some((source.address, Arc::new(Semaphore::new(source.at_once_max?))));
        Self(sources.iter().filter_map(places).collect())
    }

    /// Whether there is no source left that a mail could leave from.
    pub(crate) fn are_taken(&self, sources: &[Source]) -> bool {
        !sources.is_empty() && !sources.iter().any(|source| self.has_room(source))
    }

    /// Waits for a place at each of these that has places; they are given back when the permits are dropped.
    pub(crate) async fn take(
        &self,
        sources: impl Iterator<Item = &Source>,
    ) -> Vec<OwnedSemaphorePermit> {
        let mut limited: Vec<&Source> = sources.filter(|it| it.at_once_max.is_some()).collect();
        // In one order, so that no two wait for each other.
        limited.sort_unstable_by_key(|source| source.address);
        limited.dedup_by_key(|source| source.address);
        let mut taken = Vec::with_capacity(limited.len());
        for places in limited.into_iter().filter_map(|source| self.at(source)) {
            // They are never closed.
            taken.extend(places.clone().acquire_owned().await);
        }
        taken
    }

    /// How many mails are under way from a source that has a most.
    pub(crate) fn under_way(&self, source: &Source) -> Option<usize> {
        let left = self.at(source)?.available_permits();
        source.at_once_max.map(|most| most.saturating_sub(left))
    }

    fn has_room(&self, source: &Source) -> bool {
        self.at(source).is_none_or(|places| places.available_permits() > 0)
    }

    fn at(&self, source: &Source) -> Option<&Arc<Semaphore>> {
        self.0.iter().find(|(address, _)| *address == source.address).map(|(_, places)| places)
    }
}

/// One of the sources that can reach an address, at random by their weights; one with room, if there is one. `None`
/// when there is none of its family, and the system chooses.
pub(crate) fn choose<'a>(sources: &'a [Source], places: &Places, to: IpAddr) -> Option<&'a Source> {
    let of_family = |source: &&Source| source.address.is_ipv4() == to.is_ipv4();
    let any_has_room = sources.iter().filter(of_family).any(|source| places.has_room(source));
    let fits = |source: &&Source| of_family(source) && (!any_has_room || places.has_room(source));
    let weight = |source: &Source| u64::from(source.weight);
    let all = sources.iter().filter(fits).map(weight).sum::<u64>();
    if all == 0 {
        return None;
    }
    let mut left = fastrand::u64(..all);
    sources.iter().filter(fits).find(|source| {
        let is_it = left < weight(source);
        left = left.saturating_sub(weight(source));
        is_it
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_shown_as_it_is_written() {
        for text in ["192.0.2.1 weight=3 max=20 hello=a.example.org", "2001:db8::1 weight=1"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        let bare = Source::of([192, 0, 2, 1].into());
        assert_eq!("192.0.2.1".parse(), Ok(bare));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_whole_text() {
        for (text, reason) in [
            ("", "begin with an address"),
            ("a.example.org", "begin with an address"),
            ("192.0.2.1 weight=0", "the weight is no number"),
            ("192.0.2.1 weight=1000001", "the weight is no number"),
            ("192.0.2.1 max=0", "the most is no number"),
            ("192.0.2.1 hello=a..b", "the hello is no name"),
            ("192.0.2.1 3", "after the address"),
        ] {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn each_source_is_chosen_by_its_weight_and_for_its_family_only() {
        let sources: Vec<Source> = ["192.0.2.1 weight=3", "2001:db8::1 weight=9", "192.0.2.2"]
            .into_iter()
            .map(|text| text.parse().unwrap())
            .collect();
        fastrand::seed(7);
        let mut times = [0; 3];
        for _ in 0..4000 {
            let chosen = choose(&sources, &Places::default(), [198, 51, 100, 1].into()).unwrap();
            times[sources.iter().position(|source| source == chosen).unwrap()] += 1;
        }
        assert!((2900..3100).contains(&times[0]) && times[1] == 0, "{times:?}");
        assert_eq!(
            choose(&sources[..1], &Places::default(), "2001:db8::25".parse().unwrap()),
            None
        );
        assert_eq!(choose(&[], &Places::default(), [198, 51, 100, 1].into()), None);
    }

    #[tokio::test]
    async fn a_source_with_room_goes_before_one_without() {
        let sources: Vec<Source> =
            ["192.0.2.1 max=1", "192.0.2.2 max=1"].map(|text| text.parse().unwrap()).to_vec();
        let places = Places::of(&sources);
        let to = [198, 51, 100, 1].into();
        let first = places.take(sources[..1].iter()).await;
        assert_eq!(places.under_way(&sources[0]), Some(1));
        for _ in 0..20 {
            assert_eq!(choose(&sources, &places, to), Some(&sources[1]));
        }
        let _second = places.take(sources[1..].iter()).await;
        assert!(places.are_taken(&sources));
        drop(first);
        assert!(!places.are_taken(&sources));
        assert_eq!(choose(&sources, &places, to), Some(&sources[0]));
    }
}
