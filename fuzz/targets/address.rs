//! Whatever is taken as an address is written so that it is read as the same address, and cannot
//! break out of a command, a header or a log line.
#![no_main]

use hedwig_envelope::{Address, OriginalRecipient, xtext};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        assert!(!address.as_str().contains(char::is_control));
        assert_eq!(address.as_str().parse::<Address>().as_ref(), Ok(&address));
        assert!(address.as_str() == address.local_part() || address.domain().is_some());
    }
    if let Ok(original) = text.parse::<OriginalRecipient>() {
        assert!(!original.address.contains(char::is_control));
        assert_eq!(original.to_string().parse::<OriginalRecipient>(), Ok(original));
    }
    if let Some(decoded) = xtext::decode(text) {
        assert_eq!(xtext::decode(&xtext::encode(&decoded)), Some(decoded));
    }
});
