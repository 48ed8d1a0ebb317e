//! The numbered names of full files, and a rename that replaces no other file.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::identity::FileId;

/// The suffixes by which other programs recognise compressed files. The number is put before them.
const ENDINGS: [&[u8]; 2] = [b".gz", b".zst"];

/// Splits a path into its stem and the suffix that the number is put before.
fn split(path: &Path) -> (&[u8], &[u8]) {
    let whole = path.as_os_str().as_bytes();
    let split = |ending: &&'static [u8]| Some((whole.strip_suffix(*ending)?, *ending));
    ENDINGS.iter().find_map(split).unwrap_or((whole, b""))
}

/// The numbered name: `out.ndjson.3` for `out.ndjson`, `out.ndjson.3.gz` for `out.ndjson.gz`.
pub(super) fn name(path: &Path, number: u64) -> PathBuf {
    let (stem, ending) = split(path);
    let name = [stem, format!(".{number}").as_bytes(), ending].concat();
    OsStr::from_bytes(&name).into()
}

/// The path that [`name`] would make this name from. `None` if the name has no number.
pub(crate) fn unnumbered(name: &Path) -> Option<PathBuf> {
    let (stem, ending) = split(name);
    let at = stem.iter().rposition(|byte| *byte == b'.')?;
    let number = &stem[at + 1..];
    let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    is_number.then(|| OsStr::from_bytes(&[&stem[..at], ending].concat()).into())
}

/// Finds this file in the directory of `path`, whatever its name.
pub(super) async fn find(path: &Path, id: FileId) -> io::Result<Option<(PathBuf, Metadata)>> {
    let mut entries = match tokio::fs::read_dir(directory(path)).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    while let Some(entry) = entries.next_entry().await? {
        if entry.ino() != id.inode {
            continue;
        }
        if let Some(found) = look(&entry.path()).await?.filter(|found| found.is_file() && id.is(found)) {
            return Ok(Some((entry.path(), found)));
        }
    }
    Ok(None)
}

/// The metadata of what is at a path. A symbolic link is not followed.
pub(super) async fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match tokio::fs::symlink_metadata(path).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the name is in use, even by a symbolic link that leads nowhere.
async fn is_taken(name: &Path) -> io::Result<bool> {
    Ok(look(name).await?.is_some())
}

/// The next free number: `least`, or if that is taken, one above the highest number in use. Numbers only go up: gaps
/// are not filled.
pub(super) async fn free(path: &Path, least: u64) -> io::Result<u64> {
    if !is_taken(&name(path, least)).await? {
        return Ok(least);
    }
    let mut highest = least;
    let mut entries = tokio::fs::read_dir(directory(path)).await?;
    while let Some(entry) = entries.next_entry().await? {
        highest = number(&entry.path(), path).map_or(highest, |found| found.max(highest));
    }
    Ok(highest + 1)
}

/// The number in `name`, if `name` is a numbered name of `path`. Numbers beyond 32 bits do not count: no sink gets that
/// far, but dates with a time of day look like that.
fn number(name: &Path, path: &Path) -> Option<u64> {
    let (stem, ending) = split(Path::new(path.file_name()?));
    let rest = name.file_name()?.as_bytes().strip_prefix(stem)?.strip_prefix(b".")?;
    let digits = std::str::from_utf8(rest.strip_suffix(ending)?).ok()?;
    digits.parse::<u32>().ok().map(u64::from)
}

pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Renames a file.
///
/// # Errors
/// The name `to` is taken, or the rename failed. Nothing was changed.
pub(super) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // These are the errors of file systems without RENAME_NOREPLACE (renameat2(2)), such as NFS and some FUSE ones.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_once_looked(from, to).await,
        renamed => Ok(renamed?),
    }
}

/// Like [`rename`], in two steps. Another program could take the name between them.
async fn rename_once_looked(from: &Path, to: &Path) -> io::Result<()> {
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

    #[tokio::test]
    async fn a_number_stands_before_the_ending_of_a_compressed_file() {
        for (path, expected) in [
            ("/x/out.ndjson", "/x/out.ndjson.7"),
            ("/x/out.ndjson.gz", "/x/out.ndjson.7.gz"),
            ("/x/out.zst", "/x/out.7.zst"),
            ("/x.gz/out", "/x.gz/out.7"),
        ] {
            assert_eq!(name(Path::new(path), 7), Path::new(expected));
            assert_eq!(unnumbered(Path::new(expected)).as_deref(), Some(Path::new(path)));
            assert_eq!(unnumbered(Path::new(path)), None);
        }
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.1.gz", "a.3.gz", "a.8", "a.gz.9"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(free(&directory.path().join("a.gz"), 1).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_file_is_found_under_any_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "mine").unwrap();
        std::fs::write(directory.path().join("b"), "another").unwrap();
        let id = FileId::of(&std::fs::metadata(&path).unwrap());
        std::fs::rename(&path, directory.path().join("a-20260101")).unwrap();
        let (found, file) = find(&path, id).await.unwrap().unwrap();
        assert_eq!((found.clone(), file.len()), (directory.path().join("a-20260101"), 4));
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::rename(&found, elsewhere.path().join("a")).unwrap();
        assert!(find(&path, id).await.unwrap().is_none());
        assert!(find(&directory.path().join("gone/a"), id).await.unwrap().is_none());
    }
}
