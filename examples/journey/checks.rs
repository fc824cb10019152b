//! What must be true of a mail that arrived.

use hedwig_lab::{
    Dns, Receiver, Result, Submission, dkim,
    message::{below_trace, header_and_body},
};
use serde_json::Value;

use crate::report::Report;

/// A mail at the end of its journey.
pub(crate) struct Arrived {
    pub(crate) mail: Submission,
    /// What the postoffice tells of it.
    pub(crate) status: Value,
    /// What the receiving server took.
    pub(crate) received: Vec<Vec<u8>>,
    pub(crate) dns: Dns,
}

impl Arrived {
    /// Shows the header as it arrived.
    pub(crate) fn tell(&self, report: &Report) {
        report.title("The header, as it arrived");
        let message = self.received.first().map(Vec::as_slice).unwrap_or_default();
        let (header, _) = header_and_body(message);
        report.quote(&String::from_utf8_lossy(header));
        println!();
    }

    pub(crate) async fn check(&self, receiver: &Receiver, report: &mut Report) -> Result<()> {
        report.title("What must be true");
        let recipients = self.status["recipients"].as_array();
        let delivered = recipients.is_some_and(|recipients| {
            !recipients.is_empty() && recipients.iter().all(|r| r["state"] == "delivered")
        });
        report.check(delivered, "the postoffice's record says: delivered");
        // Both daemons have stopped, so that nothing can arrive any more.
        let copies = receiver.mails().len();
        report.check(copies == 1, format_args!("it arrived once (copies: {copies})"));
        let Some(message) = self.received.first() else { return Ok(()) };
        let same = below_trace(message) == self.mail.message;
        let bytes = self.mail.message.len();
        report.check(same, format_args!("all {bytes} bytes are as the client sent them"));
        let trace = header_and_body(message).0;
        let trace = String::from_utf8_lossy(trace);
        for (host, protocol) in
            [("mailman.lab.example", "ESMTP"), ("postoffice.lab.example", "HTTP")]
        {
            let written = trace.contains(&format!("by {host} (Hedwig) with {protocol}"));
            report.check(written, format_args!("Received tells of {host} and {protocol}"));
        }
        self.check_signatures(message, report).await
    }

    async fn check_signatures(&self, message: &[u8], report: &mut Report) -> Result<()> {
        let signatures = dkim::verify_in_process(message, &self.dns).await?;
        for (algorithm, selector) in
            [("rsa-sha256", dkim::RSA_SELECTOR), ("ed25519-sha256", dkim::ED25519_SELECTOR)]
        {
            let found = signatures.iter().find(|signature| {
                signature.algorithm == algorithm && signature.selector == selector
            });
            let domain = found.map_or("?", |signature| signature.domain.as_str());
            let valid =
                found.is_some_and(|signature| signature.valid) && domain == crate::SENDER_DOMAIN;
            report.check(
                valid,
                format_args!("DKIM {algorithm:<14} of {domain}, selector {selector}"),
            );
        }
        Ok(())
    }
}
