//! How much is put up with from a client: errors, failed authentications, commands that bring no mail forward, and time.

use std::time::Instant;

use hedwig_envelope::Reply;

use super::{ServerOptions, replies};

/// What a client has done to try it.
#[derive(Debug)]
pub(super) struct Patience {
    last_heard: Instant,
    last_mail: Instant,
    errors: usize,
    commands_without_mail: usize,
    authentication_failures: usize,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_heard: now,
            last_mail: now,
            errors: 0,
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
