use std::{
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hedwig_transport::serve;
use tokio::net::UnixListener;

use super::{Control, QUEUE_PATH};

/// The name of the control socket in a spool's directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Answers operators at the control socket in a spool's directory until `stop`, and removes it then.
/// Who may write the socket may act: its owner, and root.
///
/// The caller holds the spool's lock, so a socket that lies there is a dead daemon's.
///
/// # Errors
/// When the socket cannot be made. A path of more than about 100 bytes is too long for one.
pub fn serve_control(
    directory: &Path,
    control: Control,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let path = directory.join(SOCKET_NAME);
    let listener = bind(&path).map_err(|error| {
        io::Error::new(error.kind(), format!("the control socket {}: {error}", path.display()))
    })?;
    let remove = RemoveOnDrop(path);
    Ok(async move {
        let router = hedwig_transport::Router::new().route(QUEUE_PATH, control);
        serve(listener, router).with_graceful_shutdown(stop).await;
        drop(remove);
    })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Left behind, it would do no harm: nobody answers there.
        let _ = std::fs::remove_file(&self.0);
    }
}
