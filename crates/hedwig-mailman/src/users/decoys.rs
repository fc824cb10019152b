use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use hedwig_smtp::server::DecoySecret;

use super::replace::replace;

/// The name of the file in the spool's directory.
const NAME: &str = "scram-decoys";

/// The secret that the salts of users who do not exist are made from, as it is kept in this directory; made when it is
/// not there. It is no part of the users file: that may be read-only for the daemon, and changes with its users.
///
/// # Errors
/// When it cannot be read or written, with the path.
pub(crate) fn kept(directory: &Path) -> io::Result<DecoySecret> {
    let path = directory.join(NAME);
    let told =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match fs::read(&path) {
        Ok(bytes) => match <[u8; DecoySecret::BYTES]>::try_from(bytes) {
            Ok(bytes) => return Ok(bytes.into()),
            Err(_) => {
                tracing::warn!(path = %path.display(), "this is no secret; it gets a new one");
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(told(error)),
    }
    let secret = DecoySecret::random()?;
    let put = |directory: File| replace(&path, &directory, |file| file.write_all(secret.reveal()));
    File::open(directory).and_then(put).map_err(told)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_the_same_after_a_restart_and_nobody_else_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let secret = kept(directory.path()).unwrap();
        assert_eq!(kept(directory.path()).unwrap().reveal(), secret.reveal());
        let path = directory.path().join(NAME);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(kept(elsewhere.path()).unwrap().reveal(), secret.reveal());
    }

    #[test]
    fn one_that_is_damaged_is_made_anew_and_one_that_cannot_be_kept_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME), "short").unwrap();
        fs::write(directory.path().join("scram-decoys.new"), "of a crash").unwrap();
        let secret = kept(directory.path()).unwrap();
        assert_eq!(kept(directory.path()).unwrap().reveal(), secret.reveal());
        let error = kept(&directory.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("missing/scram-decoys: "), "{error}");
    }
}
