//! What a batch is read as is written as a batch that is read as the same.
#![no_main]

use bytes::Bytes;
use hedwig_smtp::batch::{self, BatchLimits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = BatchLimits::default();
    match batch::decode(Bytes::copy_from_slice(bytes), &limits) {
        Ok(mails) => {
            let encoded = Bytes::from(batch::encode(&mails).concat());
            assert_eq!(batch::decode(encoded, &limits).as_ref(), Ok(&mails));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
});
