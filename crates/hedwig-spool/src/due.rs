//! When a unit is offered: its due time, made a little coarse.
//!
//! An index with a key of its own for every unit grows slow with a backlog, for each insert goes to
//! another page. So a far due time is rounded, up, to fewer keys; the wait gets longer by a
//! sixtieth at the most.

use hedwig_envelope::Timestamp;

use crate::state::Unit;

/// The coarsest step, in seconds.
const ROUNDED_MAX: i64 = 64;

/// When a unit is offered that waits for no time, but for an operator.
pub(crate) const NEVER: i64 = i64::MAX;

/// The second from which a unit is offered, seen from `now`; nothing when it is done with. One that would be
/// too late is offered at its deadline.
pub(crate) fn offered(unit: &Unit, now: Timestamp) -> Option<i64> {
    let waits = !unit.is_final();
    let due = unit.due.map(|due| unit.deadline.map_or(due, |deadline| deadline.min(due)));
    waits.then(|| due.map_or(NEVER, |due| offered_from(due, now)))
}

/// The time that is shown for a unit that was made due at `due` and is offered from this second: the latter, if
/// it was put off and not just rounded.
pub(crate) fn shown(due: Timestamp, offered: i64) -> Timestamp {
    let put_off = offered > due.as_second() + ROUNDED_MAX && offered < NEVER;
    let offered = Timestamp::from_second(offered).ok().filter(|_| put_off);
    offered.unwrap_or(due)
}

/// The second from which a unit is offered that was made due at `due`, seen from `now`.
fn offered_from(due: Timestamp, now: Timestamp) -> i64 {
    if due <= now {
        return due.as_second();
    }
    let second = due.as_second() + i64::from(due.subsec_nanosecond() > 0);
    let step = match second - now.as_second() {
        ..256 => 1,
        256..4096 => 4,
        _ => ROUNDED_MAX,
    };
    second.div_euclid(step) * step + if second.rem_euclid(step) == 0 { 0 } else { step }
}

/// The second up to which a unit is put off that shall not be tried before `until`.
pub(crate) fn put_off(until: Timestamp) -> i64 {
    until.as_second().saturating_add(1).min(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second_offered(due_millisecond: i64) -> i64 {
        let due = Timestamp::from_millisecond(due_millisecond).unwrap();
        offered_from(due, Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn what_is_due_is_offered_at_once() {
        assert_eq!(second_offered(1_000_000), 1000);
        assert_eq!(second_offered(999_999), 999);
    }

    #[test]
    fn nothing_is_offered_before_it_is_due_nor_long_after() {
        assert_eq!(second_offered(1_000_001), 1001);
        for wait in [1, 100, 255, 256, 300, 4095, 4096, 14_400, 432_000] {
            let from = second_offered((1000 + wait) * 1000);
            assert!((0..=wait / 60).contains(&(from - 1000 - wait)), "{wait}: {from}");
        }
    }
}
