//! This host: the settings, the spool, its disk, and the daemon.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use hedwig_daemon::{control::is_answered, settings::Size};
use hedwig_spool::is_spool;
use rustix::fs::{StatVfs, statvfs};

use super::{finding::Finding, patient::Patient};

/// What the spool keeps in reserve lies in this file.
const RESERVE: &str = "reserve";
/// So many files of a spool are looked at.
const FILES_MAX: usize = 1000;
/// With less room the daemon soon takes no mail.
const ROOM_BYTES_MIN: u64 = 64 << 20;
const ROOM_BYTES_GOOD: u64 = 1 << 30;
const INODES_MIN: u64 = 100;
const INODES_GOOD: u64 = 10_000;

/// What reading the settings brought, which `check` tells too.
pub(super) fn settings(file: Option<&Path>, warnings: &[String]) -> Vec<Finding> {
    let place = file.map_or_else(|| "without a file".to_owned(), |file| file.display().to_string());
    let warnings: Vec<Finding> = warnings
        .iter()
        .map(|warning| Finding::warn("settings", warning, "Change the setting."))
        .collect();
    if warnings.is_empty() {
        vec![Finding::ok("settings", format!("right, {place}"))]
    } else {
        warnings
    }
}

/// Whether the spool can be read, and by its owner alone.
pub(super) async fn spool(patient: &Patient) -> Vec<Finding> {
    let directory = &patient.configuration.spool.directory;
    vec![look_at_spool(directory).unwrap_or_else(|error| {
        let found = format!("{} cannot be looked at: {error}", directory.display());
        Finding::warn("spool", found, "Be root or the daemon's own user.")
    })]
}

fn look_at_spool(directory: &Path) -> io::Result<Finding> {
    let place = directory.display();
    let metadata = match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let found = format!("{place} is not there yet");
            let advice = "Start the daemon, which makes it, or make it for the daemon's user; --spool names another.";
            return Ok(Finding::warn("spool", found, advice));
        }
        found => found?,
    };
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode() & 0o7777);
    if let Some(stranger) = not_of(directory, owner)? {
        let found = format!("{stranger} does not belong to {owner}, who owns {place}");
        let advice = format!("chown -R {owner}:{} {place}", metadata.gid());
        return Ok(Finding::fail("spool", found, advice));
    }
    if mode & 0o077 != 0 {
        let found = format!("others than its owner may look into {place} (mode {mode:04o})");
        return Ok(Finding::warn("spool", found, format!("chmod 700 {place}")));
    }
    Ok(match is_spool(directory) {
        Ok(true) => {
            Finding::ok("spool", format!("{place}, of the user {owner}, in a format that is known"))
        }
        Ok(false) => Finding::ok("spool", format!("{place}, of the user {owner}, empty yet")),
        Err(error) => {
            let advice = "Install the version of Hedwig that wrote it, or look with check --spool.";
            Finding::fail("spool", error.to_string(), advice)
        }
    })
}

/// A file in the spool that is not its owner's, if there is one among the first.
fn not_of(directory: &Path, owner: u32) -> io::Result<Option<String>> {
    let mut directories = vec![directory.to_owned()];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // The daemon is at work.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            if metadata.uid() != owner {
                return Ok(Some(entry.path().display().to_string()));
            }
            seen += 1;
            if seen == FILES_MAX {
                return Ok(None);
            }
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok(None)
}

/// Whether there is room for mail.
pub(super) async fn disk(patient: &Patient) -> Vec<Finding> {
    let directory = &patient.configuration.spool.directory;
    // The spool, or where it will be made.
    let place = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let room = match statvfs(place) {
        Ok(room) => room,
        Err(error) => {
            let found = format!("{} does not tell its room: {error}", place.display());
            return vec![Finding::warn("disk", found, "Be root or the daemon's own user.")];
        }
    };
    let is_kept = directory.join(RESERVE).exists();
    let reserve_missing = !is_kept && matches!(is_spool(directory), Ok(true));
    vec![judge_room(&room, place, reserve_missing)]
}

fn judge_room(room: &StatVfs, place: &Path, reserve_missing: bool) -> Finding {
    let (free, inodes) = (room.f_bavail.saturating_mul(room.f_frsize), room.f_favail);
    // Some file systems make inodes as they need them, and say 0 of 0.
    let counts_inodes = room.f_files > 0;
    let mut found = format!("{} free at {}", Size(free), place.display());
    if counts_inodes {
        found += &format!(", and room for {inodes} files");
    }
    let advice = "Make room on this file system, never inside the spool.";
    if reserve_missing {
        let found = format!("{found}; the reserve is given up, and no new mail is taken");
        return Finding::fail("disk", found, advice);
    }
    if free < ROOM_BYTES_MIN || (counts_inodes && inodes < INODES_MIN) {
        return Finding::fail("disk", found, advice);
    }
    if free < ROOM_BYTES_GOOD || (counts_inodes && inodes < INODES_GOOD) {
        return Finding::warn("disk", found, advice);
    }
    Finding::ok("disk", found)
}

/// Whether the daemon runs.
pub(super) async fn daemon(patient: &Patient) -> Vec<Finding> {
    let directory = &patient.configuration.spool.directory;
    vec![match is_answered(directory).await {
        Ok(true) => Finding::ok("daemon", "it answers at its control socket"),
        Ok(false) => {
            let found = format!("none has the spool {}", directory.display());
            Finding::warn("daemon", found, "Start it: systemctl start hedwig-postoffice")
        }
        Err(error) => {
            let advice = "Be root or its user; if it hangs, look at its log and start it again.";
            Finding::fail("daemon", error.to_string(), advice)
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn a_spool_is_its_owners_and_of_a_known_format() {
        let parent = tempfile::tempdir().unwrap();
        let spool = parent.path().join("spool");
        let look = || look_at_spool(&spool).unwrap();
        assert_eq!(look().level, Level::Warn);
        fs::create_dir(&spool).unwrap();
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(look().advice.unwrap().starts_with("chmod 700"));
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(look().level, Level::Ok);
        fs::write(spool.join("format"), r#"{"format":99,"spool":"x"}"#).unwrap();
        let newer = look();
        assert_eq!(newer.level, Level::Fail);
        assert!(newer.found.contains("99"), "{newer:?}");
        fs::write(spool.join("format"), r#"{"format":1,"spool":"x"}"#).unwrap();
        assert_eq!(look().level, Level::Ok);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(spool.join("format"), Some(4711), None).unwrap();
            let foreign = look();
            assert_eq!(foreign.level, Level::Fail);
            assert!(foreign.found.contains("format does not belong"), "{foreign:?}");
        }
    }

    #[test]
    fn a_disk_is_judged_by_bytes_and_by_inodes() {
        let mut room = statvfs("/").unwrap();
        let mut level = |bytes: u64, files: u64, inodes: u64, missing| {
            (room.f_frsize, room.f_bavail, room.f_files, room.f_favail) = (1, bytes, files, inodes);
            judge_room(&room, Path::new("/"), missing).level
        };
        let much = u64::from(u32::MAX);
        assert_eq!(level(much, much, much, false), Level::Ok);
        assert_eq!(level(much, 0, 0, false), Level::Ok, "one that does not count inodes");
        assert_eq!(level(ROOM_BYTES_GOOD - 1, much, much, false), Level::Warn);
        assert_eq!(level(ROOM_BYTES_MIN - 1, much, much, false), Level::Fail);
        assert_eq!(level(much, much, INODES_GOOD - 1, false), Level::Warn);
        assert_eq!(level(much, much, INODES_MIN - 1, false), Level::Fail);
        assert_eq!(level(much, much, much, true), Level::Fail);
    }
}
