use std::{future::Future, io, path::Path};

use hedwig_transport::{Router, serve};

use super::{Control, QUEUE_PATH};
use crate::unix_socket::bind;

/// The name of the control socket in a spool's directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Answers operators at the control socket in a spool's directory until `stop`, and removes it then.
/// Who may write the socket may act: its owner, and root. `further` is what else it answers.
///
/// The caller holds the spool's lock, so a socket that lies there is a dead daemon's.
///
/// # Errors
/// When the socket cannot be made. A path of more than about 100 bytes is too long for one.
pub fn serve_control(
    directory: &Path,
    control: Control,
    further: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let path = directory.join(SOCKET_NAME);
    let (listener, remove) = bind(&path, 0o600).map_err(|error| {
        io::Error::new(error.kind(), format!("the control socket {}: {error}", path.display()))
    })?;
    Ok(async move {
        serve(listener, further.route(QUEUE_PATH, control)).with_graceful_shutdown(stop).await;
        drop(remove);
    })
}
