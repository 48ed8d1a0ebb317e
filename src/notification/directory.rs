//! Changes from a local directory laid out like a bucket: the files that a walk finds, and the file at one path.

mod beneath;
mod calls;

#[cfg(test)]
pub(crate) mod hung;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::identity::fault::FaultKind;
use crate::notification::directory::beneath::{list, locate, reopen};
use crate::notification::directory::calls::Calls;
use crate::notification::scan::{Found, ScanError};
use crate::notification::{ObjectChange, ObjectId};

pub(crate) use crate::notification::directory::calls::Steps;

/// No deeper folders are walked.
const DEPTH_MAX: usize = 64;
/// Further entries of a folder are left out.
const ENTRIES_MAX: usize = 1_000_000;

/// A directory that exists. The bucket of its objects is its absolute path, with every link resolved.
#[derive(Clone, Debug)]
pub struct Directory {
    root: Arc<Path>,
    bucket: Arc<str>,
    calls: Calls,
}

impl Directory {
    /// Opens the directory at `path`. A call of its file system fails if it makes no progress for `timeout`.
    ///
    /// # Errors
    /// If the path is not that of a directory, may not be read or is not UTF-8, or if the file system does not answer.
    pub async fn open(path: &Path, timeout: Duration) -> Result<Self, ScanError> {
        let (calls, spelled, place) = (Calls::new(timeout), path.to_owned(), path.display().to_string());
        let resolve = move |_: &Steps| spelled.canonicalize().map(|root| (root.is_dir(), root));
        let (is_directory, root) = match calls.run(resolve).await {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ScanError::Missing { place }),
            Err(error) => {
                let (kind, reason) = (FaultKind::of_file(&error), error.to_string());
                return Err(match kind {
                    FaultKind::Timeout => ScanError::Unavailable { place, kind, reason },
                    _ => ScanError::Denied { place, kind, reason },
                });
            }
        };
        let misconfigured = |reason: &str| {
            let (kind, reason) = (FaultKind::Misconfigured, reason.to_owned());
            ScanError::Denied { place: place.clone(), kind, reason }
        };
        if !is_directory {
            return Err(misconfigured("not a directory"));
        }
        let bucket = root.to_str().ok_or_else(|| misconfigured("its path is not UTF-8"))?.into();
        Ok(Self { root: root.into(), bucket, calls })
    }

    /// Runs a call of the file system on a worker thread. If the call is given up, its result is dropped.
    ///
    /// # Errors
    /// Those of the call; `TimedOut` if it is not answered.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self, &Steps) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let own = self.clone();
        self.calls.run(move |steps| call(&own, steps)).await
    }

    /// The absolute path, which is the bucket of its objects.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path that a key spells, with links not resolved. Does not look at the disk.
    ///
    /// # Errors
    /// `PermissionDenied` if the key itself leads out of the directory.
    fn spelled(&self, key: &str) -> io::Result<PathBuf> {
        let inside = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !key.split('/').all(inside) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the key leads out of the directory"));
        }
        Ok(self.root.join(key))
    }

    /// What is at a path (absolute, or below the root), if that is a file now. For the reports of a watcher.
    ///
    /// # Errors
    /// If the file system does not answer.
    pub async fn find(&self, path: &Path) -> Result<Option<Found>, ScanError> {
        let below = path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || below.components().next().is_none() {
            return Ok(None);
        }
        self.call(move |own, _| Ok(own.at(&below))).await.map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &io::Error) -> ScanError {
        let (kind, reason) = (FaultKind::of_file(error), error.to_string());
        ScanError::Unavailable { place: self.bucket.to_string(), kind, reason }
    }

    /// Begins to walk the directory, in the order of keys.
    pub fn walk(&self) -> Walk {
        Walk { directory: self.clone(), open: Vec::new(), begun: false }
    }

    /// Opens the file that a key leads to, maybe through links that stay inside the directory. Blocks.
    ///
    /// # Errors
    /// `PermissionDenied` if the key leads out of the directory; `InvalidInput` if it does not lead to a file.
    pub(crate) fn open_file(&self, key: &str) -> io::Result<(File, Metadata)> {
        let (located, metadata) = self.target(key)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        Ok((reopen(&located)?, metadata))
    }

    /// Opens what a key leads to, file or not, and reads its metadata.
    fn target(&self, key: &str) -> io::Result<(File, Metadata)> {
        let resolved = self.spelled(key)?.canonicalize()?;
        let below = resolved
            .strip_prefix(&self.root)
            .map_err(|_| io::Error::new(io::ErrorKind::PermissionDenied, "a link leads out of the directory"))?;
        let located = locate(&self.root, below)?;
        let metadata = located.metadata()?;
        Ok((located, metadata))
    }

    /// What is at a path below the root. `None` if it is neither a file nor a link, or is gone by now.
    fn at(&self, below: &Path) -> Option<Found> {
        let place = || self.root.join(below).display().to_string();
        let unreadable = |reason: String| Some(Found::Unreadable { place: place(), reason });
        let Some(key) = below.to_str() else {
            return unreadable("its name is not UTF-8".to_owned());
        };
        let metadata = match locate(&self.root, below).and_then(|located| located.metadata()) {
            Ok(metadata) if metadata.is_symlink() => match self.target(key) {
                Ok((_, target)) if target.is_dir() => {
                    return unreadable("links to directories are not followed".to_owned());
                }
                Ok((_, target)) => target,
                Err(error) => return unreadable(error.to_string()),
            },
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Found::Refused { place: place(), reason: error.to_string() }),
        };
        metadata.is_file().then(|| {
            Found::Object(ObjectChange {
                object: ObjectId::new(Arc::clone(&self.bucket), key),
                etag: Some(file_etag(&metadata)),
                size_bytes: Some(metadata.len()),
                is_archived: false,
                written_at_ms: arrived_ms(&metadata),
            })
        })
    }
}

/// A walk under way.
#[derive(Debug)]
pub struct Walk {
    directory: Directory,
    /// The folders from the root down to the current one, each with its remaining entries, the next one last.
    open: Vec<Vec<Entry>>,
    begun: bool,
}

#[derive(Debug)]
struct Entry {
    /// Relative to the root.
    path: PathBuf,
    is_directory: bool,
}

impl Walk {
    /// The next things found, at most `max` of them, and the rest of the walk. `None` after the last.
    ///
    /// # Errors
    /// If the directory itself cannot be read, or if the file system does not answer. Faults further down are returned
    /// as things found.
    pub async fn next_page(mut self, max: usize) -> Result<Option<(Self, Vec<Found>)>, ScanError> {
        let directory = self.directory.clone();
        let page = directory.call(move |_, steps| Ok(self.page(max, steps)?.map(|page| (self, page))));
        page.await.map_err(|error| directory.unavailable(&error))
    }

    fn page(&mut self, max: usize, steps: &Steps) -> io::Result<Option<Vec<Found>>> {
        if !self.begun {
            let (entries, problem) = self.entries(Path::new(""), steps)?;
            self.begun = true;
            self.open.push(entries);
            if let Some(problem) = problem {
                return Ok(Some(vec![problem]));
            }
        }
        let mut page = Vec::new();
        while page.len() < max {
            steps.step();
            let Some(folder) = self.open.last_mut() else {
                break;
            };
            match folder.pop() {
                None => drop(self.open.pop()),
                Some(entry) if entry.is_directory => page.extend(self.descend(&entry.path, steps)),
                Some(entry) => page.extend(self.directory.at(&entry.path)),
            }
        }
        Ok(if page.is_empty() && self.open.is_empty() { None } else { Some(page) })
    }

    fn descend(&mut self, path: &Path, steps: &Steps) -> Option<Found> {
        let place = self.directory.root.join(path).display().to_string();
        if self.open.len() >= DEPTH_MAX {
            return Some(Found::Refused { place, reason: format!("deeper than {DEPTH_MAX} folders") });
        }
        match self.entries(path, steps) {
            Ok((entries, problem)) => {
                self.open.push(entries);
                problem
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Found::Refused { place, reason: error.to_string() }),
        }
    }

    /// A folder's entries in descending order, and why some are left out, if so.
    fn entries(&self, below: &Path, steps: &Steps) -> io::Result<(Vec<Entry>, Option<Found>)> {
        let mut entries = Vec::new();
        let mut problem = None;
        list(&self.directory.root, below, |name, is_directory| {
            steps.step();
            if entries.len() == ENTRIES_MAX {
                let place = self.directory.root.join(below).display().to_string();
                let reason = format!("more than {ENTRIES_MAX} entries; the rest is left out");
                problem = Some(Found::Refused { place, reason });
                return false;
            }
            entries.push(Entry { path: below.join(name), is_directory });
            true
        })?;
        entries.sort_by_cached_key(|entry| std::cmp::Reverse(entry.order()));
        Ok((entries, problem))
    }
}

impl Entry {
    /// Sorts like the keys below: all keys in a folder begin with its name and a slash.
    fn order(&self) -> Vec<u8> {
        let mut order = self.path.as_os_str().as_encoded_bytes().to_vec();
        if self.is_directory {
            order.push(b'/');
        }
        order
    }
}

/// A file's entity tag. It changes with every write that would change the tag in a bucket, even if the writer sets the
/// modification time back (`touch -d`, `rsync --times`, `cp -p`): nobody can set the time of the last change.
pub(crate) fn file_etag(metadata: &Metadata) -> Box<str> {
    let nanoseconds = |secs: i64, rest: i64| i128::from(secs) * 1_000_000_000 + i128::from(rest);
    let modified = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
    let changed = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
    format!("{modified}-{changed}-{}-{}", metadata.len(), metadata.ino()).into()
}

/// When the file was last written, in milliseconds since the epoch.
pub(crate) fn modified_ms(metadata: &Metadata) -> Option<i64> {
    i64::try_from(metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// When the file came to its present state, in milliseconds since the epoch: its last write or, if later, its last
/// change. A copy may keep the write time of its original.
pub(crate) fn arrived_ms(metadata: &Metadata) -> Option<i64> {
    let changed_ms = metadata.ctime().checked_mul(1000)?.checked_add(metadata.ctime_nsec() / 1_000_000)?;
    Some(modified_ms(metadata)?.max(changed_ms))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::notification::directory::hung::Hung;

    async fn open(path: &Path) -> Result<Directory, ScanError> {
        Directory::open(path, Duration::from_secs(60)).await
    }

    async fn laid_out(files: &[&str]) -> (TempDir, Directory) {
        let place = tempfile::tempdir().unwrap();
        for file in files {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.as_bytes()).unwrap();
        }
        let directory = open(place.path()).await.unwrap();
        (place, directory)
    }

    async fn walked(directory: &Directory, max: usize) -> Vec<String> {
        let mut walk = directory.walk();
        let mut told = Vec::new();
        while let Some((rest, page)) = walk.next_page(max).await.unwrap() {
            walk = rest;
            assert!(page.len() <= max);
            told.extend(page.into_iter().map(|found| match found {
                Found::Object(change) => change.object.key.to_string(),
                Found::Unreadable { reason, .. } | Found::Refused { reason, .. } => format!("! {reason}"),
            }));
        }
        told
    }

    #[tokio::test]
    async fn a_walk_finds_every_file_once_in_the_order_of_keys() {
        let files = ["a.json", "a/1.json", "a/2/x.json", "a/b", "a0", "date=2024-01-01/part 1.json", ".hidden/f", "z"];
        let (_place, directory) = laid_out(&files).await;
        let mut expected: Vec<&str> = files.to_vec();
        expected.sort_unstable();
        for max in [1, 2, 3, 100] {
            assert_eq!(walked(&directory, max).await, expected, "pages of {max}");
        }
    }

    #[tokio::test]
    async fn links_are_followed_to_files_inside_only() {
        let (outside, _) = laid_out(&["secret"]).await;
        let (place, directory) = laid_out(&["real/f"]).await;
        symlink(outside.path().join("secret"), place.path().join("a-out")).unwrap();
        symlink(outside.path(), place.path().join("b-out")).unwrap();
        symlink(place.path().join("real/f"), place.path().join("c-in")).unwrap();
        symlink(place.path().join("real"), place.path().join("d-folder")).unwrap();
        symlink(place.path(), place.path().join("real/loop")).unwrap();
        assert_eq!(
            walked(&directory, 10).await,
            [
                "! a link leads out of the directory",
                "! a link leads out of the directory",
                "c-in",
                "! links to directories are not followed",
                "real/f",
                "! links to directories are not followed",
            ]
        );
        for key in ["a-out", "b-out/secret", "../secret", "/etc/passwd", "real/../../x", "", "real//f", "."] {
            assert!(directory.open_file(key).is_err(), "{key}");
        }
        for key in ["real/f", "c-in", "d-folder/f"] {
            let (mut file, _) = directory.open_file(key).unwrap();
            assert_eq!(io::read_to_string(&mut file).unwrap(), "real/f", "{key}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_utf_8_is_told_and_does_not_end_the_walk() {
        let (place, directory) = laid_out(&["a", "z"]).await;
        fs::write(place.path().join(OsStr::from_bytes(b"m\xff")), b"").unwrap();
        assert_eq!(walked(&directory, 10).await, ["a", "! its name is not UTF-8", "z"]);
    }

    #[tokio::test]
    async fn a_watcher_s_path_stands_for_the_object_a_walk_finds() {
        let (place, directory) = laid_out(&["a/b.json"]).await;
        let root = place.path().canonicalize().unwrap();
        let Ok(Some(Found::Object(change))) = directory.find(&root.join("a/b.json")).await else {
            panic!("the file is there");
        };
        assert_eq!(change.object.to_string(), format!("file://{}/a/b.json", root.display()));
        assert_eq!(change.size_bytes, Some(8));
        for path in [root.join("a"), root.clone(), root.join("gone"), root.join("../x"), PathBuf::from("/etc/passwd")] {
            assert!(directory.find(&path).await.unwrap().is_none(), "{}", path.display());
        }
    }

    #[tokio::test]
    async fn an_entity_tag_changes_with_the_file() {
        let (place, _) = laid_out(&["f"]).await;
        let path = place.path().join("f");
        let tag = || file_etag(&fs::metadata(&path).unwrap());
        let before = tag();
        assert_eq!(before, tag());
        fs::write(&path, b"longer than before").unwrap();
        assert_ne!(before, tag());
    }

    #[tokio::test]
    async fn an_entity_tag_changes_though_size_and_time_of_modification_are_set_back() {
        let (place, _) = laid_out(&["f"]).await;
        let path = place.path().join("f");
        let tag = || file_etag(&fs::metadata(&path).unwrap());
        let (before, modified) = (tag(), fs::metadata(&path).unwrap().modified().unwrap());
        // The clock of a file system may stand still for some milliseconds.
        while tag() == before {
            fs::write(&path, b"g").unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
    }

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_fails_a_walk_and_a_look() {
        let (place, directory) = laid_out(&["f"]).await;
        let directory = Directory { calls: Calls::new(Duration::from_millis(200)), ..directory };
        let hung = Hung::new();
        hung.fill(&directory).await;
        let is_timeout = |error: ScanError| error.kind() == FaultKind::Timeout;
        assert!(directory.walk().next_page(10).await.is_err_and(is_timeout));
        assert!(directory.find(&place.path().join("f")).await.is_err_and(is_timeout));
        hung.release();
    }

    #[tokio::test]
    async fn what_is_no_directory_is_refused() {
        let (place, _) = laid_out(&["f"]).await;
        assert!(matches!(open(&place.path().join("f")).await, Err(ScanError::Denied { .. })));
        assert!(matches!(open(&place.path().join("gone")).await, Err(ScanError::Missing { .. })));
    }
}
