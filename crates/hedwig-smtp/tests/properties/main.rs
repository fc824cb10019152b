//! Properties: what is written is read back, and however bytes are cut, the same mail comes out.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod oracle;
mod pair;
mod values;

use bytes::{Bytes, BytesMut};
use hedwig_envelope::Content;
use hedwig_smtp::{
    Command, Dialect, LineEndings, ReplyReader,
    batch::{BatchLimits, BatchMail, decode, encode},
    reply,
};
use pair::Pair;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_command_that_is_written_is_read_back(command in values::command()) {
        let mut line = BytesMut::new();
        command.write(&mut line).unwrap();
        let line = line.strip_suffix(b"\r\n").unwrap();
        prop_assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
        prop_assert_eq!(Command::parse(line).unwrap(), command);
    }

    #[test]
    fn what_is_read_of_xtext_can_be_written(xtext in "([ +!-~ü]|\\+[0-9A-F]{2}|\\+20){1,40}") {
        for command in ["MAIL FROM:<> ENVID=", "RCPT TO:<b@example.net> ORCPT=rfc822;"] {
            let Ok(command) = Command::parse(format!("{command}{xtext}").as_bytes()) else { continue };
            let mut line = BytesMut::new();
            command.write(&mut line).unwrap();
            let line = line.strip_suffix(b"\r\n").unwrap();
            prop_assert_eq!(Command::parse(line).unwrap(), command);
        }
    }

    #[test]
    fn a_command_is_what_another_parser_takes_it_for(command in values::plain_command()) {
        let mut line = BytesMut::new();
        command.write(&mut line).unwrap();
        prop_assert_eq!(oracle::parse(&line), Some(command));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Command::parse(&line);
        let _ = Command::parse(&[b"MAIL FROM:", &line[..]].concat());
        let _ = Command::parse(&[b"RCPT TO:<a@b> ", &line[..]].concat());
    }

    #[test]
    fn a_reply_that_is_written_is_read_back(reply in values::reply()) {
        let mut out = BytesMut::new();
        reply::write(&reply, &mut out);
        prop_assert_eq!(ReplyReader::default().read(&mut out), Ok(Some(reply)));
    }

    #[test]
    fn a_content_arrives_as_it_was_sent(
        content in values::content(),
        protocol in prop_oneof![Just(Dialect::Smtp), Just(Dialect::Lmtp)],
        line_endings in prop_oneof![Just(LineEndings::Refuse), Just(LineEndings::Normalise)],
        pieces in values::pieces(),
    ) {
        let envelope = values::plain_envelope();
        let mut pair = Pair::new(protocol, line_endings, pieces);
        let outcomes = pair.send(&envelope, &Content::new(content.clone()));
        prop_assert_eq!(outcomes.len(), envelope.recipients.len());
        let (arrived, received) = pair.mails.pop().unwrap();
        prop_assert_eq!(&arrived.recipients, &envelope.recipients);
        // After DATA a content ends at a line's end; BDAT counts, and leaves it as it is.
        let is_whole = protocol == Dialect::Smtp || content.is_empty() || content.ends_with(b"\r\n");
        let end: &[u8] = if is_whole { b"" } else { b"\r\n" };
        prop_assert_eq!(received, [&content[..], end].concat());
    }

    #[test]
    fn whatever_is_normalised_has_no_bare_line_ends(
        content in values::hostile_content(),
        pieces in values::pieces(),
    ) {
        let received = pair::submit(&content, LineEndings::Normalise, pieces);
        prop_assert_eq!(received.is_none(), content.contains('\0'));
        let Some(received) = received else { return Ok(()) };
        let bare = received.replace("\r\n", "");
        prop_assert!(!bare.contains(['\r', '\n']), "{:?}", received);
        let lines = |text: &str| {
            text.replace("\r\n", "\n").replace('\r', "\n").trim_end().to_owned()
        };
        prop_assert_eq!(lines(&received), lines(&content));
    }

    #[test]
    fn a_content_with_bare_line_ends_or_a_nul_is_refused_however_it_is_cut(
        content in values::hostile_content(),
        pieces in values::pieces(),
    ) {
        let is_bare = content.replace("\r\n", "").contains(['\r', '\n', '\0']);
        let received = pair::submit(&content, LineEndings::Refuse, pieces);
        prop_assert_eq!(received.is_none(), is_bare);
    }

    #[test]
    fn a_batch_comes_back_as_it_was(
        mails in proptest::collection::vec((values::envelope(), values::content(), values::key()), 0..4),
    ) {
        let mail = |(envelope, content, key)| {
            BatchMail { key, envelope, content: Content::new(content) }
        };
        let mails: Vec<_> = mails.into_iter().map(mail).collect();
        let batch = Bytes::from(encode(&mails).concat());
        prop_assert_eq!(decode(batch, &BatchLimits::default()).unwrap(), mails);
    }

    #[test]
    fn a_batch_that_is_cut_off_is_refused(
        envelope in values::envelope(),
        content in values::content(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mail = BatchMail { key: None, envelope, content: Content::new(content) };
        let batch = Bytes::from(encode(&[mail]).concat());
        let cut = batch.slice(..cut.index(batch.len()));
        prop_assert!(decode(cut, &BatchLimits::default()).is_err());
    }

    #[test]
    fn no_bytes_make_a_batch_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(bytes.into(), &BatchLimits::default());
    }
}
