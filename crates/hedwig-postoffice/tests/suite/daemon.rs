//! A daemon to look at.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use serde_json::Value;

use crate::{program, run};

const TOKEN: &str = "a-token-for-tests";

/// A postoffice with a token that defers everything.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: String,
    pub(crate) spool: String,
    pub(crate) token_file: String,
    log: mpsc::Receiver<String>,
}

impl Daemon {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    /// Starts it with these variables, which are told without their prefix.
    pub(crate) fn start_with(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let path = |name: &str| directory.join(name).display().to_string();
        let (spool, token_file) = (path("spool"), path("token"));
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--spool", &spool, "--token-file", &token_file]);
        command.args(["--route", "*=fail:4.3.2 closed", "--dns", "127.0.0.1:9"]);
        for (name, value) in variables {
            command.env(format!("HEDWIG_POSTOFFICE_{name}"), value);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" && line["protocol"] == "http" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        // Perhaps nobody wants to read the rest, and a full pipe must not stop the daemon.
        let (keep, rest) = mpsc::channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).try_for_each(|l| keep.send(l))
        });
        Self { child, address, spool, token_file, log: rest }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for a line of the log with this in it.
    pub(crate) fn wait_for_log(&self, part: &str) {
        let found = self.log.iter().any(|line| line.contains(part));
        assert!(found, "it ended before it said {part}");
    }

    /// Speaks HTTP; returns header and body.
    pub(crate) fn ask(&self, request: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").unwrap();
        write!(stream, "Authorization: Bearer {TOKEN}\r\nContent-Type: message/rfc822\r\n")
            .unwrap();
        write!(stream, "Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (header, body) = answer.split_once("\r\n\r\n").unwrap();
        (header.to_owned(), body.to_owned())
    }

    /// Hands a mail in, and returns its id.
    pub(crate) fn mail(&self, recipient: &str) -> String {
        let request = format!("POST /v1/messages?from=alice%40example.org&to={recipient}");
        let (header, body) = self.ask(&request, "Subject: hi\r\n\r\nHi.\r\n");
        assert!(header.starts_with("HTTP/1.1 202"), "{header}\n{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["messages"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Runs a queue command on the spool; it must go well.
    pub(crate) fn queue(&self, arguments: &[&str]) -> String {
        let (code, out, error) = run(&[&["queue"], arguments, &["--spool", &self.spool]].concat());
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    /// The state of a mail's recipient, once it is as it should be.
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) {
        loop {
            let mail: Value = serde_json::from_str(&self.queue(&["show", id, "--json"])).unwrap();
            if mail["recipients"][0]["state"] == state {
                return;
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}
