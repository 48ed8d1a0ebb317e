//! A file of lines: each event once, its end remembered as the committed length.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use tokio::fs::File;
use tokio::fs::OpenOptions;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncSeekExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::batch::Batch;
use crate::sink::DeliveryError;
use crate::sink::FileConfig;
use crate::sink::Manifest;
use crate::sink::Position;
use crate::sink::Receipt;

/// A file sink. What lies in the file beyond the committed length is the beginning of a batch that was sealed but not
/// yet committed: it is completed, not cut off, so that whoever follows the file never reads a line twice.
pub struct FileSink {
    config: FileConfig,
    /// Where the last committed batch ends.
    position: Position,
    open: Option<File>,
}

impl FileSink {
    /// A sink that continues at `position`, where the checkpoint store says its last batch ended.
    pub fn new(config: FileConfig, position: Option<Position>) -> Self {
        let position = position.unwrap_or(Position { number: 1, len: 0, opened_at_ms: 0 });
        Self { config, position, open: None }
    }

    /// Where a file goes when the next one begins.
    fn rotated(&self, number: u64) -> PathBuf {
        let mut name = self.config.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Whether the whole of a sealed batch is in the file already: it was written, and the process ended before the
    /// commit.
    pub(super) async fn settled(&mut self, manifest: &Manifest) -> Result<Option<Receipt>, DeliveryError> {
        let tail = self.tail(manifest.bytes).await?;
        if tail.len() as u64 != manifest.bytes || blake3::hash(&tail) != manifest.hash {
            return Ok(None);
        }
        self.sync().await?;
        self.position.len += manifest.bytes;
        Ok(Some(Receipt::at(self.position)))
    }

    pub(super) async fn deliver(&mut self, batch: &Batch, now_ms: i64) -> Result<Receipt, DeliveryError> {
        if self.must_rotate(now_ms) {
            self.rotate().await?;
        }
        let tail = self.tail(u64::MAX).await?;
        if batch.bytes.starts_with(&tail) {
            self.append(&batch.bytes[tail.len()..]).await?;
        } else {
            self.cut().await?;
            self.append(&batch.bytes).await?;
        }
        self.sync().await?;
        if self.position.len == 0 {
            self.position.opened_at_ms = now_ms;
        }
        self.position.len = self.len().await?;
        Ok(Receipt::at(self.position))
    }

    /// Takes what a foreign writer, or a checkpoint store older than the file, left beyond the committed length as it
    /// is: nothing that is not known to be ours is cut off. Returns how many bytes that were.
    pub(super) async fn adopt_tail(&mut self) -> Result<u64, DeliveryError> {
        let before = self.position.len;
        self.file().await?;
        self.position.len = self.len().await?.max(before);
        Ok(self.position.len - before)
    }

    fn must_rotate(&self, now_ms: i64) -> bool {
        let Position { len, opened_at_ms, .. } = self.position;
        let by_size = self.config.rotate_bytes.is_some_and(|bytes| len >= bytes);
        let by_age = self.config.rotate_after.is_some_and(|age| {
            u128::try_from(now_ms.saturating_sub(opened_at_ms)).is_ok_and(|old_ms| old_ms >= age.as_millis())
        });
        len > 0 && (by_size || by_age)
    }

    /// Renames the file and begins the next. A crash before the next commit leaves the store at the old file's end,
    /// which `file` recognises by the rotated file's length.
    async fn rotate(&mut self) -> Result<(), DeliveryError> {
        self.file().await?;
        self.open = None;
        let to = self.rotated(self.position.number);
        tokio::fs::rename(&self.config.path, &to).await.map_err(|error| self.unavailable("rename", error))?;
        self.position = Position { number: self.position.number + 1, len: 0, opened_at_ms: 0 };
        self.file().await?;
        Ok(())
    }

    /// The open file, checked to be the one at the path and to hold at least what was committed.
    async fn file(&mut self) -> Result<&mut File, DeliveryError> {
        if let Some(file) = &self.open {
            let held = file.metadata().await.map_err(|error| self.unavailable("inspect", error))?;
            let there = tokio::fs::metadata(&self.config.path).await.ok();
            if there.is_none_or(|there| there.ino() != held.ino() || there.dev() != held.dev()) {
                self.open = None;
                return Err(self.refused("was moved or removed by another process while it was written"));
            }
        } else {
            self.finish_rotation().await;
            let file = self.create().await?;
            self.open = Some(file);
        }
        let committed = self.position.len;
        let len = self.len().await?;
        if len < committed {
            self.open = None;
            return Err(self.refused(&format!(
                "holds {len} bytes, {committed} were written: another process truncated it; move it away and restore \
                 what is missing, or remove the sink's state"
            )));
        }
        match &mut self.open {
            Some(file) => Ok(file),
            None => Err(DeliveryError::Unavailable("the file is not open".to_owned())),
        }
    }

    /// A rotation that was under way when the process ended: the old file bears its number already.
    async fn finish_rotation(&mut self) {
        let rotated = tokio::fs::metadata(self.rotated(self.position.number)).await;
        if self.position.len > 0 && rotated.is_ok_and(|file| file.len() == self.position.len) {
            self.position = Position { number: self.position.number + 1, len: 0, opened_at_ms: 0 };
        }
    }

    async fn create(&self) -> Result<File, DeliveryError> {
        let path = &self.config.path;
        if self.position.len > 0 && tokio::fs::metadata(path).await.is_err() {
            return Err(self.refused(&format!("is gone; {} bytes were written to it", self.position.len)));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).await.map_err(|error| self.unavailable("open", error))?;
        if let Some(directory) = path.parent() {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            let directory =
                File::open(directory).await.map_err(|error| self.unavailable("open the directory of", error))?;
            directory.sync_all().await.map_err(|error| self.unavailable("sync the directory of", error))?;
        }
        Ok(file)
    }

    async fn len(&self) -> Result<u64, DeliveryError> {
        match &self.open {
            Some(file) => {
                file.metadata().await.map(|file| file.len()).map_err(|error| self.unavailable("inspect", error))
            }
            None => Ok(0),
        }
    }

    /// What lies beyond the committed length, at most `limit` bytes and one more.
    async fn tail(&mut self, limit: u64) -> Result<Vec<u8>, DeliveryError> {
        let committed = self.position.len;
        let mut tail = Vec::new();
        let file = self.file().await?;
        let read = async {
            file.seek(SeekFrom::Start(committed)).await?;
            file.take(limit.saturating_add(1)).read_to_end(&mut tail).await
        };
        read.await.map_err(|error| self.unavailable("read", error))?;
        Ok(tail)
    }

    async fn append(&mut self, bytes: &[u8]) -> Result<(), DeliveryError> {
        let file = self.file().await?;
        let write = async {
            file.seek(SeekFrom::End(0)).await?;
            file.write_all(bytes).await?;
            file.flush().await
        };
        write.await.map_err(|error| self.unavailable("write", error))
    }

    /// Cuts off what lies behind the committed length: the beginning of a batch that cannot be made again.
    pub(super) async fn cut(&mut self) -> Result<(), DeliveryError> {
        let committed = self.position.len;
        let file = self.file().await?;
        let cut = file.set_len(committed).await;
        cut.map_err(|error| self.unavailable("truncate", error))
    }

    async fn sync(&mut self) -> Result<(), DeliveryError> {
        let file = self.file().await?;
        let synced = file.sync_all().await;
        synced.map_err(|error| self.unavailable("sync", error))
    }

    fn unavailable(&self, what: &str, error: std::io::Error) -> DeliveryError {
        DeliveryError::Unavailable(format!("cannot {what} {}: {error}", self.config.path.display()))
    }

    fn refused(&self, what: &str) -> DeliveryError {
        DeliveryError::Misconfigured(format!("{} {what}", self.config.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        directory: tempfile::TempDir,
        config: FileConfig,
    }

    fn world() -> World {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.ndjson");
        let config = serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
        World { directory, config }
    }

    impl World {
        fn text(&self, name: &str) -> String {
            std::fs::read_to_string(self.directory.path().join(name)).unwrap()
        }
    }

    fn batch(lines: &str) -> Batch {
        let mut ends = Vec::new();
        for line in lines.split_inclusive('\n') {
            ends.push(ends.last().copied().unwrap_or(0) + u32::try_from(line.len()).unwrap());
        }
        Batch {
            id: "b".into(),
            seq: 1,
            bytes: lines.to_owned().into(),
            ends: ends.into(),
            ids: std::sync::Arc::new([]),
        }
    }

    fn manifest(lines: &str) -> Manifest {
        Manifest { bytes: lines.len() as u64, hash: blake3::hash(lines.as_bytes()) }
    }

    #[tokio::test]
    async fn a_batch_written_in_part_before_a_crash_is_completed_in_place() {
        let world = world();
        std::fs::write(&world.config.path, "old\nne").unwrap();
        let mut sink = FileSink::new(world.config.clone(), Some(Position { number: 1, len: 4, opened_at_ms: 0 }));
        assert!(sink.settled(&manifest("new\nmore\n")).await.unwrap().is_none());
        let receipt = sink.deliver(&batch("new\nmore\n"), 0).await.unwrap();
        assert_eq!(world.text("out.ndjson"), "old\nnew\nmore\n");
        assert_eq!(receipt.position().unwrap().len, 13);
    }

    #[tokio::test]
    async fn a_batch_written_whole_before_a_crash_is_recognised_and_not_written_again() {
        let world = world();
        std::fs::write(&world.config.path, "old\nnew\n").unwrap();
        let mut sink = FileSink::new(world.config.clone(), Some(Position { number: 1, len: 4, opened_at_ms: 0 }));
        let receipt = sink.settled(&manifest("new\n")).await.unwrap().unwrap();
        assert_eq!(receipt.position().unwrap().len, 8);
        sink.deliver(&batch("next\n"), 0).await.unwrap();
        assert_eq!(world.text("out.ndjson"), "old\nnew\nnext\n");
    }

    #[tokio::test]
    async fn what_cannot_be_made_again_is_taken_back_and_nothing_else() {
        let world = world();
        std::fs::write(&world.config.path, "old\nhalf a l").unwrap();
        let mut sink = FileSink::new(world.config.clone(), Some(Position { number: 1, len: 4, opened_at_ms: 0 }));
        sink.cut().await.unwrap();
        assert_eq!(world.text("out.ndjson"), "old\n");
    }

    #[tokio::test]
    async fn bytes_behind_the_end_that_are_not_ours_are_left_as_they_are() {
        let world = world();
        std::fs::write(&world.config.path, "old\nforeign\n").unwrap();
        let mut sink = FileSink::new(world.config.clone(), Some(Position { number: 1, len: 4, opened_at_ms: 0 }));
        assert_eq!(sink.adopt_tail().await.unwrap(), 8);
        sink.deliver(&batch("new\n"), 0).await.unwrap();
        assert_eq!(world.text("out.ndjson"), "old\nforeign\nnew\n");
    }

    #[tokio::test]
    async fn a_file_that_another_process_truncated_or_moved_is_refused() {
        let world = world();
        let mut sink = FileSink::new(world.config.clone(), None);
        sink.deliver(&batch("one\n"), 0).await.unwrap();
        std::fs::write(&world.config.path, "").unwrap();
        let refused = sink.deliver(&batch("two\n"), 0).await;
        assert!(matches!(refused, Err(DeliveryError::Misconfigured(why)) if why.contains("truncated")));
        std::fs::rename(&world.config.path, world.directory.path().join("moved")).unwrap();
        let refused = sink.deliver(&batch("two\n"), 0).await;
        assert!(matches!(refused, Err(DeliveryError::Misconfigured(why)) if why.contains("is gone")));
        assert!(!world.config.path.exists(), "nothing is begun anew behind the operator's back");
    }

    #[tokio::test]
    async fn files_turn_between_batches_by_size_and_by_age() {
        let mut world = world();
        world.config.rotate_bytes = Some(8);
        world.config.rotate_after = Some(std::time::Duration::from_secs(10));
        let mut sink = FileSink::new(world.config.clone(), None);
        sink.deliver(&batch("one\n"), 1000).await.unwrap();
        sink.deliver(&batch("two\n"), 2000).await.unwrap();
        sink.deliver(&batch("three\n"), 3000).await.unwrap();
        assert_eq!(world.text("out.ndjson.1"), "one\ntwo\n");
        let receipt = sink.deliver(&batch("four\n"), 13_000).await.unwrap();
        assert_eq!(world.text("out.ndjson.2"), "three\n");
        assert_eq!(world.text("out.ndjson"), "four\n");
        assert_eq!(receipt.position().unwrap(), Position { number: 3, len: 5, opened_at_ms: 13_000 });
    }

    #[tokio::test]
    async fn a_crash_between_the_turn_and_its_commit_neither_loses_nor_repeats() {
        let mut world = world();
        world.config.rotate_bytes = Some(4);
        let before = Position { number: 1, len: 4, opened_at_ms: 0 };
        std::fs::write(world.directory.path().join("out.ndjson.1"), "one\n").unwrap();
        std::fs::write(&world.config.path, "tw").unwrap();
        let mut sink = FileSink::new(world.config.clone(), Some(before));
        assert!(sink.settled(&manifest("two\n")).await.unwrap().is_none());
        sink.deliver(&batch("two\n"), 0).await.unwrap();
        assert_eq!((world.text("out.ndjson.1"), world.text("out.ndjson")), ("one\n".into(), "two\n".into()));
    }
}
