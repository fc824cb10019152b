//! Tests in a network of their own, where addresses can be had that the machine has not.

use tokio::process::Command;

use crate::{LabError, Result};

/// Set for a test that has its own network.
const MARK: &str = "HEDWIG_LAB_OWN_NETWORK";

/// Gives loopback what is told in the arguments, and goes on with the program after `--`.
const SCRIPT: &str = "set -e; ip link set lo up
while [ \"$1\" != -- ]; do ip address add \"$1\" dev lo nodad; shift; done; shift; exec \"$@\"";

/// Whether the test that asks runs in a network of its own: then it does its work. Otherwise it is run once more, in a
/// namespace whose only interface is loopback, with these addresses besides its usual ones (`2001:db8::1/128`), and has
/// nothing more to do.
///
/// The user must be root. `test` is the test's whole name, `module::function`.
///
/// # Errors
/// When the test fails there, with what it said.
pub async fn has_own_network(test: &str, addresses: &[&str]) -> Result<bool> {
    if std::env::var_os(MARK).is_some() {
        return Ok(true);
    }
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--net", "/bin/sh", "-c", SCRIPT, "network"]).args(addresses).arg("--");
    command.arg(std::env::current_exe()?).args(["--exact", test, "--nocapture"]).env(MARK, "1");
    let output = command.kill_on_drop(true).output().await?;
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && out.contains(" 1 passed") {
        return Ok(false);
    }
    Err(LabError::new(format!("{test}, in a network of its own: {out}\n{error}")).into())
}
