//! Listening at a path.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use crate::{ListenError, listen::ListenAddress};

/// Binds a Unix socket with these permissions, and logs where, as [`listen`](crate::listen) does. What a dead daemon
/// has left there is replaced.
///
/// # Errors
/// When somebody listens there, something else than a socket is there, or the system does not allow it.
pub fn listen_unix(
    protocol: &str,
    path: &Path,
    mode: u32,
) -> Result<(UnixListener, RemoveOnDrop), ListenError> {
    let address = ListenAddress::Unix(path.to_owned());
    match bind(path, mode) {
        Ok(bound) => {
            tracing::info!(protocol, %address, "listening");
            Ok(bound)
        }
        Err(source) => Err(ListenError::new(address, source)),
    }
}

/// Binds a socket that only those may connect to whom the mode allows it.
pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, RemoveOnDrop)> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let remove = RemoveOnDrop(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok((listener, remove))
}

/// Removes a socket that nobody listens at.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let text = "something is there that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let text = "another program listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
    }
}

/// Removes the socket's file when it is dropped.
#[derive(Debug)]
pub struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Left behind, it would do no harm: nobody answers there.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("smtp.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "it is left behind");

        let (_listener, remove) = listen_unix("smtp", &path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = listen_unix("smtp", &path, 0o660).unwrap_err().to_string();
        assert!(error.contains("another program listens there"), "{error}");
        drop(remove);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "precious").unwrap();
        let error = listen_unix("smtp", &path, 0o660).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        let missing = directory.path().join("missing/smtp.sock");
        let error = listen_unix("smtp", &missing, 0o660).unwrap_err().to_string();
        assert!(error.contains("make its directory first"), "{error}");
    }
}
