//! The replies that need no decision (RFC 5321 §4.2, RFC 3463).

use hedwig_envelope::{Outcome, Receipt, Reply, Status};

use super::Dialect;

/// The replies after a content that a receipt means: one in SMTP, one for each recipient in LMTP.
///
/// In SMTP there is one reply for all recipients. All done is 250 with the receipt's id; when one is
/// deferred its 4yz makes the client try again; else the first failure's 5yz is the reply.
#[must_use]
pub fn replies_for(receipt: &Receipt, dialect: Dialect) -> Vec<Reply> {
    let reply = |outcome: &Outcome| reply_for(receipt, outcome);
    if dialect == Dialect::Lmtp {
        return receipt.outcomes.iter().map(reply).collect();
    }
    let outcomes = || receipt.outcomes.iter();
    let worst = outcomes()
        .find(|outcome| matches!(outcome, Outcome::Deferred(_)))
        .or_else(|| outcomes().find(|outcome| matches!(outcome, Outcome::Failed(_))))
        .or_else(|| outcomes().next());
    vec![worst.map_or_else(|| queued(receipt), reply)]
}

fn reply_for(receipt: &Receipt, outcome: &Outcome) -> Reply {
    let (code, answer) = match outcome {
        Outcome::Done(_) => return queued(receipt),
        Outcome::Deferred(answer) => (451, answer),
        Outcome::Failed(answer) => (554, answer),
    };
    let text = answer.reply.text().to_owned();
    // Said on as it was, unless it would mean something else here: 421 that we close this connection,
    // and a success where a go-ahead was due that the mail was taken.
    let said = answer.reply.code();
    let code = if said / 100 == code / 100 && said != 421 { said } else { code };
    let status = Some(answer.status).filter(|status| status.class.digit() == code / 100);
    Reply::new(code, status, text)
}

fn queued(receipt: &Receipt) -> Reply {
    Reply::with_status(250, Status::OK, format!("Ok: queued as {}", receipt.id))
}

pub(super) fn ok() -> Reply {
    Reply::with_status(250, Status::OK, "Ok")
}

pub(super) fn goodbye() -> Reply {
    Reply::with_status(221, Status::OK, "Goodbye")
}

pub(super) fn start_tls() -> Reply {
    Reply::with_status(220, Status::OK, "Ready to start TLS")
}

pub(super) fn send_content() -> Reply {
    Reply::new(354, None, "Start mail input; end with <CRLF>.<CRLF>")
}

pub(super) fn chunk_taken(size: u64) -> Reply {
    Reply::with_status(250, Status::OK, format!("{size} bytes received"))
}

/// RFC 5321 §3.5.3: 252 neither says that the mailbox is there nor that it is not.
pub(super) fn not_verified() -> Reply {
    Reply::with_status(252, Status::success(5, 2), "Send some mail, and see whether it is taken")
}

pub(super) fn help() -> Reply {
    Reply::with_status(214, Status::OK, "See RFC 5321")
}

pub(super) fn not_implemented() -> Reply {
    Reply::with_status(502, Status::permanent(5, 1), "This command is not offered")
}

pub(super) fn bad_sequence(text: &'static str) -> Reply {
    Reply::with_status(503, Status::permanent(5, 1), text)
}

pub(super) fn parameter_not_offered(keyword: &'static str) -> Reply {
    let text = format!("The parameter {keyword} was not offered");
    Reply::with_status(555, Status::permanent(5, 4), text)
}

pub(super) fn hold_too_long() -> Reply {
    Reply::with_status(501, Status::permanent(5, 4), "The hold is longer than was offered")
}

pub(super) fn needs_smtputf8() -> Reply {
    Reply::with_status(553, Status::permanent(6, 7), "The address needs the parameter SMTPUTF8")
}

pub(super) fn too_many_recipients() -> Reply {
    Reply::with_status(452, Status::transient(5, 3), "Too many recipients, send the rest later")
}

pub(super) fn no_recipients() -> Reply {
    Reply::with_status(554, Status::permanent(5, 1), "No recipient was taken")
}

pub(super) fn line_too_long() -> Reply {
    Reply::with_status(500, Status::permanent(5, 2), "The line is too long")
}

pub(super) fn bare_line_feed() -> Reply {
    Reply::with_status(500, Status::permanent(5, 2), "A line must end in CRLF, not in LF alone")
}

pub(super) fn too_many_errors() -> Reply {
    Reply::with_status(421, Status::transient(7, 0), "Too many errors, closing the connection")
}

pub(super) fn not_http() -> Reply {
    Reply::with_status(421, Status::transient(7, 0), "This is no HTTP server, closing")
}

pub(super) fn no_proxy() -> Reply {
    let text = "No PROXY header is taken from your address: name it among the proxies; closing";
    Reply::with_status(421, Status::transient(7, 0), text)
}

pub(super) fn not_trusted() -> Reply {
    let text = "XCLIENT is for front ends that are named, and before their client's greeting";
    Reply::with_status(550, Status::permanent(7, 0), text)
}

pub(super) fn too_many_commands() -> Reply {
    Reply::with_status(421, Status::transient(7, 0), "Too many commands without a mail, closing")
}

pub(super) fn timed_out() -> Reply {
    Reply::with_status(421, Status::transient(4, 2), "You were silent too long, closing")
}

pub(super) fn too_slow() -> Reply {
    let text = "Others wait, and the message comes too slowly, closing";
    Reply::with_status(421, Status::transient(4, 2), text)
}

pub(super) fn shutting_down() -> Reply {
    Reply::with_status(421, Status::transient(3, 2), "Shutting down, try again later")
}

/// RFC 4954 §4: 235 says that the client is authenticated.
pub(super) fn authenticated() -> Reply {
    Reply::with_status(235, Status::success(7, 0), "Authenticated")
}

pub(super) fn authentication_required() -> Reply {
    Reply::with_status(530, Status::permanent(7, 0), "Authenticate first")
}

pub(super) fn encryption_required() -> Reply {
    Reply::with_status(538, Status::permanent(7, 11), "AUTH is for TLS only: start it first")
}

pub(super) fn unknown_mechanism() -> Reply {
    Reply::with_status(504, Status::permanent(5, 4), "This mechanism is not offered")
}

pub(super) fn wrong_credentials() -> Reply {
    Reply::with_status(535, Status::permanent(7, 8), "User or password is wrong")
}

pub(super) fn downgraded() -> Reply {
    let text = "SCRAM-SHA-256-PLUS was offered: somebody between us hides it";
    Reply::with_status(535, Status::permanent(7, 8), text)
}

pub(super) fn deliver_by_too_short() -> Reply {
    Reply::with_status(501, Status::permanent(5, 4), "The BY time is shorter than was offered")
}

pub(super) fn authentication_unavailable() -> Reply {
    Reply::with_status(454, Status::transient(7, 0), "Nobody can tell at the moment, try later")
}

pub(super) fn authentication_cancelled() -> Reply {
    Reply::with_status(501, Status::permanent(7, 0), "Cancelled")
}

pub(super) fn not_base64() -> Reply {
    Reply::with_status(501, Status::permanent(5, 2), "This is not base64")
}

pub(super) fn malformed_response() -> Reply {
    Reply::with_status(501, Status::permanent(5, 2), "This is not what the mechanism wants")
}

/// RFC 4954 §6: X.5.6 is for a line of an exchange that is too long.
pub(super) fn response_too_long() -> Reply {
    Reply::with_status(500, Status::permanent(5, 6), "The line is too long")
}

pub(super) fn too_many_failures() -> Reply {
    Reply::with_status(421, Status::transient(7, 0), "Too many failed authentications, closing")
}

#[cfg(feature = "tokio")]
pub(super) fn too_many_connections() -> Reply {
    Reply::with_status(421, Status::transient(3, 2), "Too many connections, try again later")
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{MailId, Timestamp};

    use super::*;

    fn receipt(codes: &[u16]) -> Receipt {
        let outcome =
            |code: &u16| Outcome::of_reply(Reply::new(*code, None, format!("{code}!")), None);
        let id = MailId::new(Timestamp::UNIX_EPOCH, 1);
        Receipt { id, outcomes: codes.iter().map(outcome).collect() }
    }

    fn codes(codes: &[u16], dialect: Dialect) -> Vec<u16> {
        replies_for(&receipt(codes), dialect).iter().map(Reply::code).collect()
    }

    #[test]
    fn smtp_says_the_word_that_loses_no_mail() {
        assert_eq!(codes(&[250, 250], Dialect::Smtp), [250]);
        assert_eq!(codes(&[250, 550, 450], Dialect::Smtp), [450]);
        assert_eq!(codes(&[250, 550, 552], Dialect::Smtp), [550]);
        // A 354 where a final reply was due was deferred, and is not handed on as it is.
        assert_eq!(codes(&[354], Dialect::Smtp), [451]);
        // Another server's goodbye is not ours.
        assert_eq!(codes(&[421], Dialect::Smtp), [451]);
    }

    #[test]
    fn lmtp_says_a_word_for_each_recipient() {
        assert_eq!(codes(&[250, 550, 450], Dialect::Lmtp), [250, 550, 450]);
    }

    #[test]
    fn the_id_is_told() {
        let receipt = receipt(&[250]);
        let text = replies_for(&receipt, Dialect::Smtp)[0].to_string();
        assert_eq!(text, format!("250 2.0.0 Ok: queued as {}", receipt.id));
    }
}
