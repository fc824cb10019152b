use std::{io, net::TcpListener};

use listenfd::ListenFd;

/// Sockets that listen, by the names they were handed over with.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    named: Vec<(String, TcpListener)>,
}

impl Sockets {
    /// Takes what `LISTEN_FDS` and `LISTEN_FDNAMES` tell of, if it is for this process.
    pub(super) fn from_environment() -> Result<Self, SocketError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed_over = ListenFd::from_env();
        let count = handed_over.len();
        let names = names_of(&names, count)?;
        let mut named = Vec::with_capacity(count);
        for (index, name) in names.into_iter().enumerate() {
            let socket = handed_over.take_tcp_listener(index);
            let socket =
                socket.map_err(|source| SocketError::NotTcp { name: name.clone(), source })?;
            named.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Self { named })
    }

    /// Those of this name; nobody else gets them.
    pub(super) fn take(&mut self, name: &str) -> Vec<TcpListener> {
        let taken = self.named.extract_if(.., |(its_name, _)| its_name == name);
        taken.map(|(_, socket)| socket).collect()
    }

    pub(super) fn nothing_left(&self) -> Result<(), SocketError> {
        match self.named.first() {
            Some((name, _)) => Err(SocketError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }
}

/// A name for each of `count` sockets. Without any names they are all unnamed.
fn names_of(names: &str, count: usize) -> Result<Vec<String>, SocketError> {
    if names.is_empty() {
        return Ok(vec![String::new(); count]);
    }
    let names: Vec<String> = names.split(':').map(printable).collect();
    // Names without sockets are for another process, one that started this one.
    match count {
        0 => Ok(Vec::new()),
        count if count == names.len() => Ok(names),
        count => Err(SocketError::Names { names: names.len(), sockets: count }),
    }
}

fn printable(name: &str) -> String {
    name.replace(char::is_control, "?")
}

/// What is wrong with the sockets that the service manager handed over.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// One of them is not a TCP socket.
    #[error("the service manager handed over a socket {name:?} that is no TCP socket: {source}")]
    NotTcp {
        /// Its name.
        name: String,
        /// What it is instead.
        source: io::Error,
    },
    /// One of them has a name that means nothing here.
    #[error(
        "the service manager handed over a socket named {name:?}, which nothing here listens to; \
         name it smtp, smtps, http, admin or as a [listener.NAME] (systemd: FileDescriptorName=), as this daemon has them, and \
         configure that listener"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// There are not as many names as sockets.
    #[error("the service manager handed over {sockets} sockets and {names} names")]
    Names {
        /// How many names.
        names: usize,
        /// How many sockets.
        sockets: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(name: &str) -> (String, TcpListener) {
        (name.to_owned(), TcpListener::bind("127.0.0.1:0").unwrap())
    }

    #[test]
    fn each_name_gets_its_own_sockets() {
        let mut sockets = Sockets { named: vec![bound("smtp"), bound("admin"), bound("smtp")] };
        assert_eq!(sockets.take("smtp").len(), 2);
        assert_eq!(sockets.take("smtp").len(), 0);
        assert_eq!(sockets.take("admin").len(), 1);
        assert!(sockets.nothing_left().is_ok());
    }

    #[test]
    fn a_socket_that_nobody_takes_is_told_by_its_name() {
        let mut sockets = Sockets { named: vec![bound("smtp"), bound("hedwig-mailman.socket")] };
        sockets.take("smtp");
        let error = sockets.nothing_left().unwrap_err().to_string();
        assert!(error.contains("hedwig-mailman.socket"), "{error}");
    }

    #[test]
    fn names_and_sockets_are_counted() {
        assert_eq!(names_of("smtp:admin", 2).unwrap(), ["smtp", "admin"]);
        assert_eq!(names_of("", 1).unwrap(), [""]);
        assert_eq!(names_of("of-my-parent", 0).unwrap(), [""; 0]);
        assert!(names_of("smtp", 2).is_err());
    }
}
