//! Checks that the state directory's file system keeps data, and that other users cannot read it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Why the checkpoint store should not be kept here; `None` if there is no objection, or the file system is unknown.
///
/// SQLite's write-ahead log needs shared memory and locks that network file systems do not honour (SQLite, "Write-Ahead
/// Logging"); file systems in memory, and a container's own layer, lose the store.
pub(crate) fn doubt(state_dir: &Path) -> Option<&'static str> {
    let existing = state_dir.ancestors().find(|path| path.exists())?;
    let kind = rustix::fs::statfs(existing).ok()?.f_type;
    about(u64::try_from(kind).ok()? & 0xffff_ffff)
}

/// Which other users may read the state directory, and its mode; `None` if there are none. A directory that does not
/// exist yet is fine: the daemon creates it for its own user only.
pub(crate) fn exposed(state_dir: &Path) -> Option<(&'static str, u32)> {
    let mode = state_dir.metadata().ok()?.permissions().mode() & 0o777;
    let who = match mode {
        mode if mode & 0o007 != 0 => "everybody on this machine",
        mode if mode & 0o070 != 0 => "its group",
        _ => return None,
    };
    Some((who, mode))
}

/// `kind` is a file system's magic number of statfs(2).
fn about(kind: u64) -> Option<&'static str> {
    match kind {
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x5346_414f | 0x00c3_6400 => {
            Some("a network file system: locks and shared memory are not safe there")
        }
        0x0102_1994 | 0x8584_58f6 => Some("held in memory: a restart of the machine forgets the checkpoints"),
        0x794c_7630 => Some("a container's own layer: a new container forgets the checkpoints"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn network_and_memory_are_doubted() {
        assert!(about(0x6969).is_some_and(|doubt| doubt.contains("network")));
        assert!(about(0x0102_1994).is_some_and(|doubt| doubt.contains("memory")));
        assert!(about(0x794c_7630).is_some_and(|doubt| doubt.contains("container")));
        assert_eq!(about(0xef53), None);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_its_parent() {
        assert_eq!(doubt(Path::new("/proc/not/there")), None);
    }

    #[test]
    fn a_directory_for_its_owner_alone_is_not_doubted() {
        let directory = tempfile::tempdir().unwrap();
        for (mode, expected) in [
            (0o700, None),
            (0o750, Some(("its group", 0o750))),
            (0o755, Some(("everybody on this machine", 0o755))),
            (0o701, Some(("everybody on this machine", 0o701))),
        ] {
            std::fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposed(directory.path()), expected);
        }
        assert_eq!(exposed(&directory.path().join("none")), None);
    }
}
