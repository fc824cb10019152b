use std::{future::Future, io, path::Path};

use hedwig_transport::serve;

use super::{Control, QUEUE_PATH};
use crate::unix_socket::bind;

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
    let (listener, remove) = bind(&path, 0o600).map_err(|error| {
        io::Error::new(error.kind(), format!("the control socket {}: {error}", path.display()))
    })?;
    Ok(async move {
        let router = hedwig_transport::Router::new().route(QUEUE_PATH, control);
        serve(listener, router).with_graceful_shutdown(stop).await;
        drop(remove);
    })
}
