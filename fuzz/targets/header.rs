//! A header is found in any bytes, ends within them, and its fields do not overlap.
#![no_main]

use hedwig_envelope::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let length = header::header_length(message);
    assert!(length <= message.len());
    let mut last_end = 0;
    for field in header::fields(message) {
        let start = field.name.as_ptr() as usize - message.as_ptr() as usize;
        let end = field.value.as_ptr_range().end as usize - message.as_ptr() as usize;
        assert!(last_end <= start && start < end && end <= length);
        last_end = end;
    }
    assert_eq!(last_end, length);
    let scan = header::HeaderScan::of(message);
    assert!(scan.received_count <= header::fields(message).count());
});
