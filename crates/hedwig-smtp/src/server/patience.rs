//! How much is put up with from a client: errors, failed authentications, commands that bring no mail forward, and time.

use std::time::Instant;

use hedwig_envelope::Reply;

use super::{ServerOptions, replies};

/// So many recipients above what one mail may have are declined before each counts as an error: ten of the largest lists
/// that a server of ours takes. What is declined costs no more than its line, and is bounded in time as all else is.
const SURPLUS_RECIPIENTS_MAX: usize = 100_000;

/// What a client has done to try it.
#[derive(Debug)]
pub(super) struct Patience {
    last_heard: Instant,
    last_mail: Instant,
    errors: usize,
    surplus_recipients: usize,
    commands_without_mail: usize,
    authentication_failures: usize,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_heard: now,
            last_mail: now,
            errors: 0,
            surplus_recipients: 0,
            commands_without_mail: 0,
            authentication_failures: 0,
        }
    }

    pub(super) fn hear(&mut self, now: Instant) {
        self.last_heard = now;
    }

    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    pub(super) fn count_error(&mut self) {
        self.errors += 1;
    }

    /// RFC 5321 §4.5.3.1.10: a client is to go on with the recipients that were taken, and most have said the
    /// others already when they hear of the first. That is no error of theirs.
    pub(super) fn count_surplus_recipient(&mut self) {
        self.surplus_recipients += 1;
        if self.surplus_recipients > SURPLUS_RECIPIENTS_MAX {
            self.count_error();
        }
    }

    pub(super) fn count_wasted_command(&mut self) {
        self.commands_without_mail += 1;
    }

    pub(super) fn count_authentication_failure(&mut self) {
        self.authentication_failures += 1;
    }

    pub(super) fn authentication_failures(&self) -> usize {
        self.authentication_failures
    }

    /// A mail was taken: all is forgiven but failed authentications.
    pub(super) fn renew(&mut self) {
        self.errors = 0;
        self.surplus_recipients = 0;
        self.commands_without_mail = 0;
        self.last_mail = self.last_heard;
    }

    /// What is said when it is at an end.
    pub(super) fn last_word(&self, options: &ServerOptions) -> Option<Reply> {
        if self.authentication_failures >= options.authentication_failures_max.max(1) {
            Some(replies::too_many_failures())
        } else if self.errors > options.errors_max {
            Some(replies::too_many_errors())
        } else if self.commands_without_mail > options.commands_without_mail_max {
            Some(replies::too_many_commands())
        } else {
            None
        }
    }

    /// Until when the client may be silent, or bring no mail.
    pub(super) fn deadline(&self, options: &ServerOptions) -> Instant {
        (self.last_heard + options.silence_max)
            .min(self.last_mail + options.connection_duration_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_without_end_are_errors_at_last() {
        let options = ServerOptions::default();
        let mut patience = Patience::new(Instant::now());
        for _ in 0..SURPLUS_RECIPIENTS_MAX + options.errors_max {
            patience.count_surplus_recipient();
        }
        assert_eq!(patience.last_word(&options), None);
        patience.count_surplus_recipient();
        assert_eq!(patience.last_word(&options), Some(replies::too_many_errors()));
    }
}
