//! However a server's bytes are cut, the same replies are read, in bounded memory, with nothing in
//! them that could break a line.
#![no_main]

use bytes::BytesMut;
use hedwig_envelope::Reply;
use hedwig_smtp::{ReplyError, ReplyReader};
use libfuzzer_sys::fuzz_target;

fn read(pieces: impl Iterator<Item = Vec<u8>>) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut input, mut replies) =
        (ReplyReader::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(&piece);
        loop {
            match reader.read(&mut input) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(std::iter::once(bytes.to_vec()));
    let cut = read(bytes.chunks(3).map(<[u8]>::to_vec));
    assert_eq!(whole, cut);
    for reply in &whole.0 {
        assert!((200..600).contains(&reply.code()));
        assert!(!reply.text().contains(|c: char| c.is_control() && c != '\n'));
    }
});
