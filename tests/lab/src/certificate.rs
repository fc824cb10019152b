//! Certificates for the lab's servers.

use std::{io::Write as _, path::Path};

use tempfile::NamedTempFile;

use crate::Result;

/// Writes a new self-signed certificate for this name, `certificate.pem`, and its key, `key.pem`, into
/// a directory. Each file is replaced as a whole.
///
/// # Errors
/// When they cannot be made or written.
pub fn write_certificate(directory: &Path, name: &str) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    for (name, text) in
        [("certificate.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())]
    {
        let mut new = NamedTempFile::new_in(directory)?;
        new.write_all(text.as_bytes())?;
        new.persist(directory.join(name))?;
    }
    Ok(())
}
