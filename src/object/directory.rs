//! Objects that are files below a directory.

pub(super) mod body;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::notification::directory::{Directory, Steps, arrived_ms, file_etag, modified_ms};
use crate::object::Objects;
use crate::object::body::{Body, Snapshot};
use crate::object::directory::body::{FileBody, STEP_BYTES, failed, is_same};
use crate::object::version::{Condition, Part, Range, ReadError, Reading, Version, check_range};

/// The files below one directory.
#[derive(Clone, Debug)]
pub struct DirectoryObjects {
    directory: Directory,
}

impl DirectoryObjects {
    pub fn new(directory: Directory) -> Self {
        Self { directory }
    }

    /// The directory of the files, for walks.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// `None` if the file still has the entity tag in `Condition::UnlessEtag`.
    async fn open(
        &self,
        object: &ObjectId,
        condition: &Condition,
    ) -> Result<Option<(File, Metadata, Version)>, ReadError> {
        if *object.bucket != *self.directory.bucket() {
            let reason = format!("it is not below {}", self.directory.bucket());
            return Err(ReadError::Denied { object: object.clone(), kind: FaultKind::Denied, reason });
        }
        let (file, metadata) = self.file(object).await?;
        let version = version(&metadata);
        match condition {
            Condition::UnlessEtag(etag) if *etag == version.etag => Ok(None),
            Condition::OnlyEtag(etag) if *etag != version.etag => Err(ReadError::Changed { object: object.clone() }),
            _ => Ok(Some((file, metadata, version))),
        }
    }

    async fn file(&self, object: &ObjectId) -> Result<(File, Metadata), ReadError> {
        let key = Arc::clone(&object.key);
        let opened = self.directory.call(move |directory, _| directory.open_file(&key)).await;
        opened.map_err(|error| failed(object, &error))
    }
}

/// Reads the bytes from `start` up to, not including, `end`, and afterwards the file's metadata.
fn read_between(file: &File, start: u64, end: u64, steps: &Steps) -> io::Result<(Bytes, Metadata)> {
    let mut bytes = BytesMut::zeroed(usize::try_from(end - start).unwrap_or_default());
    let mut at = start;
    for piece in bytes.chunks_mut(STEP_BYTES) {
        file.read_exact_at(piece, at)?;
        at += piece.len() as u64;
        steps.step();
    }
    Ok((bytes.freeze(), file.metadata()?))
}

impl Objects for DirectoryObjects {
    async fn read(&self, object: &ObjectId, condition: Condition) -> Result<Reading<Snapshot>, ReadError> {
        let Some((file, metadata, version)) = self.open(object, &condition).await? else {
            return Ok(Reading::Unchanged);
        };
        let body = FileBody::new(object, &self.directory, file, &version, arrived_ms(&metadata));
        Ok(Reading::Changed(Snapshot { version, body: Body::File(Box::new(body)) }))
    }

    async fn read_range(
        &self,
        object: &ObjectId,
        condition: Condition,
        range: Range,
    ) -> Result<Reading<Part>, ReadError> {
        check_range(object, range)?;
        let Some((file, _, version)) = self.open(object, &condition).await? else {
            return Ok(Reading::Unchanged);
        };
        let size = version.size_bytes;
        let (start, end) = match range {
            Range::Between(start, end) => (start, end.min(size)),
            Range::Last(length) => (size.saturating_sub(length), size),
        };
        if start >= end {
            let reason = format!("the range begins at byte {start} of {size}");
            return Err(ReadError::Damaged { object: object.clone(), reason });
        }
        let changed = || ReadError::Changed { object: object.clone() };
        let read = self.directory.call(move |_, steps| read_between(&file, start, end, steps)).await;
        let (bytes, now) = read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => failed(object, &error),
        })?;
        // A file that only grew counts as unchanged, as in [`FileBody`].
        if now.len() <= size && !is_same(&now, &version.etag, size, version.last_modified_ms) {
            return Err(changed());
        }
        Ok(Reading::Changed(Part { version, start, bytes }))
    }

    async fn etag(&self, object: &ObjectId) -> Result<Box<str>, ReadError> {
        let (_, metadata) = self.file(object).await?;
        Ok(file_etag(&metadata))
    }
}

fn version(metadata: &Metadata) -> Version {
    Version {
        etag: file_etag(metadata),
        version_id: None,
        last_modified_ms: modified_ms(metadata),
        size_bytes: metadata.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
    use tempfile::TempDir;

    use super::*;
    use crate::notification::directory::hung::Hung;
    use crate::object::version::CHUNK_BYTES_MAX;

    struct World {
        place: TempDir,
        objects: DirectoryObjects,
    }

    impl World {
        async fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let objects = DirectoryObjects::new(Directory::open(place.path(), Duration::from_secs(60)).await.unwrap());
            Self { place, objects }
        }

        fn write(&self, key: &str, bytes: &[u8]) {
            fs::write(self.place.path().join(key), bytes).unwrap();
        }

        fn id(&self, key: &str) -> ObjectId {
            ObjectId::new(self.objects.directory().bucket(), key)
        }

        async fn open(&self, key: &str) -> Snapshot {
            match self.objects.read(&self.id(key), Condition::Any).await.unwrap() {
                Reading::Changed(snapshot) => snapshot,
                Reading::Unchanged => panic!("nothing was excluded"),
            }
        }

        async fn error(&self, key: &str) -> ReadError {
            self.objects.read(&self.id(key), Condition::Any).await.unwrap_err()
        }
    }

    async fn whole(mut body: Body) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            assert!((1..=CHUNK_BYTES_MAX).contains(&chunk.len()));
            bytes.extend_from_slice(&chunk);
        }
        assert!(body.next().await.is_none());
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_file_is_read_whole_in_bounded_chunks() {
        let world = World::new().await;
        for size in [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX + 7] {
            let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            world.write("f", &content);
            let snapshot = world.open("f").await;
            assert_eq!(snapshot.version.size_bytes, size as u64);
            assert!(whole(snapshot.body).await.unwrap() == content, "{size} bytes");
        }
    }

    #[tokio::test]
    async fn conditions_are_kept() {
        let world = World::new().await;
        world.write("f", b"one");
        let etag = world.open("f").await.version.etag;
        let read = |condition| async { world.objects.read(&world.id("f"), condition).await };
        assert!(matches!(read(Condition::UnlessEtag(etag.clone())).await, Ok(Reading::Unchanged)));
        assert!(matches!(read(Condition::OnlyEtag(etag.clone())).await, Ok(Reading::Changed(_))));
        world.write("f", b"one and more");
        assert!(matches!(read(Condition::UnlessEtag(etag.clone())).await, Ok(Reading::Changed(_))));
        assert!(matches!(read(Condition::OnlyEtag(etag)).await, Err(ReadError::Changed { .. })));
    }

    #[tokio::test]
    async fn what_is_appended_during_a_read_is_left_to_the_next() {
        let world = World::new().await;
        world.write("f", b"one\n");
        let snapshot = world.open("f").await;
        let mut file = fs::OpenOptions::new().append(true).open(world.place.path().join("f")).unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(whole(snapshot.body).await.unwrap(), b"one\n");
    }

    #[tokio::test]
    async fn a_file_replaced_during_a_read_is_read_as_it_was() {
        let world = World::new().await;
        world.write("f", b"old");
        let snapshot = world.open("f").await;
        world.write("new", b"new content");
        fs::rename(world.place.path().join("new"), world.place.path().join("f")).unwrap();
        assert_eq!(whole(snapshot.body).await.unwrap(), b"old");
    }

    #[tokio::test]
    async fn a_file_cut_off_during_a_read_has_changed() {
        let world = World::new().await;
        world.write("f", &vec![b'x'; 2 * CHUNK_BYTES_MAX]);
        let snapshot = world.open("f").await;
        world.write("f", b"short");
        assert!(matches!(whole(snapshot.body).await, Err(ReadError::Changed { .. })));
    }

    #[tokio::test]
    async fn a_key_never_leads_out_of_the_directory() {
        let (world, outside) = (World::new().await, tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), b"secret").unwrap();
        symlink(outside.path().join("secret"), world.place.path().join("link")).unwrap();
        symlink(outside.path(), world.place.path().join("folder")).unwrap();
        let absolute = outside.path().join("secret").display().to_string();
        for key in ["link", "folder/secret", "../secret", "a/../../secret", &absolute, "", "."] {
            assert!(matches!(world.error(key).await, ReadError::Denied { .. }), "{key}");
        }
        let elsewhere = ObjectId::new("/etc", "passwd");
        let read = world.objects.read(&elsewhere, Condition::Any).await;
        assert!(matches!(read, Err(ReadError::Denied { .. })));
    }

    #[tokio::test]
    async fn what_takes_a_file_s_name_while_it_is_opened_is_never_read_instead() {
        let (world, outside) = (World::new().await, tempfile::tempdir().unwrap());
        let (root, secret) = (world.place.path().to_owned(), outside.path().join("secret"));
        fs::write(&secret, b"secret").unwrap();
        fs::create_dir(root.join("d")).unwrap();
        world.write("d/f", b"own");
        let (pipe, link) = (root.join("pipe"), root.join("link"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink(&secret, &link).unwrap();
        symlink(outside.path(), root.join("folder")).unwrap();
        fs::write(outside.path().join("f"), b"secret").unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let swapper = std::thread::spawn(move || {
            let mut rounds = [("d/f", "link"), ("d/f", "pipe"), ("d", "folder")].into_iter().cycle();
            while !over.load(Ordering::Relaxed) {
                let (one, other) = rounds.next().unwrap();
                for _ in 0..2 {
                    renameat_with(CWD, root.join(one), CWD, root.join(other), RenameFlags::EXCHANGE).unwrap();
                }
            }
        });
        let (mut read, mut refused) = (0, 0);
        while read < 200 || refused < 200 {
            match world.objects.read(&world.id("d/f"), Condition::Any).await {
                Ok(Reading::Changed(snapshot)) => {
                    read += 1;
                    // A renamed file counts as changed, so reading may fail.
                    if let Ok(content) = whole(snapshot.body).await {
                        assert_eq!(content, b"own");
                    }
                }
                Ok(Reading::Unchanged) => panic!("nothing was excluded"),
                Err(error) => {
                    refused += 1;
                    assert_ne!(error.kind(), FaultKind::Timeout, "{error}");
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
    }

    #[tokio::test]
    async fn what_is_no_file_is_told_apart() {
        let world = World::new().await;
        fs::create_dir(world.place.path().join("folder")).unwrap();
        mknodat(CWD, world.place.path().join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = UnixListener::bind(world.place.path().join("socket")).unwrap();
        symlink("pipe", world.place.path().join("to-pipe")).unwrap();
        world.write("f", b"");
        assert!(matches!(world.error("gone").await, ReadError::NotFound { .. }));
        assert!(matches!(world.error("f/below").await, ReadError::NotFound { .. }));
        for key in ["folder", "pipe", "to-pipe", "socket"] {
            assert!(matches!(world.error(key).await, ReadError::Damaged { .. }), "{key}");
        }
    }

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_fails_every_read() {
        let (mut world, hung) = (World::new().await, Hung::new());
        world.write("f", b"0123456789");
        world.objects.directory = Directory::open(world.place.path(), Duration::from_millis(200)).await.unwrap();
        let body = world.open("f").await.body;
        hung.fill(world.objects.directory()).await;
        let is_timeout = |error: ReadError| error.kind() == FaultKind::Timeout;
        assert!(whole(body).await.is_err_and(is_timeout));
        let (id, any) = (world.id("f"), Condition::Any);
        assert!(world.objects.read(&id, any.clone()).await.is_err_and(is_timeout));
        assert!(world.objects.read_range(&id, any, Range::Last(3)).await.is_err_and(is_timeout));
        assert!(world.objects.etag(&id).await.is_err_and(is_timeout));
        hung.release();
    }

    #[tokio::test]
    async fn ranges_are_read_from_either_end() {
        let world = World::new().await;
        world.write("f", b"0123456789");
        for (range, start, expected) in [
            (Range::Between(2, 5), 2, &b"234"[..]),
            (Range::Between(8, 99), 8, b"89"),
            (Range::Last(3), 7, b"789"),
            (Range::Last(99), 0, b"0123456789"),
        ] {
            let read = world.objects.read_range(&world.id("f"), Condition::Any, range).await.unwrap();
            let Reading::Changed(part) = read else { panic!("nothing was excluded") };
            assert_eq!((part.start, &part.bytes[..]), (start, expected), "{range:?}");
            assert_eq!(part.version.size_bytes, 10);
        }
        let past = world.objects.read_range(&world.id("f"), Condition::Any, Range::Between(10, 11)).await;
        assert!(matches!(past, Err(ReadError::Damaged { .. })));
    }
}
