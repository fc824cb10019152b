//! Conversations written down, one behaviour a file, played to a session without a socket.
//!
//! `C:` is a line of the client's, `S:` one of the server's, each with CRLF at its end unless it ends in
//! `\`; `\r`, `\n`, `\0`, `\xHH` and `\\` stand for what they always do. Lines of one side that follow each
//! other go in one piece, and in a second run byte by byte: the outcome must be the same. The other
//! commands are in `server.rs` and `client.rs`.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod client;
mod script;
mod server;

use std::path::Path;

use script::Script;

fn play_all(directory: &str, play: impl Fn(&Script, usize)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(directory);
    let mut played = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        let script = Script::read(&entry.unwrap().path());
        play(&script, usize::MAX);
        play(&script, 1);
        played += 1;
    }
    assert!(played > 0, "there is no transcript in {directory}");
}

#[test]
fn every_transcript_of_a_server_comes_true() {
    play_all("server", server::play);
}

#[test]
fn every_transcript_of_a_client_comes_true() {
    play_all("client", client::play);
}
