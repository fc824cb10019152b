//! Real mail clients: each sends a [`Submission`] and tells how it went.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    process::{Output, Stdio},
};

use mail_send::{SmtpClientBuilder, smtp::message::Message};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{LabError, Result, Submission};

/// The Python that Debian's packages are for; another one on the path would not find them.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// A client of the real world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// msmtp, as Hedwig's first user configures it.
    Msmtp,
    /// swaks, the tester's.
    Swaks,
    /// Python's `smtplib`, the scripter's.
    Smtplib,
    /// mail-send, a Rust program's.
    MailSend,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Msmtp, Self::Swaks, Self::Smtplib, Self::MailSend];

    /// Sends a mail, and returns what the client says of it when the server has taken it.
    ///
    /// # Errors
    /// With what the client says, when the server did not take it for every recipient.
    pub async fn send(self, server: SocketAddr, submission: &Submission) -> Result<String> {
        match self {
            Self::Msmtp => msmtp(server, submission).await,
            Self::Swaks => swaks(server, submission).await,
            Self::Smtplib => smtplib(server, submission).await,
            Self::MailSend => mail_send(server, submission).await,
        }
    }
}

async fn msmtp(server: SocketAddr, submission: &Submission) -> Result<String> {
    let configuration = tempfile::NamedTempFile::new()?;
    let text = format!(
        "defaults\nsyslog LOG_MAIL\naccount default\nhost {}\nport {}\nfrom {}\n",
        server.ip(),
        server.port(),
        submission.sender
    );
    std::fs::write(configuration.path(), text)?;
    let mut command = Command::new("/usr/bin/msmtp");
    command.arg("--file").arg(configuration.path()).arg("--").args(&submission.recipients);
    run(command, &unix_lines(&submission.message)).await
}

async fn swaks(server: SocketAddr, submission: &Submission) -> Result<String> {
    let mut command = Command::new("/usr/bin/swaks");
    command.args(["--server", &server.ip().to_string(), "--port", &server.port().to_string()]);
    command.args(["--from", &submission.sender, "--to", &submission.recipients.join(",")]);
    // Its templates are off, so what it reads must be ready for the wire, the final dot included.
    command.args(["--helo", "swaks.lab.example", "--no-data-fixup", "--data", "-"]);
    run(command, &stuffed(&submission.message)).await
}

async fn smtplib(server: SocketAddr, submission: &Submission) -> Result<String> {
    const SCRIPT: &str = "
import smtplib, sys
host, port, sender, *recipients = sys.argv[1:]
with smtplib.SMTP(host, int(port), 'smtplib.lab.example', timeout=30) as client:
    refused = client.sendmail(sender, recipients, sys.stdin.buffer.read())
    assert not refused, refused
";
    let mut command = Command::new(PYTHON);
    command.args(["-c", SCRIPT, &server.ip().to_string(), &server.port().to_string()]);
    command.arg(&submission.sender).args(&submission.recipients);
    run(command, &submission.message).await
}

async fn mail_send(server: SocketAddr, submission: &Submission) -> Result<String> {
    let builder = SmtpClientBuilder::new(server.ip().to_string(), server.port())
        .map_err(LabError::new)?
        .helo_host("mail-send.lab.example");
    let mut client = builder.connect_plain().await?;
    // It writes a line end of its own before the final dot.
    let message = submission.message.as_slice();
    let message = message.strip_suffix(b"\r\n").unwrap_or(message);
    let recipients = submission.recipients.iter().map(String::as_str).collect::<Vec<_>>();
    let reply = client.send(Message::new(submission.sender.as_str(), recipients, message)).await?;
    client.quit().await?;
    Ok(format!("{} {}", reply.code, reply.message.trim_end()))
}

/// What an HTTP server said to curl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status, 202 say.
    pub status: u16,
    /// The header: names in lower case, values as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl HttpResponse {
    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body)
            .map_err(|error| LabError::new(format!("{error}: {:?}", self.body)).into())
    }
}

/// Makes one HTTP request with curl; `body` is what `--data-binary @-` would send.
///
/// # Errors
/// When there is no response.
pub async fn curl<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    body: &[u8],
) -> Result<HttpResponse> {
    let mut command = Command::new("/usr/bin/curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "30"]);
    // A server may answer before it has read everything; no "100 Continue" may stand before the answer.
    command.args(["--header", "Expect:"]).args(arguments);
    parse_response(&run(command, body).await?)
}

fn parse_response(text: &str) -> Result<HttpResponse> {
    let unreadable = || LabError::new(format!("no HTTP response: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(unreadable)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or_else(unreadable)?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(HttpResponse { status: status.parse()?, headers, body: body.to_owned() })
}

/// Runs a program to its end with this input; its output if it succeeds, all it said if not.
pub(crate) async fn run(mut command: Command, input: &[u8]) -> Result<String> {
    let program = command.as_std().get_program().to_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| LabError::program(&program, &error))?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that fails early does not read its input; its exit status tells more.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let Output { status, stdout, stderr } = output?;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() {
        return Ok(stdout.into_owned());
    }
    Err(LabError::new(format!("{}: {status}\n{stdout}{stderr}", program.display())).into())
}

/// A message as a file on Unix has it.
pub(crate) fn unix_lines(message: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(message.len());
    for (index, &byte) in message.iter().enumerate() {
        if byte != b'\r' || message.get(index + 1) != Some(&b'\n') {
            lines.push(byte);
        }
    }
    lines
}

/// A file on Unix as a message on the wire.
pub(crate) fn wire_lines(file: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(file.len() + file.len() / 32);
    for &byte in file {
        if byte == b'\n' {
            message.push(b'\r');
        }
        message.push(byte);
    }
    message
}

/// A message as DATA sends it (RFC 5321 §4.5.2), with the final dot.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_stuffed_at_the_beginning_of_lines_only() {
        assert_eq!(stuffed(b".a\r\nb.\r\n..\r\n"), b"..a\r\nb.\r\n...\r\n.\r\n");
    }

    #[test]
    fn line_ends_go_to_unix_and_back() {
        assert_eq!(unix_lines(b"a\r\nb\r\n"), b"a\nb\n");
        assert_eq!(wire_lines(b"a\nb\n"), b"a\r\nb\r\n");
    }

    #[test]
    fn a_response_is_taken_apart() {
        let response =
            parse_response("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n{}").unwrap();
        assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
        assert_eq!(response.json().unwrap(), serde_json::json!({}));
    }
}
