//! Recognises a file after it was renamed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

/// A file's inode and time of birth. The inode alone is not enough: once a file is deleted, a new file may get its
/// inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct FileId {
    pub(super) inode: u64,
    /// Nanoseconds since the epoch; 0 if the file system does not record it.
    pub(super) born_ns: u64,
}

impl FileId {
    pub(super) fn of(file: &Metadata) -> Self {
        let born = file.created().ok().and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
        let born_ns = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or_default();
        Self { inode: file.ino(), born_ns }
    }

    /// Whether this may be the same file. A time of birth that is not recorded is not compared.
    pub(super) fn is(self, file: &Metadata) -> bool {
        let other = Self::of(file);
        let may_be_twins = self.born_ns == 0 || other.born_ns == 0;
        self.inode == other.inode && (may_be_twins || self.born_ns == other.born_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_inode_of_one_that_is_gone_is_another_file() {
        let file = tempfile::tempfile().unwrap().metadata().unwrap();
        let id = FileId::of(&file);
        assert!(id.is(&file));
        assert!(FileId { born_ns: 0, ..id }.is(&file), "a file system that does not say when");
        assert!(!FileId { inode: id.inode + 1, ..id }.is(&file));
        if id.born_ns > 0 {
            assert!(!FileId { born_ns: id.born_ns - 1, ..id }.is(&file));
        }
    }
}
