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
