//! A real OpenSMTPD.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use crate::{MailServer, MailServerOptions, Result, enclosure::Enclosure, mail_server::Prepared};

/// Starts an OpenSMTPD out of this release of Debian.
///
/// That of `bookworm` offers STARTTLS, and no handshake with it succeeds: it came before OpenSSL 3. That
/// of `bookworm-backports` does TLS.
///
/// # Errors
/// When its package was not unpacked, the user is not root, or it does not start; with its log.
pub async fn start_opensmtpd(release: &str, options: &MailServerOptions) -> Result<MailServer> {
    MailServer::start("opensmtpd", options, |directory| prepare(release, directory, options)).await
}

fn prepare(release: &str, directory: &Path, options: &MailServerOptions) -> Result<Prepared> {
    let mut system = Enclosure::new(release, "opensmtpd", directory)?;
    for user in ["opensmtpd", "opensmtpq"] {
        system.add_user(user);
    }
    let mut owners = Vec::new();
    for mailbox in &options.mailboxes {
        let owner = system.add_user(mailbox);
        system.make(&format!("mail/{mailbox}"), owner)?;
        owners.push(format!("\"{mailbox}@{}\" = {mailbox}", options.domain));
    }
    for name in ["mail", "run", "state/opensmtpd/empty", "spool/smtpd"] {
        system.make(name, 0)?;
    }
    fs::set_permissions(directory.join("spool/smtpd"), fs::Permissions::from_mode(0o711))?;
    let file = directory.join("smtpd.conf");
    fs::write(&file, configuration(directory, options, &owners.join(", ")))?;
    for (what, place) in [("state", "/var/lib"), ("spool", "/var/spool"), ("run", "/run")] {
        system.show(directory.join(what), place);
    }
    system.show(system.file("usr/libexec"), "/usr/libexec");
    let mut command = system.command("usr/sbin/smtpd")?;
    // With -T smtp it tells every command, and with -d it tells it to standard error.
    command.args(["-dv", "-T", "smtp", "-f"]).arg(file);
    Ok(Prepared { command, log: None, ready: "smtp: will accept at most" })
}

fn configuration(directory: &Path, options: &MailServerOptions, owners: &str) -> String {
    let directory = directory.display();
    let SocketAddr::V4(listen) = options.listen else { return String::new() };
    let (ip, port) = (listen.ip(), listen.port());
    let domain = &options.domain;
    let further = options.configuration.join("\n");
    format!(
        "pki mx.{domain} cert \"{directory}/certificate.pem\"\n\
         pki mx.{domain} key \"{directory}/key.pem\"\n\
         smtp max-message-size 100M\n\
         table owners {{ {owners} }}\n\
         {further}\n\
         listen on {ip} port {port} tls pki mx.{domain} hostname mx.{domain}\n\
         action \"keep\" maildir \"{directory}/mail/%{{user.username}}\" virtual <owners>\n\
         match from any for domain \"{domain}\" action \"keep\"\n"
    )
}
