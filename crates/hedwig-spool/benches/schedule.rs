//! What a look at the schedule costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hedwig_envelope::Timestamp;
use hedwig_spool::Schedule;

fn next_due(criterion: &mut Criterion) {
    let schedule = Schedule::default();
    let accepted_at = Timestamp::UNIX_EPOCH;
    criterion.bench_function("next due after the fifth attempt", |bencher| {
        bencher.iter(|| schedule.next_due(black_box(accepted_at), 5, black_box(accepted_at), 0.4));
    });
}

criterion_group!(benches, next_due);
criterion_main!(benches);
