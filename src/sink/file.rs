//! A file of lines: each event once, its end remembered as the committed length.

mod access;

mod numbered;

pub use access::{Group, Mode};

use std::fs::TryLockError;
use std::io::{ErrorKind, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::OFlags;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use self::access::Access;
use crate::batch::Batch;
use crate::sink::{Delivery, DeliveryError, FileConfig, Manifest, Moved, OpenError, Position, Receipt, Why};

/// A file sink. What lies in the file beyond the committed length is the beginning of a batch that was sealed but not
/// yet committed: it is completed, not cut off, so that whoever follows the file never reads a line twice.
pub struct FileSink {
    config: FileConfig,
    access: Access,
    /// The file the position lies in: the configured one, or until a batch under way is completed the one before it.
    path: PathBuf,
    /// Whether the store has the path. Older stores have none: it is the configured one.
    is_path_known: bool,
    /// Where the last committed batch ends.
    position: Position,
    open: Option<File>,
}

/// What an operator can do about a file that is not what the sink left.
const WAYS_OUT: &str =
    "put back what is missing, or give the sink another `path` and start again: it begins a file there";

/// No file was begun yet.
const BEFORE_THE_FIRST: Position = Position { number: 0, len: 0, opened_at_ms: 0 };

impl FileSink {
    /// A sink that continues at `position` of `file`, where the checkpoint store says its last batch ended.
    pub fn new(config: FileConfig, position: Option<Position>, file: Option<PathBuf>) -> Result<Self, OpenError> {
        let (path, is_path_known) = file.map_or((config.path.clone(), false), |file| (file, true));
        let access = Access::of(&config)?;
        let position = position.unwrap_or(BEFORE_THE_FIRST);
        Ok(Self { config, access, path, is_path_known, position, open: None })
    }

    /// Goes on where the last process stood. `under_way` is what was sealed and not committed: bytes behind the
    /// committed end are its beginning then, and else not ours. A file that is not the configured one is left as soon as
    /// nothing is under way in it. To be asked until the sink does not move any more.
    pub(super) async fn resume(
        &mut self,
        under_way: Option<&Manifest>,
        now_ms: i64,
    ) -> Result<Option<Moved>, DeliveryError> {
        if self.path != self.config.path && (under_way.is_none() || !self.is_there().await) {
            return self.begin().await.map(Some);
        }
        if let Some(moved) = self.find_file().await? {
            return Ok(Some(moved));
        }
        if under_way.is_some() { Ok(None) } else { self.adopt(now_ms).await }
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

    /// Writes the batch, or what is not there of it yet. The next file begins only before a batch, never within one.
    pub(super) async fn deliver(&mut self, batch: &Batch, now_ms: i64) -> Result<Delivery, DeliveryError> {
        if let Some(moved) = self.find_file().await? {
            return Ok(Delivery::Moved(moved));
        }
        let tail = self.tail(batch.bytes.len() as u64).await?;
        if !batch.bytes.starts_with(&tail)
            && let Some(moved) = self.adopt(now_ms).await?
        {
            return Ok(Delivery::Moved(moved));
        }
        if tail.is_empty() && self.must_rotate(now_ms) {
            return Ok(Delivery::Moved(self.rotate().await?));
        }
        self.append(&batch.bytes[tail.len()..]).await?;
        self.sync().await?;
        if self.position.len == 0 {
            self.position.opened_at_ms = now_ms;
        }
        // What somebody else wrote behind it since is told apart the next time.
        self.position.len += batch.bytes.len() as u64;
        Ok(Delivery::Taken(Receipt::at(self.position)))
    }

    /// Takes back what was written of a sealed batch that cannot be made again. More than the batch had is not ours, and
    /// is kept.
    pub(super) async fn take_back(&mut self, manifest: &Manifest, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        let committed = self.position.len;
        self.file().await?;
        if self.len().await? - committed > manifest.bytes {
            return self.adopt(now_ms).await;
        }
        let cut = self.file().await?.set_len(committed).await;
        cut.map_err(|error| self.unavailable("truncate", error))?;
        Ok(None)
    }

    /// Takes what a foreign writer, or a checkpoint store older than the file, left beyond the committed length as it
    /// is: nothing that is not known to be ours is cut off. A line without an end is given one, so that ours begin on a
    /// line of their own.
    async fn adopt(&mut self, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        self.file().await?;
        let bytes = self.len().await? - self.position.len;
        if bytes == 0 {
            return Ok(None);
        }
        if !self.ends_a_line().await? {
            self.append(b"\n").await?;
            self.sync().await?;
        }
        if self.position.len == 0 {
            self.position.opened_at_ms = now_ms;
        }
        self.position.len = self.len().await?;
        Ok(Some(self.moved(Why::Foreign { bytes })))
    }

    fn moved(&self, why: Why) -> Moved {
        Moved { position: self.position, file: self.path.clone(), why }
    }

    fn must_rotate(&self, now_ms: i64) -> bool {
        let Position { len, opened_at_ms, .. } = self.position;
        let by_size = self.config.rotate_bytes.is_some_and(|bytes| len >= bytes);
        let by_age = self.config.rotate_after.is_some_and(|age| {
            u128::try_from(now_ms.saturating_sub(opened_at_ms)).is_ok_and(|old_ms| old_ms >= age.as_millis())
        });
        len > 0 && (by_size || by_age)
    }

    /// Gives the file its number. The number is remembered before the file bears it, and the next file is not created
    /// before that is remembered too: after a crash in between, `finish_rotation` finds the file under its number.
    async fn rotate(&mut self) -> Result<Moved, DeliveryError> {
        let free = numbered::free(&self.path, self.position.number).await;
        let number = free.map_err(|error| self.unavailable("number", error))?;
        if number != self.position.number {
            self.position.number = number;
            return Ok(self.moved(Why::Numbered));
        }
        self.open = None;
        let to = numbered::name(&self.path, number);
        numbered::rename(&self.path, &to).await.map_err(|error| self.unavailable("rename", error))?;
        self.sync_directory().await?;
        Ok(self.next_file())
    }

    fn next_file(&mut self) -> Moved {
        self.position = Position { number: self.position.number + 1, len: 0, opened_at_ms: 0 };
        self.moved(Why::Rotated)
    }

    /// Opens the file the position lies in, if the sink need not move for that.
    async fn find_file(&mut self) -> Result<Option<Moved>, DeliveryError> {
        if self.open.is_some() {
            return Ok(None);
        }
        if self.position.number == 0 {
            return self.begin().await.map(Some);
        }
        if !self.is_path_known {
            self.is_path_known = true;
            return Ok(Some(self.moved(Why::Named)));
        }
        if self.is_rotated().await? {
            return Ok(Some(self.next_file()));
        }
        self.file().await?;
        Ok(None)
    }

    /// Begins the configured file; it is created, or what is there adopted, once that is remembered.
    async fn begin(&mut self) -> Result<Moved, DeliveryError> {
        let free = numbered::free(&self.config.path, 1).await;
        let number = free.map_err(|error| self.unavailable("number", error))?;
        self.open = None;
        let before = std::mem::replace(&mut self.path, self.config.path.clone());
        self.is_path_known = true;
        self.position = Position { number, ..BEFORE_THE_FIRST };
        Ok(self.moved(Why::Begun { before: (before != self.path).then_some(before) }))
    }

    /// Whether the file holds what was committed, under its number or not.
    async fn is_there(&self) -> bool {
        let there = tokio::fs::metadata(&self.path).await;
        there.is_ok_and(|file| file.len() >= self.position.len) || self.is_rotated().await.unwrap_or(false)
    }

    /// Whether a rotation was under way when the process ended: the file bears its number, and the next is not there.
    async fn is_rotated(&self) -> Result<bool, DeliveryError> {
        let Position { number, len, .. } = self.position;
        let there = numbered::is_taken(&self.path).await;
        if len == 0 || there.map_err(|error| self.unavailable("inspect", error))? {
            return Ok(false);
        }
        let rotated = tokio::fs::metadata(numbered::name(&self.path, number)).await;
        Ok(rotated.is_ok_and(|file| file.len() >= len))
    }

    /// The open file, checked to be the one at the path and to hold at least what was committed.
    async fn file(&mut self) -> Result<&mut File, DeliveryError> {
        let file = match self.open.take() {
            Some(file) => file,
            None => self.create().await?,
        };
        // Also when it was opened just now: who had it locked before may have given it another name meanwhile.
        let held = file.metadata().await.map_err(|error| self.unavailable("inspect", error))?;
        let there = tokio::fs::metadata(&self.path).await.ok();
        if there.is_none_or(|there| there.ino() != held.ino() || there.dev() != held.dev()) {
            return Err(self.refused("was moved or removed by another process while it was written"));
        }
        self.open = Some(file);
        let committed = self.position.len;
        let len = self.len().await?;
        if len < committed {
            self.open = None;
            return Err(self.refused(&format!(
                "holds {len} bytes, {committed} were written: another process truncated it; {WAYS_OUT}"
            )));
        }
        match &mut self.open {
            Some(file) => Ok(file),
            None => Err(DeliveryError::Unavailable("the file is not open".to_owned())),
        }
    }

    /// Opens the file, new or not, for this process alone: the lock is held until the file is closed.
    async fn create(&self) -> Result<File, DeliveryError> {
        let path = &self.path;
        if self.position.len > 0 && tokio::fs::metadata(path).await.is_err() {
            return Err(self.refused(&format!("is gone; {} bytes were written to it; {WAYS_OUT}", self.position.len)));
        }
        let (file, is_new) = self.open_file().await.map_err(|error| {
            if self.access.is_configured() && path.is_symlink() {
                return self.refused(
                    "is a symbolic link, through which `mode` and `group` are not set: let `path` name its target",
                );
            }
            self.unavailable("open", error)
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(
                    self.refused("is locked by another process that writes it; give each daemon files of its own")
                );
            }
            // A file system without locks: nobody can be kept away.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(self.unavailable("lock", error)),
        }
        self.access.apply(&file, path, is_new).map_err(|why| self.refused(&why))?;
        self.sync_directory().await?;
        Ok(File::from_std(file))
    }

    /// Opens the file, and says whether it is new. A new one is its owner's alone at first. Where mode or group are to be
    /// set, a link is not followed.
    async fn open_file(&self) -> std::io::Result<(std::fs::File, bool)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        if self.access.is_configured() {
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        }
        match options.clone().create_new(true).open(&self.path).await {
            Ok(file) => Ok((file.into_std().await, true)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let file = options.create(true).truncate(false).open(&self.path).await?;
                Ok((file.into_std().await, false))
            }
            Err(error) => Err(error),
        }
    }

    async fn sync_directory(&self) -> Result<(), DeliveryError> {
        let directory = File::open(numbered::directory(&self.path)).await;
        let directory = directory.map_err(|error| self.unavailable("open the directory of", error))?;
        directory.sync_all().await.map_err(|error| self.unavailable("sync the directory of", error))
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
        self.read(committed, limit.saturating_add(1)).await
    }

    async fn ends_a_line(&mut self) -> Result<bool, DeliveryError> {
        let last = self.len().await?.saturating_sub(1);
        Ok(self.read(last, 1).await? == b"\n")
    }

    /// At most `limit` bytes from `offset` on.
    async fn read(&mut self, offset: u64, limit: u64) -> Result<Vec<u8>, DeliveryError> {
        let mut bytes = Vec::new();
        let file = self.file().await?;
        let read = async {
            file.seek(SeekFrom::Start(offset)).await?;
            file.take(limit).read_to_end(&mut bytes).await
        };
        read.await.map_err(|error| self.unavailable("read", error))?;
        Ok(bytes)
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

    async fn sync(&mut self) -> Result<(), DeliveryError> {
        let file = self.file().await?;
        let synced = file.sync_all().await;
        synced.map_err(|error| self.unavailable("sync", error))
    }

    fn unavailable(&self, what: &str, error: std::io::Error) -> DeliveryError {
        DeliveryError::Unavailable(format!("cannot {what} {}: {error}", self.path.display()))
    }

    fn refused(&self, what: &str) -> DeliveryError {
        DeliveryError::Misconfigured(format!("{} {what}", self.path.display()))
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

    /// Delivers as a lane does, and says where the sink went before it took the batch.
    async fn deliver(sink: &mut FileSink, lines: &str, now_ms: i64) -> (Position, Vec<Moved>) {
        let mut moves = Vec::new();
        loop {
            match sink.deliver(&batch(lines), now_ms).await.unwrap() {
                Delivery::Taken(receipt) => return (receipt.position().unwrap(), moves),
                Delivery::Moved(moved) => moves.push(moved),
            }
        }
    }

    async fn refusal(sink: &mut FileSink) -> String {
        match sink.deliver(&batch("two\n"), 0).await {
            Err(DeliveryError::Misconfigured(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn at(number: u64, len: u64) -> Option<Position> {
        Some(Position { number, len, opened_at_ms: 0 })
    }

    #[tokio::test]
    async fn a_batch_written_in_part_before_a_crash_is_completed_in_place() {
        let world = world();
        std::fs::write(&world.config.path, "old\nne").unwrap();
        let mut sink = FileSink::new(world.config.clone(), at(1, 4), Some(world.config.path.clone())).unwrap();
        let under_way = manifest("new\nmore\n");
        assert_eq!(sink.resume(Some(&under_way), 0).await.unwrap(), None);
        assert!(sink.settled(&under_way).await.unwrap().is_none());
        let (position, moves) = deliver(&mut sink, "new\nmore\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "old\nnew\nmore\n");
        assert_eq!((position.len, moves.len()), (13, 0));
    }

    #[tokio::test]
    async fn a_batch_written_in_part_is_completed_in_its_file_though_that_has_come_of_age() {
        let mut world = world();
        world.config.rotate_after = Some(std::time::Duration::from_secs(10));
        std::fs::write(&world.config.path, "old\nne").unwrap();
        let mut sink = FileSink::new(world.config.clone(), at(1, 4), Some(world.config.path.clone())).unwrap();
        deliver(&mut sink, "new\n", 60_000).await;
        assert_eq!(world.text("out.ndjson"), "old\nnew\n");
        deliver(&mut sink, "next\n", 60_000).await;
        assert_eq!((world.text("out.ndjson.1"), world.text("out.ndjson")), ("old\nnew\n".into(), "next\n".into()));
    }

    #[tokio::test]
    async fn a_batch_written_whole_before_a_crash_is_recognised_and_not_written_again() {
        let world = world();
        std::fs::write(&world.config.path, "old\nnew\n").unwrap();
        let mut sink = FileSink::new(world.config.clone(), at(1, 4), Some(world.config.path.clone())).unwrap();
        let receipt = sink.settled(&manifest("new\n")).await.unwrap().unwrap();
        assert_eq!(receipt.position().unwrap().len, 8);
        deliver(&mut sink, "next\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "old\nnew\nnext\n");
    }

    #[tokio::test]
    async fn what_cannot_be_made_again_is_taken_back_and_nothing_else() {
        let world = world();
        std::fs::write(&world.config.path, "old\nhalf a l").unwrap();
        let mut sink = FileSink::new(world.config.clone(), at(1, 4), Some(world.config.path.clone())).unwrap();
        assert_eq!(sink.take_back(&manifest("half a line\n"), 0).await.unwrap(), None);
        assert_eq!(world.text("out.ndjson"), "old\n");
        std::fs::write(&world.config.path, "old\nmore than a line of ours\n").unwrap();
        let moved = sink.take_back(&manifest("half a line\n"), 0).await.unwrap().unwrap();
        assert_eq!(moved.why, Why::Foreign { bytes: 25 });
        assert_eq!(world.text("out.ndjson"), "old\nmore than a line of ours\n");
    }

    #[tokio::test]
    async fn bytes_behind_the_end_that_are_not_ours_are_left_as_they_are() {
        let world = world();
        std::fs::write(&world.config.path, "old\nforeign\n").unwrap();
        let mut sink = FileSink::new(world.config.clone(), at(1, 4), Some(world.config.path.clone())).unwrap();
        let moved = sink.resume(None, 0).await.unwrap().unwrap();
        assert_eq!((moved.why, moved.position.len), (Why::Foreign { bytes: 8 }, 12));
        assert_eq!(sink.resume(None, 0).await.unwrap(), None);
        deliver(&mut sink, "new\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "old\nforeign\nnew\n");
    }

    #[tokio::test]
    async fn bytes_that_are_not_ours_stay_though_they_came_while_the_sink_was_at_work() {
        let world = world();
        let mut sink = FileSink::new(world.config.clone(), None, None).unwrap();
        deliver(&mut sink, "one\n", 0).await;
        let append = |bytes: &str| std::fs::write(&world.config.path, world.text("out.ndjson") + bytes).unwrap();
        append("foreign\n");
        let (position, moves) = deliver(&mut sink, "two\n", 5).await;
        assert_eq!(moves.iter().map(|moved| moved.why.clone()).collect::<Vec<_>>(), [Why::Foreign { bytes: 8 }]);
        assert_eq!(moves[0].position.len, 12, "told before anything is written behind it");
        append("torn");
        deliver(&mut sink, "three\n", 5).await;
        assert_eq!(world.text("out.ndjson"), "one\nforeign\ntwo\ntorn\nthree\n");
        assert_eq!(position.len, 16);
    }

    #[tokio::test]
    async fn a_file_that_another_sink_writes_is_refused_until_that_has_closed_it() {
        let world = world();
        let mut first = FileSink::new(world.config.clone(), None, None).unwrap();
        deliver(&mut first, "one\n", 0).await;
        let mut second = FileSink::new(world.config.clone(), at(1, 4), Some(world.config.path.clone())).unwrap();
        let refused = refusal(&mut second).await;
        assert!(refused.contains("out.ndjson is locked by another process"), "{refused}");
        drop(first);
        deliver(&mut second, "two\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_file_that_another_process_truncated_or_moved_is_refused() {
        let world = world();
        let mut sink = FileSink::new(world.config.clone(), None, None).unwrap();
        deliver(&mut sink, "one\n", 0).await;
        std::fs::write(&world.config.path, "").unwrap();
        assert!(refusal(&mut sink).await.contains("truncated"));
        std::fs::rename(&world.config.path, world.directory.path().join("moved")).unwrap();
        assert!(refusal(&mut sink).await.contains("is gone"));
        assert!(!world.config.path.exists(), "nothing is begun anew behind the operator's back");
    }

    #[tokio::test]
    async fn files_turn_between_batches_by_size_and_by_age() {
        let mut world = world();
        world.config.rotate_bytes = Some(8);
        world.config.rotate_after = Some(std::time::Duration::from_secs(10));
        let mut sink = FileSink::new(world.config.clone(), None, None).unwrap();
        deliver(&mut sink, "one\n", 1000).await;
        deliver(&mut sink, "two\n", 2000).await;
        deliver(&mut sink, "three\n", 3000).await;
        assert_eq!(world.text("out.ndjson.1"), "one\ntwo\n");
        let (position, moves) = deliver(&mut sink, "four\n", 13_000).await;
        assert_eq!(world.text("out.ndjson.2"), "three\n");
        assert_eq!(world.text("out.ndjson"), "four\n");
        assert_eq!(moves.iter().map(|moved| moved.position).collect::<Vec<_>>(), [at(3, 0).unwrap()]);
        assert_eq!(position, Position { number: 3, len: 5, opened_at_ms: 13_000 });
    }

    #[tokio::test]
    async fn a_file_never_takes_the_place_of_one_that_bears_its_number() {
        let mut world = world();
        world.config.rotate_bytes = Some(4);
        let mut sink = FileSink::new(world.config.clone(), None, None).unwrap();
        deliver(&mut sink, "one\n", 0).await;
        for number in [1, 3] {
            std::fs::write(world.directory.path().join(format!("out.ndjson.{number}")), "precious\n").unwrap();
        }
        let (_, moves) = deliver(&mut sink, "two\n", 0).await;
        assert_eq!(
            moves.iter().map(|moved| moved.position).collect::<Vec<_>>(),
            [at(4, 4), at(5, 0)].map(Option::unwrap)
        );
        assert_eq!(world.text("out.ndjson.1"), "precious\n");
        assert_eq!(world.text("out.ndjson.3"), "precious\n");
        assert_eq!((world.text("out.ndjson.4"), world.text("out.ndjson")), ("one\n".into(), "two\n".into()));
    }

    #[tokio::test]
    async fn a_crash_at_any_step_of_the_turn_neither_loses_nor_repeats() {
        let mut world = world();
        world.config.rotate_bytes = Some(4);
        std::fs::write(&world.config.path, "one\n").unwrap();
        std::fs::write(world.directory.path().join("out.ndjson.1"), "one\n").unwrap();
        let mut remembered = at(1, 4);
        // Each process dies after one step; what it told is remembered, or is not because it died before that.
        for step in 0..8 {
            let mut sink = FileSink::new(world.config.clone(), remembered, Some(world.config.path.clone())).unwrap();
            let under_way = manifest("two\n");
            let told = match sink.resume(Some(&under_way), 0).await.unwrap() {
                Some(moved) => Some(moved),
                None => match sink.deliver(&batch("two\n"), 0).await.unwrap() {
                    Delivery::Moved(moved) => Some(moved),
                    Delivery::Taken(_) => None,
                },
            };
            match told {
                Some(moved) if step % 2 == 1 => remembered = Some(moved.position),
                Some(_) => {}
                None => break,
            }
        }
        let mut sink = FileSink::new(world.config.clone(), remembered, Some(world.config.path.clone())).unwrap();
        assert!(sink.settled(&manifest("two\n")).await.unwrap().is_some());
        assert_eq!(remembered, at(3, 0));
        assert_eq!(world.text("out.ndjson.1"), "one\n");
        assert_eq!((world.text("out.ndjson.2"), world.text("out.ndjson")), ("one\n".into(), "two\n".into()));
    }

    impl World {
        /// The sink after its path was changed to `new.ndjson`, as the next process has it.
        fn moved(&self, position: Option<Position>) -> FileSink {
            let config = FileConfig { path: self.directory.path().join("new.ndjson"), ..self.config.clone() };
            FileSink::new(config, position, Some(self.config.path.clone())).unwrap()
        }
    }

    #[tokio::test]
    async fn another_path_is_begun_and_what_is_there_is_kept() {
        let world = world();
        std::fs::write(&world.config.path, "old\n").unwrap();
        std::fs::write(world.directory.path().join("new.ndjson"), "was here\n").unwrap();
        let mut sink = world.moved(at(7, 4));
        let moved = sink.resume(None, 0).await.unwrap().unwrap();
        assert_eq!(moved.why, Why::Begun { before: Some(world.config.path.clone()) });
        assert_eq!((moved.position, moved.file.file_name().unwrap()), (at(1, 0).unwrap(), "new.ndjson".as_ref()));
        let moved = sink.resume(None, 0).await.unwrap().unwrap();
        assert_eq!(moved.why, Why::Foreign { bytes: 9 });
        deliver(&mut sink, "two\n", 0).await;
        assert_eq!((world.text("out.ndjson"), world.text("new.ndjson")), ("old\n".into(), "was here\ntwo\n".into()));
    }

    #[tokio::test]
    async fn a_batch_under_way_is_completed_in_the_file_it_was_begun_in() {
        let world = world();
        std::fs::write(&world.config.path, "old\nne").unwrap();
        let mut sink = world.moved(at(1, 4));
        assert_eq!(sink.resume(Some(&manifest("new\n")), 0).await.unwrap(), None);
        assert!(deliver(&mut sink, "new\n", 0).await.1.is_empty());
        assert!(matches!(sink.resume(None, 0).await.unwrap().unwrap().why, Why::Begun { .. }));
        deliver(&mut sink, "next\n", 0).await;
        assert_eq!((world.text("out.ndjson"), world.text("new.ndjson")), ("old\nnew\n".into(), "next\n".into()));
    }

    #[tokio::test]
    async fn a_batch_under_way_goes_to_the_new_file_when_the_one_before_is_gone_or_cut() {
        for left in [None, Some("ol")] {
            let world = world();
            if let Some(left) = left {
                std::fs::write(&world.config.path, left).unwrap();
            }
            let mut sink = world.moved(at(1, 4));
            let moved = sink.resume(Some(&manifest("new\n")), 0).await.unwrap().unwrap();
            assert!(matches!(moved.why, Why::Begun { .. }));
            deliver(&mut sink, "new\n", 0).await;
            assert_eq!(world.text("new.ndjson"), "new\n");
        }
    }

    #[tokio::test]
    async fn a_store_that_has_no_path_learns_it_and_goes_on_in_the_configured_file() {
        let world = world();
        std::fs::write(&world.config.path, "old\n").unwrap();
        let mut sink = FileSink::new(world.config.clone(), at(1, 4), None).unwrap();
        let moved = sink.resume(None, 0).await.unwrap().unwrap();
        assert_eq!(moved, Moved { position: at(1, 4).unwrap(), file: world.config.path.clone(), why: Why::Named });
        assert_eq!(sink.resume(None, 0).await.unwrap(), None);
        deliver(&mut sink, "new\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "old\nnew\n");
    }

    /// The sink with these keys more, and the mode of the file that it then writes a line to.
    async fn mode_after(world: &World, keys: serde_json::Value) -> u32 {
        let mut table = serde_json::json!({ "path": world.config.path });
        table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let mut sink = FileSink::new(serde_json::from_value(table).unwrap(), None, None).unwrap();
        deliver(&mut sink, "line\n", 0).await;
        std::fs::metadata(&world.config.path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn a_new_file_has_the_configured_mode_or_0640() {
        assert_eq!(mode_after(&world(), serde_json::json!({})).await, 0o640);
        assert_eq!(mode_after(&world(), serde_json::json!({ "mode": "0604" })).await, 0o604);
    }

    #[tokio::test]
    async fn a_file_that_is_there_keeps_its_mode_unless_one_is_configured() {
        use std::os::unix::fs::PermissionsExt as _;
        for (keys, expected) in [(serde_json::json!({}), 0o606), (serde_json::json!({ "mode": "0660" }), 0o660)] {
            let world = world();
            std::fs::write(&world.config.path, "").unwrap();
            std::fs::set_permissions(&world.config.path, std::fs::Permissions::from_mode(0o606)).unwrap();
            assert_eq!(mode_after(&world, keys).await, expected);
        }
    }

    #[tokio::test]
    async fn mode_and_group_are_not_set_through_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let mut world = world();
        let target = world.directory.path().join("target");
        std::fs::write(&target, "").unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&target, &world.config.path).unwrap();
        world.config.mode = Some(Mode::try_from("0644".to_owned()).unwrap());
        let mut sink = FileSink::new(world.config.clone(), at(1, 0), Some(world.config.path.clone())).unwrap();
        assert!(refusal(&mut sink).await.contains("symbolic link"));
        assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o7777, 0o600);
    }
}
