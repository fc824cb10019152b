//! A real Dovecot, which takes mail by LMTP.

use std::{fs, os::unix::fs::chown, path::Path};

use tokio::process::Command;

use crate::{MailServer, MailServerOptions, Result, mail_server::Prepared, postfix::user_id};

/// Starts a Dovecot whose LMTP offers STARTTLS, PIPELINING and CHUNKING.
///
/// The mailbox `full` has no room: Dovecot says so for it alone, after the content.
///
/// # Errors
/// When the package is missing, the user is not root, or it does not start; with its log.
pub async fn start_dovecot(options: &MailServerOptions) -> Result<MailServer> {
    MailServer::start("dovecot", options, |directory| prepare(directory, options)).await
}

fn prepare(directory: &Path, options: &MailServerOptions) -> Result<Prepared> {
    let owner = user_id("dovecot")?;
    fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    for name in ["mail", "run"] {
        fs::create_dir(directory.join(name))?;
    }
    chown(directory.join("mail"), Some(owner), None)?;
    let users = options.mailboxes.iter().map(|name| {
        let (domain, quota) = (&options.domain, if name == "full" { "1B" } else { "1G" });
        format!("{name}@{domain}:{{PLAIN}}none::::::userdb_quota_rule=*:bytes={quota}\n")
    });
    fs::write(directory.join("users"), users.collect::<String>())?;
    let file = directory.join("dovecot.conf");
    fs::write(&file, configuration(directory, options, owner))?;
    let mut command = Command::new("/usr/sbin/dovecot");
    command.arg("-F").arg("-c").arg(file);
    Ok(Prepared { command, log: Some(directory.join("log")), ready: "starting up for lmtp" })
}

fn configuration(directory: &Path, options: &MailServerOptions, owner: u32) -> String {
    let directory = directory.display();
    let (ip, port) = (options.listen.ip(), options.listen.port());
    let domain = &options.domain;
    let further = options.configuration.join("\n");
    format!(
        "protocols = lmtp\n\
         base_dir = {directory}/run\n\
         log_path = {directory}/log\n\
         hostname = mx.{domain}\n\
         ssl = yes\n\
         ssl_cert = <{directory}/certificate.pem\n\
         ssl_key = <{directory}/key.pem\n\
         default_internal_user = dovecot\n\
         default_login_user = dovecot\n\
         first_valid_uid = 1\n\
         mail_location = maildir:{directory}/mail/%n\n\
         mail_plugins = quota\n\
         plugin {{\n  quota = count:User\n  quota_vsizes = yes\n  quota_grace = 0\n}}\n\
         passdb {{\n  driver = passwd-file\n  args = {directory}/users\n}}\n\
         userdb {{\n  driver = passwd-file\n  args = {directory}/users\n  \
         default_fields = uid={owner} gid={owner} home={directory}/mail/%n\n}}\n\
         service lmtp {{\n  inet_listener lmtp {{\n    address = {ip}\n    port = {port}\n  }}\n}}\n\
         {further}\n"
    )
}
