//! Any octets as a segment of the log: each is part of a sound record or of damage; a record that is understood is
//! written as one that says the same; and a spool opens on them, sets each damaged place aside under the
//! number of its octet, and offers what it can.
#![no_main]

use std::{io::IoSlice, sync::Arc};

use hedwig_envelope::Timestamp;
use hedwig_spool::{
    Claim, Clock, Filter, Spool, SpoolOptions,
    disk::{Disk as _, SimulatedDisk},
    fuzzing::{self, Piece},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut sealed = bytes.to_vec();
    fuzzing::seal(&mut sealed);
    open(&sealed, &read(&sealed));
});

fn read(segment: &[u8]) -> Vec<Piece> {
    let pieces = fuzzing::pieces(segment).expect("memory can be read");
    let mut end = 0;
    let mut after_damage = false;
    for piece in &pieces {
        let (from, to) = match piece {
            Piece::Record { from, to, understood } => {
                if let Some(understood) = understood {
                    let again = fuzzing::pieces(&understood.written).expect("memory can be read");
                    let length = understood.written.len() as u64;
                    let same =
                        Piece::Record { from: 0, to: length, understood: Some(understood.clone()) };
                    assert_eq!(again, [same]);
                }
                after_damage = false;
                (*from, *to)
            }
            Piece::Damage { from, to } => {
                assert!(!after_damage, "one place is told as two");
                after_damage = true;
                (*from, *to)
            }
        };
        assert!(from == end && to > from, "{from} to {to} comes after {end}");
        end = to;
    }
    assert_eq!(end, segment.len() as u64);
    pieces
}

fn open(segment: &[u8], pieces: &[Piece]) {
    let disk = SimulatedDisk::new();
    disk.create_directory("log").expect("memory is a disk");
    let file = disk.create(&fuzzing::first_segment()).expect("memory is a disk");
    file.append(&mut [IoSlice::new(segment)]).expect("memory is a disk");
    let options = SpoolOptions {
        clock: Clock::new(|| Timestamp::UNIX_EPOCH),
        reserve_bytes: 0,
        ..SpoolOptions::default()
    };
    let spool = Spool::on_disk(Arc::new(disk.clone()), None, options).expect("it opens");
    let last_record = pieces.iter().rposition(|piece| matches!(piece, Piece::Record { .. }));
    // What lies behind the last record is what a power cut tore.
    for piece in &pieces[..last_record.unwrap_or(0)] {
        if let Piece::Damage { from, to } = piece {
            let bytes = disk.bytes(&format!("quarantine/0000000001-{from}"));
            assert_eq!(bytes, segment[*from as usize..*to as usize]);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it has memory");
    runtime.block_on(async {
        // It may tell of an error; it must come back.
        let _ = spool.counts().await;
        let _ = spool.list(&Filter { finished: true, ..Filter::default() }).await;
        let _ = spool.claim(Timestamp::MAX, Claim::up_to(8)).await;
    });
}
