//! Delivery status notifications, read by Python's email package.

use serde_json::Value;
use tokio::process::Command;

use crate::{
    Result,
    clients::{PYTHON, run},
};

const SCRIPT: &str = "
import email, email.policy, email.utils, json, sys
source = sys.stdin.buffer.read()
report = email.message_from_bytes(source, policy=email.policy.default)
text, status, returned = report.iter_parts()
groups = status.get_payload()
if status.get_content_type() == 'message/global-delivery-status':
    # The package takes the fields of message/delivery-status apart, and not yet those of RFC 6533.
    part = source.split(b'--' + report.get_boundary().encode())[2].split(b'\\r\\n\\r\\n')[1:]
    policy = email.policy.default.clone(utf8=True)
    groups = [email.message_from_string(group.decode().strip(), policy=policy) for group in part]
fields = [dict(part.items()) for part in groups if part.items()]
def seconds(name, field):
    return (name + '-Seconds', int(email.utils.parsedate_to_datetime(field).timestamp()))
for group in fields:
    dates = ['Arrival-Date', 'Last-Attempt-Date', 'Will-Retry-Until']
    group.update([seconds(name, group[name]) for name in dates if name in group])
json.dump({
    'type': report.get_content_type(),
    'report_type': report['Content-Type'].params.get('report-type'),
    'from': str(report['From']), 'to': str(report['To']), 'subject': str(report['Subject']),
    'auto_submitted': str(report['Auto-Submitted']),
    'defects': [repr(defect) for part in report.walk() for defect in part.defects],
    'parts': [part.get_content_type() for part in report.iter_parts()],
    'text': text.get_content(),
    'per_message': fields[0], 'per_recipient': fields[1:],
    # A header may be encoded; a message within a message is not.
    'returned': returned.get_content() if returned.get_content_maintype() == 'text' else returned.as_string(),
}, sys.stdout)
";

/// Takes a report apart: its parts, the fields of the mail (`per_message`) and of each recipient
/// (`per_recipient`), with each date also in seconds since 1970 under its name and `-Seconds`.
///
/// # Errors
/// When the package cannot read it as a report of three parts.
pub async fn read_report(message: &[u8]) -> Result<Value> {
    let mut command = Command::new(PYTHON);
    command.args(["-c", SCRIPT]);
    Ok(serde_json::from_str(&run(command, message).await?)?)
}
