//! Writes the file, completes what a crash cut short, and gives full files their numbers.

use std::fs::TryLockError;
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::access::Access;
use super::config::FileConfig;
use super::numbered;
use super::position::Position;
use crate::batch::{Batch, Manifest};
use crate::sink::{Delivery, DeliveryError, LaneState, Moved, OpenError, Receipt, Resumed, Why};

/// The writer of a file sink. What lies in the file beyond the committed length is the beginning of a batch that was
/// sealed but not yet committed: it is completed, not cut off, so that whoever follows the file never reads a line twice.
pub(super) struct Writer {
    config: FileConfig,
    access: Access,
    /// Where the last committed batch ends. Its file is the configured one, or until a batch under way is completed the one
    /// before it.
    position: Position,
    open: Option<File>,
}

/// What an operator can do about a file that is not what the sink left.
const WAYS_OUT: &str =
    "put back what is missing, or give the sink another `path` and start again: it begins a file there";

impl Writer {
    pub(super) fn new(config: FileConfig) -> Result<Self, OpenError> {
        let access = Access::new(config.mode, config.group.clone())?;
        Ok(Self { config, access, position: Position::default(), open: None })
    }

    /// Resumes where the last process stood. Bytes behind the committed end are the beginning of a sealed batch, or else
    /// not ours. A file that is not the configured one is left as soon as no batch is under way in it.
    pub(super) async fn resume(
        &mut self,
        lane: &LaneState,
        sealed: &[&Manifest],
        now_ms: i64,
    ) -> Result<Resumed, DeliveryError> {
        self.go_to(lane)?;
        if self.path() != self.config.path && (sealed.is_empty() || !self.is_there().await) {
            return self.begin().await.map(Resumed::Moved);
        }
        if let Some(moved) = self.find_file().await? {
            return Ok(Resumed::Moved(moved));
        }
        if sealed.is_empty()
            && let Some(moved) = self.adopt(now_ms).await?
        {
            return Ok(Resumed::Moved(moved));
        }
        let mut receipts = Vec::new();
        for manifest in sealed {
            match self.written(manifest).await? {
                Some(receipt) => receipts.push(receipt),
                None => break,
            }
        }
        Ok(Resumed::Ready(receipts))
    }

    /// Takes the position where the last batch ended, as the checkpoint store has it.
    fn go_to(&mut self, lane: &LaneState) -> Result<(), DeliveryError> {
        let position = match &lane.state {
            Some(state) => Position::of(state).ok_or_else(|| {
                let what = "cannot be continued: what the checkpoint store holds of the sink was not written by a file \
                            sink of this program; run the newer program, or give the sink another name, which begins anew";
                self.refused(what)
            })?,
            None => Position::default(),
        };
        if position != self.position {
            self.open = None;
            self.position = position;
        }
        Ok(())
    }

    /// The file the position lies in.
    fn path(&self) -> &Path {
        self.position.path.as_deref().unwrap_or(&self.config.path)
    }

    /// Whether the whole of a sealed batch is in the file already: it was written, and the process ended before the
    /// commit.
    async fn written(&mut self, manifest: &Manifest) -> Result<Option<Receipt>, DeliveryError> {
        let mut end = self.position.len;
        for piece in manifest.pieces() {
            let there = self.read(end, piece.bytes).await?;
            if there.len() as u64 != piece.bytes || *blake3::hash(&there).as_bytes() != piece.hash {
                return Ok(None);
            }
            end += piece.bytes;
        }
        self.sync().await?;
        self.position.len = end;
        Ok(Some(Receipt::at(self.position.state())))
    }

    /// Writes the batch, or what is not there of it yet. The next file begins only before a batch, never within one.
    pub(super) async fn deliver(&mut self, batch: &Batch, now_ms: i64) -> Result<Delivery, DeliveryError> {
        if let Some(moved) = self.find_file().await? {
            return Ok(Delivery::Moved(moved));
        }
        let tail = self.tail(batch.bytes()).await?;
        if !batch.begins_with(&tail)
            && let Some(moved) = self.adopt(now_ms).await?
        {
            return Ok(Delivery::Moved(moved));
        }
        if tail.is_empty() && self.must_rotate(now_ms) {
            return Ok(Delivery::Moved(self.rotate().await?));
        }
        self.append_batch(batch, tail.len() as u64).await?;
        if self.position.len == 0 {
            self.position.opened_at_ms = now_ms;
        }
        // Bytes that somebody else wrote behind it are found the next time.
        self.position.len += batch.bytes();
        Ok(Delivery::Taken(Receipt::at(self.position.state())))
    }

    /// Cuts off what was written of a sealed batch that cannot be rebuilt. Where there is more than the batch had, the
    /// bytes are not ours, and are kept.
    pub(super) async fn take_back(&mut self, manifest: &Manifest, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        let committed = self.position.len;
        self.file().await?;
        if self.len().await? - committed > manifest.bytes() {
            return self.adopt(now_ms).await;
        }
        let cut = self.file().await?.set_len(committed).await;
        cut.map_err(|error| self.unavailable("truncate", error))?;
        Ok(None)
    }

    /// Keeps what a foreign writer left beyond the committed length, or what an older checkpoint store does not know of:
    /// bytes that are not known to be ours are never cut off. A line without an end gets one, so that ours begin on a line
    /// of their own.
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
        Moved { state: self.position.state(), why }
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
        let free = numbered::free(self.path(), self.position.number).await;
        let number = free.map_err(|error| self.unavailable("number", error))?;
        if number != self.position.number {
            self.position.number = number;
            return Ok(self.moved(Why::Numbered));
        }
        self.open = None;
        let to = numbered::name(self.path(), number);
        numbered::rename(self.path(), &to).await.map_err(|error| self.unavailable("rename", error))?;
        self.sync_directory().await?;
        Ok(self.next_file())
    }

    fn next_file(&mut self) -> Moved {
        let Position { number, path, .. } = std::mem::take(&mut self.position);
        self.position = Position { number: number + 1, path, ..Position::default() };
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
        if self.position.path.is_none() {
            self.position.path = Some(self.config.path.clone());
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
        let file = self.config.path.clone();
        let before = self.position.path.take().filter(|before| *before != file);
        self.position = Position { number, path: Some(file.clone()), ..Position::default() };
        Ok(self.moved(Why::Begun { file, before }))
    }

    /// Whether the file holds what was committed, under its number or not.
    async fn is_there(&self) -> bool {
        let there = tokio::fs::metadata(self.path()).await;
        there.is_ok_and(|file| file.len() >= self.position.len) || self.is_rotated().await.unwrap_or(false)
    }

    /// Whether a rotation was under way when the process ended: the file bears its number, and the next is not there.
    async fn is_rotated(&self) -> Result<bool, DeliveryError> {
        let Position { number, len, .. } = self.position;
        let there = numbered::is_taken(self.path()).await;
        if len == 0 || there.map_err(|error| self.unavailable("inspect", error))? {
            return Ok(false);
        }
        let rotated = tokio::fs::metadata(numbered::name(self.path(), number)).await;
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
        let there = tokio::fs::metadata(self.path()).await.ok();
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
            None => Err(DeliveryError::unavailable("the file is not open")),
        }
    }

    /// Opens the file, new or not, for this process alone: the lock is held until the file is closed.
    async fn create(&self) -> Result<File, DeliveryError> {
        let path = self.path();
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
        match options.clone().create_new(true).open(self.path()).await {
            Ok(file) => Ok((file.into_std().await, true)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let file = options.create(true).truncate(false).open(self.path()).await?;
                Ok((file.into_std().await, false))
            }
            Err(error) => Err(error),
        }
    }

    async fn sync_directory(&self) -> Result<(), DeliveryError> {
        let directory = File::open(numbered::directory(self.path())).await;
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
        self.file().await?;
        let is_longer = self.len().await? > committed;
        if is_longer { self.read(committed, limit.saturating_add(1)).await } else { Ok(Vec::new()) }
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

    /// Writes the batch but for its first bytes, and waits until it is on disk: in one call that blocks.
    async fn append_batch(&mut self, batch: &Batch, skipped: u64) -> Result<(), DeliveryError> {
        let pieces = batch.bytes_from(skipped);
        let file = self.file().await?.try_clone().await.map_err(|error| self.unavailable("write", error))?;
        let mut file = file.into_std().await;
        let write = move || {
            file.seek(SeekFrom::End(0))?;
            for bytes in pieces {
                file.write_all(&bytes)?;
            }
            file.sync_all()
        };
        let written = tokio::task::spawn_blocking(write).await.unwrap_or_else(|panic| Err(panic.into()));
        written.map_err(|error| self.unavailable("write", error))
    }

    async fn sync(&mut self) -> Result<(), DeliveryError> {
        let synced = self.file().await?.sync_all().await;
        synced.map_err(|error| self.unavailable("sync", error))
    }

    fn unavailable(&self, what: &str, error: std::io::Error) -> DeliveryError {
        DeliveryError::unavailable(format!("cannot {what} {}: {error}", self.path().display()))
    }

    fn refused(&self, what: &str) -> DeliveryError {
        DeliveryError::Misconfigured(format!("{} {what}", self.path().display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Advance, PieceMark, RequestLimits, SealedPart};
    use crate::notification::ObjectId;
    use crate::sink::State;
    use crate::sink::file::access::Mode;

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

    /// The manifest of a batch of these pieces.
    fn manifest(pieces: &[&str]) -> Manifest {
        let marks = pieces.iter().map(|lines| PieceMark {
            to: 1,
            bytes: lines.len() as u64,
            hash: *blake3::hash(lines.as_bytes()).as_bytes(),
        });
        let advance = Advance::onward(ObjectId::new("b", "k"), 0, 1);
        let part = SealedPart { advance, etag: "e".into(), last_modified_ms: None, pieces: marks.collect() };
        let limits = RequestLimits::WHOLE;
        Manifest { id: "b".into(), seq: 1, encoder: "e".into(), limits, parts: vec![part] }
    }

    fn batch(lines: &str) -> Batch {
        crate::batch::tests::batch(&[&lines.lines().collect::<Vec<_>>()])
    }

    fn writer(config: &FileConfig) -> Writer {
        Writer::new(config.clone()).unwrap()
    }

    /// What the store has of a sink that stands there.
    fn lane(position: &Position) -> LaneState {
        LaneState { state: Some(position.state()), ..LaneState::default() }
    }

    /// Where a sink goes, and why.
    fn went(moved: &Moved) -> (Position, Why) {
        (Position::of(&moved.state).unwrap(), moved.why.clone())
    }

    impl World {
        /// This many bytes into this file of the sequence.
        fn at(&self, number: u64, len: u64) -> Position {
            Position { number, len, opened_at_ms: 0, path: Some(self.config.path.clone()) }
        }

        /// A sink that has gone on from there, with nothing under way or this.
        async fn resumed(&self, from: &Position, under_way: &[&Manifest]) -> Writer {
            let mut sink = writer(&self.config);
            let resumed = sink.resume(&lane(from), under_way, 0).await.unwrap();
            assert!(matches!(resumed, Resumed::Ready(had) if had.is_empty()));
            sink
        }
    }

    /// How a sink goes on elsewhere when it is resumed.
    async fn moves(sink: &mut Writer, from: &Position, under_way: &[&Manifest]) -> (Position, Why) {
        match sink.resume(&lane(from), under_way, 0).await.unwrap() {
            Resumed::Moved(moved) => went(&moved),
            other => panic!("{other:?}"),
        }
    }

    /// Delivers as a worker does, and says where the sink went before it took the batch.
    async fn deliver(sink: &mut Writer, lines: &str, now_ms: i64) -> (Position, Vec<(Position, Why)>) {
        let mut moves = Vec::new();
        loop {
            match sink.deliver(&batch(lines), now_ms).await.unwrap() {
                Delivery::Taken(receipt) => return (Position::of(receipt.state().unwrap()).unwrap(), moves),
                Delivery::Moved(moved) => moves.push(went(&moved)),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn refusal(sink: &mut Writer) -> String {
        match sink.deliver(&batch("two\n"), 0).await {
            Err(DeliveryError::Misconfigured(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_batch_written_in_part_before_a_crash_is_completed_in_place() {
        let world = world();
        std::fs::write(&world.config.path, "old\nne").unwrap();
        let mut sink = world.resumed(&world.at(1, 4), &[&manifest(&["new\nmore\n"])]).await;
        let (position, moves) = deliver(&mut sink, "new\nmore\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "old\nnew\nmore\n");
        assert_eq!((position.len, moves.len()), (13, 0));
    }

    #[tokio::test]
    async fn a_batch_written_in_part_is_completed_in_its_file_though_that_has_come_of_age() {
        let mut world = world();
        world.config.rotate_after = Some(std::time::Duration::from_secs(10));
        std::fs::write(&world.config.path, "old\nne").unwrap();
        let mut sink = world.resumed(&world.at(1, 4), &[&manifest(&["new\n"])]).await;
        deliver(&mut sink, "new\n", 60_000).await;
        assert_eq!(world.text("out.ndjson"), "old\nnew\n");
        deliver(&mut sink, "next\n", 60_000).await;
        assert_eq!((world.text("out.ndjson.1"), world.text("out.ndjson")), ("old\nnew\n".into(), "next\n".into()));
    }

    #[tokio::test]
    async fn batches_written_whole_before_a_crash_are_recognised_piece_by_piece_and_not_written_again() {
        let world = world();
        let (first, second) = (manifest(&["one\n", "two\n"]), manifest(&["three\n"]));
        // What follows is somebody else's, or the beginning of what is to be completed.
        for (left, had, then) in [
            ("old\none\ntwo\nthree\n", vec![12, 18], "old\none\ntwo\nthree\nnext\n"),
            ("old\none\ntwo\nthree\nforeign\n", vec![12, 18], "old\none\ntwo\nthree\nforeign\nnext\n"),
            ("old\none\ntwo\nne", vec![12], "old\none\ntwo\nnext\n"),
            ("old\none\nTWO\nthree\n", vec![], "old\none\nTWO\nthree\nnext\n"),
        ] {
            std::fs::write(&world.config.path, left).unwrap();
            let mut sink = writer(&world.config);
            let resumed = sink.resume(&lane(&world.at(1, 4)), &[&first, &second], 0).await.unwrap();
            let Resumed::Ready(receipts) = resumed else { panic!("{resumed:?}") };
            let ends: Vec<u64> =
                receipts.iter().map(|receipt| Position::of(receipt.state().unwrap()).unwrap().len).collect();
            assert_eq!(ends, had, "{left:?}");
            deliver(&mut sink, "next\n", 0).await;
            assert_eq!(world.text("out.ndjson"), then);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_made_again_is_taken_back_and_nothing_else() {
        let world = world();
        std::fs::write(&world.config.path, "old\nhalf a l").unwrap();
        let under_way = manifest(&["half a ", "line\n"]);
        let mut sink = world.resumed(&world.at(1, 4), &[&under_way]).await;
        assert_eq!(sink.take_back(&under_way, 0).await.unwrap(), None);
        assert_eq!(world.text("out.ndjson"), "old\n");
        std::fs::write(&world.config.path, "old\nmore than a line of ours\n").unwrap();
        let moved = sink.take_back(&under_way, 0).await.unwrap().unwrap();
        assert_eq!(moved.why, Why::Foreign { bytes: 25 });
        assert_eq!(world.text("out.ndjson"), "old\nmore than a line of ours\n");
    }

    #[tokio::test]
    async fn bytes_behind_the_end_that_are_not_ours_are_left_as_they_are() {
        let world = world();
        std::fs::write(&world.config.path, "old\nforeign\n").unwrap();
        let (position, why) = moves(&mut writer(&world.config), &world.at(1, 4), &[]).await;
        assert_eq!((why, position.len), (Why::Foreign { bytes: 8 }, 12));
        let mut sink = world.resumed(&position, &[]).await;
        deliver(&mut sink, "new\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "old\nforeign\nnew\n");
    }

    #[tokio::test]
    async fn bytes_that_are_not_ours_stay_though_they_came_while_the_sink_was_at_work() {
        let world = world();
        let mut sink = writer(&world.config);
        deliver(&mut sink, "one\n", 0).await;
        let append = |bytes: &str| std::fs::write(&world.config.path, world.text("out.ndjson") + bytes).unwrap();
        append("foreign\n");
        let (position, moves) = deliver(&mut sink, "two\n", 5).await;
        assert_eq!(moves.len(), 1);
        assert_eq!(moves[0].1, Why::Foreign { bytes: 8 });
        assert_eq!(moves[0].0.len, 12, "told before anything is written behind it");
        append("torn");
        deliver(&mut sink, "three\n", 5).await;
        assert_eq!(world.text("out.ndjson"), "one\nforeign\ntwo\ntorn\nthree\n");
        assert_eq!(position.len, 16);
    }

    #[tokio::test]
    async fn a_file_that_another_sink_writes_is_refused_until_that_has_closed_it() {
        let world = world();
        let mut first = writer(&world.config);
        deliver(&mut first, "one\n", 0).await;
        let mut second = writer(&world.config);
        let refused = second.resume(&lane(&world.at(1, 4)), &[], 0).await.unwrap_err().to_string();
        assert!(refused.contains("out.ndjson is locked by another process"), "{refused}");
        drop(first);
        let mut second = world.resumed(&world.at(1, 4), &[]).await;
        deliver(&mut second, "two\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_file_that_another_process_truncated_or_moved_is_refused() {
        let world = world();
        let mut sink = writer(&world.config);
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
        let mut sink = writer(&world.config);
        deliver(&mut sink, "one\n", 1000).await;
        deliver(&mut sink, "two\n", 2000).await;
        deliver(&mut sink, "three\n", 3000).await;
        assert_eq!(world.text("out.ndjson.1"), "one\ntwo\n");
        let (position, moves) = deliver(&mut sink, "four\n", 13_000).await;
        assert_eq!(world.text("out.ndjson.2"), "three\n");
        assert_eq!(world.text("out.ndjson"), "four\n");
        assert_eq!(moves, [(world.at(3, 0), Why::Rotated)]);
        assert_eq!(position, Position { opened_at_ms: 13_000, ..world.at(3, 5) });
    }

    #[tokio::test]
    async fn a_file_never_takes_the_place_of_one_that_bears_its_number() {
        let mut world = world();
        world.config.rotate_bytes = Some(4);
        let mut sink = writer(&world.config);
        deliver(&mut sink, "one\n", 0).await;
        for number in [1, 3] {
            std::fs::write(world.directory.path().join(format!("out.ndjson.{number}")), "precious\n").unwrap();
        }
        let (_, moves) = deliver(&mut sink, "two\n", 0).await;
        assert_eq!(moves, [(world.at(4, 4), Why::Numbered), (world.at(5, 0), Why::Rotated)]);
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
        let mut remembered = world.at(1, 4);
        let under_way = manifest(&["two\n"]);
        // Each process dies after one step; what it told is remembered, or is not because it died before that.
        for step in 0..8 {
            let mut sink = writer(&world.config);
            let told = match sink.resume(&lane(&remembered), &[&under_way], 0).await.unwrap() {
                Resumed::Moved(moved) => Some(moved),
                _ => match sink.deliver(&batch("two\n"), 0).await.unwrap() {
                    Delivery::Moved(moved) => Some(moved),
                    _ => None,
                },
            };
            match told {
                Some(moved) if step % 2 == 1 => remembered = went(&moved).0,
                Some(_) => {}
                None => break,
            }
        }
        let resumed = writer(&world.config).resume(&lane(&remembered), &[&under_way], 0).await.unwrap();
        assert!(matches!(resumed, Resumed::Ready(had) if had.len() == 1));
        assert_eq!(remembered, world.at(3, 0));
        assert_eq!(world.text("out.ndjson.1"), "one\n");
        assert_eq!((world.text("out.ndjson.2"), world.text("out.ndjson")), ("one\n".into(), "two\n".into()));
    }

    impl World {
        /// The sink after its path was changed to `new.ndjson`, as the next process has it.
        fn elsewhere(&self) -> Writer {
            writer(&FileConfig { path: self.directory.path().join("new.ndjson"), ..self.config.clone() })
        }

        /// The beginning of the file at the other path.
        fn begun(&self) -> (Position, Why) {
            let file = self.directory.path().join("new.ndjson");
            let position = Position { path: Some(file.clone()), ..self.at(1, 0) };
            (position, Why::Begun { file, before: Some(self.config.path.clone()) })
        }
    }

    #[tokio::test]
    async fn another_path_is_begun_and_what_is_there_is_kept() {
        let world = world();
        std::fs::write(&world.config.path, "old\n").unwrap();
        std::fs::write(world.directory.path().join("new.ndjson"), "was here\n").unwrap();
        let mut sink = world.elsewhere();
        assert_eq!(moves(&mut sink, &world.at(7, 4), &[]).await, world.begun());
        let (position, why) = moves(&mut sink, &world.begun().0, &[]).await;
        assert_eq!((position.len, why), (9, Why::Foreign { bytes: 9 }));
        deliver(&mut sink, "two\n", 0).await;
        assert_eq!((world.text("out.ndjson"), world.text("new.ndjson")), ("old\n".into(), "was here\ntwo\n".into()));
    }

    #[tokio::test]
    async fn a_batch_under_way_is_completed_in_the_file_it_was_begun_in() {
        let world = world();
        std::fs::write(&world.config.path, "old\nne").unwrap();
        let mut sink = world.elsewhere();
        let resumed = sink.resume(&lane(&world.at(1, 4)), &[&manifest(&["new\n"])], 0).await.unwrap();
        assert!(matches!(resumed, Resumed::Ready(had) if had.is_empty()));
        let (position, moved) = deliver(&mut sink, "new\n", 0).await;
        assert!(moved.is_empty());
        assert_eq!(moves(&mut sink, &position, &[]).await, world.begun());
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
            let mut sink = world.elsewhere();
            assert_eq!(moves(&mut sink, &world.at(1, 4), &[&manifest(&["new\n"])]).await, world.begun());
            deliver(&mut sink, "new\n", 0).await;
            assert_eq!(world.text("new.ndjson"), "new\n");
        }
    }

    #[tokio::test]
    async fn a_store_that_has_no_path_learns_it_and_goes_on_in_the_configured_file() {
        let world = world();
        std::fs::write(&world.config.path, "old\n").unwrap();
        let nameless = Position { path: None, ..world.at(1, 4) };
        assert_eq!(moves(&mut writer(&world.config), &nameless, &[]).await, (world.at(1, 4), Why::Named));
        let mut sink = world.resumed(&world.at(1, 4), &[]).await;
        deliver(&mut sink, "new\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "old\nnew\n");
    }

    #[tokio::test]
    async fn a_state_that_no_file_sink_wrote_parks_the_sink_and_nothing_is_begun() {
        let world = world();
        let other = LaneState { state: Some(State(b"\x09other".as_slice().into())), ..LaneState::default() };
        let refused = writer(&world.config).resume(&other, &[], 0).await;
        assert!(matches!(refused, Err(DeliveryError::Misconfigured(why)) if why.contains("another name")));
        assert!(!world.config.path.exists());
    }

    /// The sink with these keys more, and the mode of the file that it then writes a line to.
    async fn mode_after(world: &World, keys: serde_json::Value) -> u32 {
        let mut table = serde_json::json!({ "path": world.config.path });
        table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let mut sink = writer(&serde_json::from_value(table).unwrap());
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
        let refused = writer(&world.config).resume(&lane(&world.at(1, 0)), &[], 0).await.unwrap_err().to_string();
        assert!(refused.contains("symbolic link"), "{refused}");
        assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o7777, 0o600);
    }
}
