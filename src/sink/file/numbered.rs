//! The numbered names that full files are given, and the renaming that replaces nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// `out.ndjson.3` of `out.ndjson`.
pub(super) fn name(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Whether something bears this name, a link that leads nowhere too.
pub(super) async fn is_taken(name: &Path) -> std::io::Result<bool> {
    match tokio::fs::symlink_metadata(name).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `least`, or when that is taken the number after the highest in use: numbers go up with time, and gaps are not filled.
pub(super) async fn free(path: &Path, least: u64) -> std::io::Result<u64> {
    if !is_taken(&name(path, least)).await? {
        return Ok(least);
    }
    let prefix = [path.file_name().unwrap_or_default().as_encoded_bytes(), b"."].concat();
    let mut highest = least;
    let mut entries = tokio::fs::read_dir(directory(path)).await?;
    while let Some(entry) = entries.next_entry().await? {
        highest = number(entry.file_name().as_encoded_bytes(), &prefix).map_or(highest, |found| found.max(highest));
    }
    Ok(highest + 1)
}

/// The number a file bears. Those that no sink reaches, dates with a time of day for instance, are nobody's.
fn number(name: &[u8], prefix: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(name.strip_prefix(prefix)?).ok()?;
    digits.parse::<u32>().ok().map(u64::from)
}

/// The directory a file lies in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Gives a file another name.
///
/// # Errors
/// Something has that name already; nothing was changed then.
pub(super) async fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // What file systems say that have no such renaming (renameat2(2)), NFS and some in user space.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_once_looked(from, to).await,
        renamed => Ok(renamed?),
    }
}

/// As [`rename`], in two steps: between them only another program could take the name.
async fn rename_once_looked(from: &Path, to: &Path) -> std::io::Result<()> {
    if is_taken(to).await? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    tokio::fs::rename(from, to).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_is_taken_is_left_alone_by_either_way_of_renaming() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("a.1"));
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "old").unwrap();
        assert_eq!(rename(&from, &to).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(rename_once_looked(&from, &to).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "old");
        rename(&from, &directory.path().join("a.2")).await.unwrap();
        rename_once_looked(&directory.path().join("a.2"), &directory.path().join("a.3")).await.unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join("a.3")).unwrap(), "new");
    }

    #[tokio::test]
    async fn numbers_go_up_over_gaps_and_over_what_is_no_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert_eq!(free(&path, 1).await.unwrap(), 1);
        for name in ["a.1", "a.4", "a.20260101120000", "a.9.gz", "b.8", "a.x"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(free(&path, 1).await.unwrap(), 5);
        assert_eq!(free(&path, 2).await.unwrap(), 2);
        std::os::unix::fs::symlink("nowhere", directory.path().join("a.5")).unwrap();
        assert_eq!(free(&path, 5).await.unwrap(), 6);
    }
}
