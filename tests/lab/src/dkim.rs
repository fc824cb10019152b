//! DKIM keys for a domain, and an independent verifier of what was signed with them.

use std::{fs, net::SocketAddr, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, MessageAuthenticator, common::crypto::Algorithm,
};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256};
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    Dns, LabError, Result,
    clients::{PYTHON, run},
};

/// The selector of the RSA key.
pub const RSA_SELECTOR: &str = "rsa";
/// The selector of the Ed25519 key.
pub const ED25519_SELECTOR: &str = "ed";

/// Makes an RSA and an Ed25519 key for a domain: the private ones into
/// `directory/<domain>/<selector>.pem`, the public ones into the zone (RFC 6376 §3.6.1, RFC 8463 §4).
///
/// # Errors
/// When a key cannot be made or written.
pub async fn publish_keys(directory: &Path, domain: &str, dns: &Dns) -> Result<()> {
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519)?;
    let rsa_record =
        format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(subject_public_key_info(&rsa)));
    let ed25519_record =
        format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(ed25519.public_key_raw()));
    let folder = directory.join(domain);
    fs::create_dir_all(&folder)?;
    for (selector, key, record) in
        [(RSA_SELECTOR, rsa, rsa_record), (ED25519_SELECTOR, ed25519, ed25519_record)]
    {
        fs::write(folder.join(format!("{selector}.pem")), key.serialize_pem())?;
        dns.txt(&format!("{selector}._domainkey.{domain}"), &record).await;
    }
    Ok(())
}

/// What the verifier says of one `DKIM-Signature` field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Verified {
    /// The `d=` tag.
    pub domain: String,
    /// The `s=` tag.
    pub selector: String,
    /// The `a=` tag.
    pub algorithm: String,
    /// Whether the signature is good.
    pub valid: bool,
    /// Why not.
    pub error: Option<String>,
}

/// Verifies each signature of a message by itself with dkimpy, which asks this name server for keys.
///
/// # Errors
/// When the verifier cannot be run; a bad signature is a result.
pub async fn verify(message: &[u8], name_server: SocketAddr) -> Result<Vec<Verified>> {
    Ok(verify_all(&[message], name_server).await?.concat())
}

/// Does what [`verify`] does to many messages, in one process.
///
/// # Errors
/// When the verifier cannot be run; a bad signature is a result.
pub async fn verify_all<M: AsRef<[u8]>>(
    messages: &[M],
    name_server: SocketAddr,
) -> Result<Vec<Vec<Verified>>> {
    let mut command = Command::new(PYTHON);
    command.args(["-c", include_str!("dkim_verify.py")]);
    command.args([name_server.ip().to_string(), name_server.port().to_string()]);
    let messages: Vec<_> = messages.iter().map(|message| STANDARD.encode(message)).collect();
    let input = serde_json::to_vec(&messages)?;
    Ok(serde_json::from_str(&run(command, &input).await?)?)
}

/// Verifies each signature of a message by itself, in this process: for a place without Python.
///
/// mail-auth leaves white-space-only lines at the end of a relaxed body, which RFC 6376 §3.4.4 takes
/// away, and so finds good signatures of such bodies bad. [`verify`] does not.
///
/// # Errors
/// When the message cannot be read; a bad signature is a result.
pub async fn verify_in_process(message: &[u8], dns: &Dns) -> Result<Vec<Verified>> {
    let authenticator = MessageAuthenticator(dns.resolver()?);
    let message = AuthenticatedMessage::parse(message)
        .ok_or_else(|| LabError::new("a message whose header cannot be read"))?;
    let outputs = authenticator.verify_dkim(&message).await;
    Ok(outputs.iter().filter_map(verified).collect())
}

fn verified(output: &DkimOutput<'_>) -> Option<Verified> {
    let signature = output.signature()?;
    let valid = output.result() == &DkimResult::Pass;
    let algorithm = match signature.a {
        Algorithm::RsaSha1 => "rsa-sha1",
        Algorithm::RsaSha256 => "rsa-sha256",
        Algorithm::Ed25519Sha256 => "ed25519-sha256",
    };
    Some(Verified {
        domain: signature.d.clone(),
        selector: signature.s.clone(),
        algorithm: algorithm.to_owned(),
        valid,
        error: (!valid).then(|| format!("{:?}", output.result())),
    })
}

fn subject_public_key_info(key: &KeyPair) -> Vec<u8> {
    rcgen::PublicKeyData::subject_public_key_info(key)
}
