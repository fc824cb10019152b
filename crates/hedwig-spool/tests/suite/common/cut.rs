//! The ways in which a disk may be found when the power comes back.

use std::collections::HashSet;

use hedwig_spool::disk::{Kept, SimulatedDisk, Unflushed};

/// So many unflushed pieces are kept and lost in every combination.
const ALL_COMBINATIONS_MAX: usize = 5;
/// With more, so many combinations are drawn beside those that are always there.
const DRAWN: usize = 10;

/// A disk after a power cut, and what became of what was not flushed.
pub(crate) struct Found {
    pub(crate) disk: SimulatedDisk,
    pub(crate) story: String,
}

/// The ways in which this disk may be found; each different from the others.
pub(crate) fn ways(disk: &SimulatedDisk, seed: u64) -> Vec<Found> {
    let mut pieces = Vec::new();
    drop(disk.after_power_cut(|piece| {
        pieces.push(match piece {
            Unflushed::Name(_) => None,
            Unflushed::Bytes(_, bytes) => Some(bytes),
        });
        Kept::All
    }));
    let mut fates = fixed(&pieces);
    if pieces.len() <= ALL_COMBINATIONS_MAX {
        fates.extend(combinations(pieces.len()));
    } else {
        let mut random = fastrand::Rng::with_seed(seed);
        fates.extend((0..DRAWN).map(|_| drawn(&pieces, &mut random)));
    }
    let mut seen = HashSet::new();
    fates.retain(|fate| seen.insert(format!("{fate:?}")));
    fates.into_iter().map(|fate| found(disk, &fate)).collect()
}

fn found(disk: &SimulatedDisk, fate: &[Kept]) -> Found {
    let mut left = fate.iter();
    // A file whose end was lost is back with pieces of its own.
    let disk = disk.after_power_cut(|_| left.next().copied().unwrap_or(Kept::All));
    Found { disk, story: format!("of what was not flushed is there: {fate:?}") }
}

/// All is kept, or lost; written in order and torn, at both ends and in the middle; or the first lost and
/// the later ones there.
fn fixed(pieces: &[Option<usize>]) -> Vec<Vec<Kept>> {
    let count = pieces.len();
    let mut fates = vec![vec![Kept::All; count], vec![Kept::Nothing; count]];
    for torn in [0, count / 2, count.saturating_sub(1)] {
        let Some(Some(bytes)) = pieces.get(torn) else { continue };
        for (kept, after) in [
            (Kept::First(bytes / 2), Kept::Nothing),
            (Kept::First(bytes - 1), Kept::Nothing),
            (Kept::Zeros, Kept::Nothing),
            (Kept::Last(bytes / 2), Kept::All),
            (Kept::Nothing, Kept::All),
        ] {
            let mut fate = vec![Kept::All; count];
            fate[torn] = kept;
            fate[torn + 1..].fill(after);
            fates.push(fate);
        }
    }
    fates
}

fn combinations(count: usize) -> Vec<Vec<Kept>> {
    let kept = |mask: usize, place: usize| {
        if mask >> place & 1 == 1 { Kept::All } else { Kept::Nothing }
    };
    (0..1 << count).map(|mask| (0..count).map(|place| kept(mask, place)).collect()).collect()
}

fn drawn(pieces: &[Option<usize>], random: &mut fastrand::Rng) -> Vec<Kept> {
    // Mostly one or the other, so that whole records are there beside holes.
    let kept_of_ten = random.u8(1..10);
    let draw = |piece: &Option<usize>| match (piece, random.u8(..10)) {
        (Some(bytes), 0) => match random.u8(..3) {
            0 => Kept::Zeros,
            1 => Kept::First(random.usize(..=*bytes)),
            _ => Kept::Last(random.usize(..=*bytes)),
        },
        (_, drawn) if drawn < kept_of_ten => Kept::All,
        _ => Kept::Nothing,
    };
    pieces.iter().map(draw).collect()
}
