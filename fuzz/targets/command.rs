//! Whatever is taken as a command is written as one line that is read as the same command.
#![no_main]

use bytes::BytesMut;
use hedwig_smtp::Command;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    match Command::parse(line) {
        Ok(command) => {
            let mut written = BytesMut::new();
            if command.write(&mut written).is_ok() {
                let line = written.strip_suffix(b"\r\n").expect("a command ends in CRLF");
                assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                assert_eq!(Command::parse(line).as_ref(), Ok(&command));
            }
        }
        Err(error) => {
            assert!(error.reply().is_permanent());
            assert!(!error.to_string().contains(char::is_control));
        }
    }
});
