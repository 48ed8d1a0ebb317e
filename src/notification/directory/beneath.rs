//! Opens files beneath a directory without following links: anyone who may write there could replace a name between two
//! looks at it.
//!
//! Each folder is opened by its name within the folder before it. Since `..` is refused, this equals `openat2` with
//! `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, and works on older kernels and in containers too.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, statat};

/// A handle of what is at a path below the root, links included. It only serves to ask for metadata, and for
/// [`reopen`]. Getting it never blocks, and does nothing to a device.
///
/// # Errors
/// `NotFound`, or `NotADirectory` if a link or a file stands in the place of a folder.
pub(super) fn locate(root: &Path, below: &Path) -> io::Result<File> {
    Ok(descend(root, below, OFlags::PATH)?.into())
}

/// Opens the file of a handle for reading, whatever has its name now. With a pipe this would wait for a writer, so ask
/// for the metadata first.
///
/// # Errors
/// If the file may not be read, or if `/proc` is not mounted.
pub(super) fn reopen(located: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", located.as_raw_fd())).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("/proc/self/fd is not there: mount /proc"),
        _ => error,
    })
}

/// Calls `found` with each name in a folder, and whether that is a folder too, until `found` returns `false`.
///
/// # Errors
/// If the folder cannot be opened as a folder, or cannot be read to its end.
pub(super) fn list(root: &Path, below: &Path, mut found: impl FnMut(&OsStr, bool) -> bool) -> io::Result<()> {
    let folder = descend(root, below, OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_directory = match entry.file_type() {
            // Not all file systems report the type.
            FileType::Unknown => match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => FileType::from_raw_mode(status.st_mode).is_dir(),
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
            kind => kind.is_dir(),
        };
        if !found(OsStr::from_bytes(name.to_bytes()), is_directory) {
            break;
        }
    }
    Ok(())
}

fn descend(root: &Path, below: &Path, last: OFlags) -> io::Result<OwnedFd> {
    const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
    const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
    let mut names = below.components().peekable();
    let flags = |is_last: bool| ALWAYS | if is_last { last } else { FOLDER };
    let mut at = open(root, flags(names.peek().is_none()), Mode::empty())?;
    while let Some(name) = names.next() {
        let Component::Normal(name) = name else {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the path leads out of the directory"));
        };
        at = openat(&at, name, flags(names.peek().is_none()), Mode::empty())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed_wherever_it_stands() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("folder")).unwrap();
        fs::create_dir(place.path().join("outside")).unwrap();
        fs::write(place.path().join("outside/f"), "secret").unwrap();
        fs::write(root.join("folder/f"), "own").unwrap();
        symlink("../outside", root.join("to-folder")).unwrap();
        symlink("../outside/f", root.join("to-file")).unwrap();
        symlink(&root, place.path().join("to-root")).unwrap();

        let read = |below: &str| io::read_to_string(reopen(&locate(&root, Path::new(below))?)?);
        assert_eq!(read("folder/f").unwrap(), "own");
        assert_eq!(read("to-folder/f").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(read("folder/../../outside/f").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(locate(&root, Path::new("to-file")).unwrap().metadata().unwrap().is_symlink());
        assert!(read("to-file").is_err());
        assert!(locate(&place.path().join("to-root"), Path::new("folder/f")).is_err());

        let named = |root: &Path, below: &str| {
            let mut names = Vec::new();
            list(root, Path::new(below), |name, is_directory| {
                names.push((name.to_owned(), is_directory));
                true
            })?;
            names.sort();
            io::Result::Ok(names)
        };
        assert_eq!(
            named(&root, "").unwrap(),
            [("folder".into(), true), ("to-file".into(), false), ("to-folder".into(), false)]
        );
        assert_eq!(named(&root, "folder").unwrap(), [("f".into(), false)]);
        assert!(named(&root, "to-folder").is_err());
        assert!(named(&place.path().join("to-root"), "").is_err());
    }

    #[test]
    fn what_was_located_is_opened_though_another_has_its_name() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("f"), "first").unwrap();
        let located = locate(place.path(), Path::new("f")).unwrap();
        fs::remove_file(place.path().join("f")).unwrap();
        symlink("/etc/passwd", place.path().join("f")).unwrap();
        assert_eq!(io::read_to_string(reopen(&located).unwrap()).unwrap(), "first");
    }
}
