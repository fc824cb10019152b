"""Takes a report of TLS by mail apart (RFC 8460 §5.3): the mail from standard input, JSON to standard output."""
import email
import email.policy
import gzip
import json
import sys

mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, report = mail.iter_parts()
json.dump(
    {
        "defects": [repr(defect) for part in mail.walk() for defect in part.defects],
        "type": mail.get_content_type(),
        "report_type": mail["Content-Type"].params.get("report-type"),
        "from": str(mail["From"]),
        "to": str(mail["To"]),
        "subject": str(mail["Subject"]),
        "domain": mail["TLS-Report-Domain"],
        "submitter": mail["TLS-Report-Submitter"],
        "tls_required": mail["TLS-Required"],
        "has_date_and_id": bool(mail["Date"] and mail["Message-ID"]),
        "text_type": text.get_content_type(),
        "part_type": report.get_content_type(),
        "file_name": report.get_filename(),
        "report": json.loads(gzip.decompress(report.get_content())),
    },
    sys.stdout,
)
