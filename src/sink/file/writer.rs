//! Writes batches to the file, completes a batch that a crash cut short, and goes on in the next file if this one is
//! full or was renamed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::access::Access;
use super::config::{FileConfig, compression_of};
use super::members::{self, Rest, Tail};
use super::numbered;
use super::opened::{self, Missing, Opened};
use super::position::Position;
use super::written::Written;
use crate::batch::{Batch, Manifest};
use crate::sink::http::body::Compression;
use crate::sink::{Delivery, DeliveryError, LaneState, Moved, OpenError, Receipt, Resumed, Why};

/// The writer of a file sink. The bytes after the committed length are the beginning of a batch that was sealed but not
/// yet committed. The writer completes that batch and does not cut it off, so that no program that follows the file
/// reads a line twice. Only a torn compressed member that is not the beginning of the sealed batch is cut off.
pub(super) struct Writer {
    config: FileConfig,
    access: Access,
    /// Where the last committed batch ends. Its file is the configured one, or the previous one until a batch under way
    /// in it is completed.
    position: Position,
    open: Option<Opened>,
}

/// What an operator can do if the file is gone.
const GONE_WAYS_OUT: &str = "put it back, create an empty file in its place, or give the sink another `path` and start \
                             again: it goes on there";

/// What an operator can do if the file was truncated.
const CUT_WAYS_OUT: &str = "logrotate's `copytruncate` is not supported, since what is written between its copy and its \
                            cut is in neither; let it rename the file, and now move this one away: the sink begins the next";

/// Where the file of the position was found.
enum Located {
    /// The file has this name.
    Here(PathBuf),
    /// The file does not exist yet: nothing was committed to it.
    Unborn,
    Gone,
    /// Another file is at its path, or the file was truncated and then renamed.
    Replaced,
}

impl Writer {
    pub(super) fn new(config: FileConfig) -> Result<Self, OpenError> {
        let access = Access::new(config.mode, config.group.clone())?;
        Ok(Self { config, access, position: Position::default(), open: None })
    }

    /// Resumes where the last process stopped. Bytes after the committed length are the beginning of a sealed batch, or
    /// were not written by this sink. A file that is not at the configured path any more is left once no batch is under
    /// way in it.
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
        if sealed.is_empty() {
            if let Some(moved) = self.leave_tail(now_ms).await? {
                return Ok(Resumed::Moved(moved));
            }
            if self.open()?.is_renamed {
                return self.turn(Why::Renamed).await.map(Resumed::Moved);
            }
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

    /// Takes over the position that the checkpoint store has.
    fn go_to(&mut self, lane: &LaneState) -> Result<(), DeliveryError> {
        let position = match &lane.state {
            Some(state) => Position::of(state).ok_or_else(|| {
                let what = "cannot be continued: what the checkpoint store holds of the sink was not written by a file \
                            sink of this program; run the newer program, or give the sink another name, which begins anew";
                opened::refused(&self.config.path, what)
            })?,
            None => Position::default(),
        };
        if position != self.position {
            self.open = None;
            self.position = position;
        }
        Ok(())
    }

    /// Where the file of the position should be.
    fn path(&self) -> &Path {
        self.position.path.as_deref().unwrap_or(&self.config.path)
    }

    /// Whether the whole sealed batch is in the file already: the process wrote it and ended before the commit.
    async fn written(&mut self, manifest: &Manifest) -> Result<Option<Receipt>, DeliveryError> {
        let (compression, committed) = (compression_of(self.path()), self.position.len);
        let pieces: Vec<_> = manifest.pieces().copied().collect();
        let open = self.open()?;
        let end = move |file: &File| members::end_of_batch(file, compression, committed, pieces.iter());
        let Some(end) = open.on("read", end).await? else { return Ok(None) };
        open.sync().await?;
        self.position.len = end;
        Ok(Some(Receipt::at(self.position.state())))
    }

    /// Writes the batch, or the part of it that is missing in the file. The next file begins only between batches.
    pub(super) async fn deliver(&mut self, batch: &Batch, now_ms: i64) -> Result<Delivery, DeliveryError> {
        if let Some(moved) = self.find_file().await? {
            return Ok(Delivery::Moved(moved));
        }
        let committed = self.position.len;
        let written = Written::of(batch, compression_of(self.path())).await?;
        let mut begun = self.open()?.read(committed, written.len.saturating_add(1)).await?;
        if !written.begins_with(&begun) {
            if let Some(moved) = self.leave_tail(now_ms).await? {
                return Ok(Delivery::Moved(moved));
            }
            begun.clear();
        }
        if begun.is_empty()
            && let Some(moved) = self.leave_file(now_ms).await?
        {
            return Ok(Delivery::Moved(moved));
        }
        let end = committed + written.len;
        let open = self.open()?;
        open.append(written.from(begun.len())).await?;
        if open.is_removed || open.len < end {
            let what = if open.is_removed { "removed" } else { "truncated" };
            let path = self.path().display();
            return Err(DeliveryError::unavailable(format!(
                "{path} was {what} by another process while it was written"
            )));
        }
        if committed == 0 {
            self.position.opened_at_ms = now_ms;
        }
        // If another program wrote after the batch, the next call finds its bytes.
        self.position.len = end;
        Ok(Delivery::Taken(Receipt::at(self.position.state())))
    }

    /// Cuts off the written part of a sealed batch that cannot be rebuilt. If there are more bytes than the batch has,
    /// they are not this sink's, and are kept.
    pub(super) async fn take_back(&mut self, manifest: &Manifest, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        if let Some(moved) = self.find_file().await? {
            return Ok(Some(moved));
        }
        let (compression, committed) = (compression_of(self.path()), self.position.len);
        let open = self.open()?;
        if compression == Compression::None && open.len - committed <= manifest.bytes() {
            open.cut(committed).await?;
            return Ok(None);
        }
        self.leave_tail(now_ms).await
    }

    /// If the file was renamed and no batch is under way in it, closes it and opens the next.
    pub(super) async fn reopen(&mut self) -> Result<Option<Moved>, DeliveryError> {
        if self.position.number == 0 {
            return Ok(None);
        }
        if let Some(moved) = self.find_file().await? {
            return Ok(Some(moved));
        }
        let committed = self.position.len;
        let open = self.open()?;
        if open.is_renamed && open.len == committed {
            return self.turn(Why::Renamed).await.map(Some);
        }
        Ok(None)
    }

    /// Keeps the bytes after the committed length that another program wrote, or that a restored checkpoint store does
    /// not know of. Only bytes known to be this sink's are cut off. An unfinished line is ended, so that the sink's own
    /// lines begin on a new line. In a compressed file a torn member is the sink's own and is cut off. If there are
    /// bytes that are not a member, the sink goes on in the next file, since readers stop at such bytes.
    async fn leave_tail(&mut self, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        let (compression, committed) = (compression_of(self.path()), self.position.len);
        let open = self.open()?;
        let bytes = open.len - committed;
        if bytes == 0 {
            return Ok(None);
        }
        if compression == Compression::None {
            if !open.is_renamed && open.read(open.len - 1, 1).await? != b"\n" {
                open.append(vec![Bytes::from_static(b"\n")]).await?;
            }
        } else {
            let read = move |file: &File| members::tail(file, compression, committed);
            let Tail { whole_to, rest } = open.on("read", read).await?;
            if rest == Rest::Torn {
                open.cut(whole_to).await?;
            }
            if rest == Rest::Foreign && !open.is_renamed {
                return self.rotate(Why::Foreign { bytes }).await.map(Some);
            }
        }
        let (len, is_renamed) = (open.len, open.is_renamed);
        if is_renamed {
            return self.turn(Why::Renamed).await.map(Some);
        }
        if len == committed {
            return Ok(None);
        }
        if committed == 0 {
            self.position.opened_at_ms = now_ms;
        }
        self.position.len = len;
        let bytes = bytes.min(len - committed);
        Ok(Some(self.moved(Why::Foreign { bytes })))
    }

    /// Goes on in the next file if it is time for that. The caller makes sure that no batch is under way in this one.
    async fn leave_file(&mut self, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        if self.path() != self.config.path {
            return self.begin().await.map(Some);
        }
        if self.open()?.is_renamed {
            return self.turn(Why::Renamed).await.map(Some);
        }
        if self.must_rotate(now_ms) {
            return self.rotate(Why::Rotated).await.map(Some);
        }
        Ok(None)
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

    /// Gives the file its number, and begins the next file. The number is stored before the file is renamed; after a
    /// crash the file is found by its inode.
    async fn rotate(&mut self, why: Why) -> Result<Moved, DeliveryError> {
        let path = self.path();
        let free = numbered::free(path, self.position.number).await;
        let number = free.map_err(|error| opened::unavailable("number", path, &error))?;
        if number != self.position.number {
            self.position.number = number;
            return Ok(self.moved(Why::Numbered));
        }
        let renamed = numbered::rename(path, &numbered::name(path, number)).await;
        renamed.map_err(|error| opened::unavailable("rename", path, &error))?;
        opened::sync_directory(path).await?;
        self.turn(why).await
    }

    /// Begins the sink's first file, or its first file at a newly configured `path`.
    async fn begin(&mut self) -> Result<Moved, DeliveryError> {
        let file = self.config.path.clone();
        let before = self.position.path.clone().filter(|before| *before != file);
        self.turn(Why::Begun { file, before }).await
    }

    /// Goes on in the configured file: creates it, or adopts an existing one. The position changes only once that file
    /// is open.
    async fn turn(&mut self, why: Why) -> Result<Moved, DeliveryError> {
        let path = &self.config.path;
        let number = match self.position.number {
            number if number > 0 && self.path() == path => number + 1,
            _ => numbered::free(path, 1).await.map_err(|error| opened::unavailable("number", path, &error))?,
        };
        let next = Opened::open(path, path, Missing::Created, &self.access).await?;
        let path = Some(path.clone());
        self.position = Position { number, file: Some(next.id), path, ..Position::default() };
        self.open = Some(next);
        Ok(self.moved(why))
    }

    /// Finds and opens the file of the position, and inspects it. Returns where the sink must go first, if anywhere.
    async fn find_file(&mut self) -> Result<Option<Moved>, DeliveryError> {
        if self.position.number == 0 {
            return self.begin().await.map(Some);
        }
        let (path, committed) = (self.path().to_owned(), self.position.len);
        if let Some(open) = &mut self.open {
            open.look(&path).await?;
        }
        self.open.take_if(|open| open.is_removed);
        if self.open.is_none() {
            let (name, missing) = match self.locate().await? {
                Located::Here(name) => (name, Missing::Refused),
                Located::Unborn => (path.clone(), Missing::Created),
                Located::Gone => {
                    let why = format!("is gone; {committed} bytes were written to it; {GONE_WAYS_OUT}");
                    return Err(opened::refused(&path, &why));
                }
                Located::Replaced => return self.turn(Why::Replaced).await.map(Some),
            };
            self.open = Some(Opened::open(&name, &path, missing, &self.access).await?);
        }
        let &mut Opened { id, len, is_renamed, .. } = self.open()?;
        if len < committed && is_renamed {
            return self.turn(Why::Replaced).await.map(Some);
        }
        if len < committed {
            self.open = None;
            let why =
                format!("holds {len} bytes, {committed} were written: another process truncated it; {CUT_WAYS_OUT}");
            return Err(opened::refused(&path, &why));
        }
        let is_known = self.position.file == Some(id) && self.position.path.is_some();
        (self.position.file, self.position.path) = (Some(id), Some(path));
        Ok((!is_known).then(|| self.moved(Why::Named)))
    }

    /// Looks for the file of the position: at its path, then by its inode in the same directory.
    async fn locate(&self) -> Result<Located, DeliveryError> {
        let Position { number, len, file, .. } = self.position;
        let path = self.path();
        let failed = |error: io::Error| opened::unavailable("look for", path, &error);
        let there = numbered::look(path).await.map_err(failed)?;
        if there.as_ref().is_some_and(|there| file.is_none_or(|file| file.is(there))) {
            return Ok(Located::Here(path.to_owned()));
        }
        let renamed = match file {
            Some(file) => numbered::find(path, file).await.map_err(failed)?,
            // An older program may have been killed between renaming the file and storing that.
            None => {
                let name = numbered::name(path, number);
                let found = numbered::look(&name).await.map_err(failed)?;
                found.filter(|found| len > 0 && found.len() >= len).map(|found| (name, found))
            }
        };
        Ok(match (renamed, there) {
            (Some((name, found)), _) if found.len() >= len => Located::Here(name),
            (None, None) if len == 0 => Located::Unborn,
            (None, None) => Located::Gone,
            // The file was replaced by a copy, which is at its path.
            (None, Some(there)) if there.len() >= len => Located::Here(path.to_owned()),
            _ => Located::Replaced,
        })
    }

    /// Whether a file with all committed bytes exists, whatever its name.
    async fn is_there(&self) -> bool {
        let Ok(Located::Here(name)) = self.locate().await else { return false };
        matches!(numbered::look(&name).await, Ok(Some(found)) if found.len() >= self.position.len)
    }

    fn open(&mut self) -> Result<&mut Opened, DeliveryError> {
        self.open.as_mut().ok_or_else(|| DeliveryError::unavailable("the file is not open"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::batch::{Advance, PieceMark, RequestLimits, SealedPart};
    use crate::notification::ObjectId;
    use crate::sink::State;
    use crate::sink::file::identity::FileId;

    struct World {
        directory: tempfile::TempDir,
        config: FileConfig,
    }

    fn world() -> World {
        world_of("out.ndjson")
    }

    fn world_of(name: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        let config = serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
        World { directory, config }
    }

    impl World {
        /// The inflated content of a file, as any reader would see it.
        fn text(&self, name: &str) -> String {
            let stored = std::fs::read(self.directory.path().join(name)).unwrap();
            let mut text = String::new();
            match compression_of(Path::new(name)) {
                Compression::None => return String::from_utf8(stored).unwrap(),
                Compression::Gzip => {
                    flate2::read::MultiGzDecoder::new(&*stored).read_to_string(&mut text).map(drop).unwrap();
                }
                Compression::Zstd => text = String::from_utf8(zstd::decode_all(&*stored).unwrap()).unwrap(),
            }
            text
        }

        fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
            std::fs::write(self.directory.path().join(name), bytes).unwrap();
        }

        fn is_there(&self, name: &str) -> bool {
            self.directory.path().join(name).exists()
        }
    }

    /// A manifest of a batch with these pieces.
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

    /// The lane state that the store has of a sink at this position.
    fn lane(position: &Position) -> LaneState {
        LaneState { state: Some(position.state()), ..LaneState::default() }
    }

    /// The position that the sink moved to, and why.
    fn went(moved: &Moved) -> (Position, Why) {
        (Position::of(&moved.state).unwrap(), moved.why.clone())
    }

    impl World {
        fn id(&self, name: &str) -> Option<FileId> {
            std::fs::metadata(self.directory.path().join(name)).ok().map(|file| FileId::of(&file))
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.directory.path().join(from), self.directory.path().join(to)).unwrap();
        }

        /// The position after `len` bytes of file `number`, which exists.
        fn at(&self, number: u64, len: u64) -> Position {
            let path = self.config.path.clone();
            let file = self.id(path.file_name().unwrap().to_str().unwrap());
            Position { number, len, opened_at_ms: 0, file, path: Some(path) }
        }

        /// A sink that resumed at `from`, with these sealed batches under way.
        async fn resumed(&self, from: &Position, under_way: &[&Manifest]) -> Writer {
            let mut sink = writer(&self.config);
            let resumed = sink.resume(&lane(from), under_way, 0).await.unwrap();
            assert!(matches!(resumed, Resumed::Ready(had) if had.is_empty()));
            sink
        }
    }

    /// Where the sink moves when it resumes at `from`, and why.
    async fn moves(sink: &mut Writer, from: &Position, under_way: &[&Manifest]) -> (Position, Why) {
        match sink.resume(&lane(from), under_way, 0).await.unwrap() {
            Resumed::Moved(moved) => went(&moved),
            other => panic!("{other:?}"),
        }
    }

    /// Delivers like a sink worker. Returns the position after the batch, and the moves before it.
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
        // After the batches come another program's bytes, or the beginning of a batch.
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
    async fn a_file_that_was_truncated_in_place_is_refused_until_it_is_moved_away() {
        for compressed in ["out.ndjson", "out.ndjson.gz"] {
            let world = world_of(compressed);
            let mut sink = writer(&world.config);
            let (position, _) = deliver(&mut sink, "one\n", 0).await;
            let copy = std::fs::read(&world.config.path).unwrap();
            // This is what logrotate's `copytruncate` does.
            world.write("copy", &copy);
            std::fs::File::options().write(true).open(&world.config.path).unwrap().set_len(0).unwrap();
            for _ in 0..2 {
                let refused = refusal(&mut sink).await;
                assert!(refused.contains("holds 0 bytes") && refused.contains("copytruncate"), "{refused}");
            }
            let resumed = writer(&world.config).resume(&lane(&position), &[&manifest(&["two\n"])], 0).await;
            assert!(matches!(resumed, Err(DeliveryError::Misconfigured(why)) if why.contains("truncated")));
            assert_eq!(std::fs::metadata(&world.config.path).unwrap().len(), 0, "nothing is written there");
            world.rename(compressed, "cut");
            let (_, moves) = deliver(&mut sink, "two\n", 0).await;
            assert_eq!(moves.len(), 1);
            assert_eq!(moves[0].1, Why::Replaced);
            assert_eq!(world.text(compressed), "two\n");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_refused_until_another_has_its_place() {
        let world = world();
        let mut sink = writer(&world.config);
        let (position, _) = deliver(&mut sink, "one\n", 0).await;
        std::fs::remove_file(&world.config.path).unwrap();
        assert!(refusal(&mut sink).await.contains("is gone; 4 bytes were written"));
        assert!(refusal(&mut writer_at(&world, &position)).await.contains("is gone"));
        assert!(!world.config.path.exists(), "nothing is begun anew behind the operator's back");
        world.write("out.ndjson", "");
        let (_, moves) = deliver(&mut sink, "two\n", 0).await;
        assert_eq!(moves.iter().map(|(_, why)| why).collect::<Vec<_>>(), [&Why::Replaced]);
        assert_eq!(world.text("out.ndjson"), "two\n");
    }

    /// A writer at this position that has not inspected its file yet.
    fn writer_at(world: &World, position: &Position) -> Writer {
        let mut sink = writer(&world.config);
        sink.go_to(&lane(position)).unwrap();
        sink
    }

    #[tokio::test]
    async fn a_file_that_was_copied_into_its_place_is_gone_on_with() {
        let world = world();
        let mut sink = writer(&world.config);
        let (position, _) = deliver(&mut sink, "one\n", 0).await;
        drop(sink);
        // A file restored from a backup, or moved to another disk, has another inode.
        world.rename("out.ndjson", "before");
        std::fs::copy(world.directory.path().join("before"), &world.config.path).unwrap();
        std::fs::remove_file(world.directory.path().join("before")).unwrap();
        let mut sink = writer(&world.config);
        assert_eq!(moves(&mut sink, &position, &[]).await, (world.at(1, 4), Why::Named));
        deliver(&mut sink, "two\n", 0).await;
        assert_eq!(world.text("out.ndjson"), "one\ntwo\n");
    }

    #[tokio::test]
    async fn after_a_rename_the_next_file_is_begun_with_or_without_a_new_one_there() {
        for name in ["out.ndjson", "out.ndjson.gz", "out.ndjson.zst"] {
            for creates in [false, true] {
                let world = world_of(name);
                let mut sink = writer(&world.config);
                deliver(&mut sink, "one\n", 0).await;
                let renamed = format!("renamed-{name}");
                world.rename(name, &renamed);
                if creates {
                    world.write(name, "");
                }
                let (position, moves) = deliver(&mut sink, "two\n", 5).await;
                assert_eq!(moves, [(world.at(2, 0), Why::Renamed)]);
                assert_eq!((position.number, position.opened_at_ms), (2, 5));
                deliver(&mut sink, "three\n", 5).await;
                assert_eq!((world.text(&renamed), world.text(name)), ("one\n".into(), "two\nthree\n".into()));
            }
        }
    }

    #[tokio::test]
    async fn a_batch_that_was_begun_before_a_rename_is_completed_in_the_renamed_file() {
        let world = world();
        let mut sink = writer(&world.config);
        deliver(&mut sink, "one\n", 0).await;
        // A full disk leaves a batch half written.
        world.append("out.ndjson", b"tw");
        // The file is completed even where only the open handle still leads to it.
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::rename(&world.config.path, elsewhere.path().join("old")).unwrap();
        let (_, moves) = deliver(&mut sink, "two\n", 0).await;
        assert!(moves.is_empty());
        assert_eq!(std::fs::read_to_string(elsewhere.path().join("old")).unwrap(), "one\ntwo\n");
        deliver(&mut sink, "three\n", 0).await;
        assert_eq!(std::fs::read_to_string(elsewhere.path().join("old")).unwrap(), "one\ntwo\n");
        assert_eq!(world.text("out.ndjson"), "three\n");
    }

    #[tokio::test]
    async fn a_renamed_file_is_left_only_once_the_next_can_be_opened() {
        let world = world();
        let mut sink = writer(&world.config);
        deliver(&mut sink, "one\n", 0).await;
        world.rename("out.ndjson", "aside");
        std::fs::create_dir(&world.config.path).unwrap();
        let refused = sink.deliver(&batch("two\n"), 0).await;
        assert!(matches!(refused, Err(DeliveryError::Unavailable { .. })), "{refused:?}");
        std::fs::remove_dir(&world.config.path).unwrap();
        world.rename("aside", "out.ndjson");
        let (_, moves) = deliver(&mut sink, "two\n", 0).await;
        assert!(moves.is_empty());
        assert_eq!(world.text("out.ndjson"), "one\ntwo\n");
    }

    /// What happened to the file between two processes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Meanwhile {
        Nothing,
        Renamed,
        RenamedAndCreated,
    }

    impl World {
        fn append(&self, name: &str, bytes: &[u8]) {
            let mut file = std::fs::File::options().append(true).open(self.directory.path().join(name)).unwrap();
            file.write_all(bytes).unwrap();
        }

        /// Resumes like a sink worker, and takes over the position of what the file has already. Returns whether that
        /// was the sealed batch.
        async fn recovered(&self, from: &Position, sealed: &Manifest) -> (Writer, Position, bool) {
            let (mut sink, mut position) = (writer(&self.config), from.clone());
            loop {
                match sink.resume(&lane(&position), &[sealed], 0).await.unwrap() {
                    Resumed::Moved(moved) => position = went(&moved).0,
                    Resumed::Ready(receipts) => {
                        let receipt = receipts.first().and_then(|receipt| Position::of(receipt.state().unwrap()));
                        let has_it = receipt.is_some();
                        return (sink, receipt.unwrap_or(position), has_it);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        /// The content of these files, in this order.
        fn all(&self, names: &[&str]) -> String {
            names.iter().filter(|name| self.is_there(name)).map(|name| self.text(name)).collect()
        }
    }

    #[tokio::test]
    async fn a_process_that_is_killed_at_any_byte_of_a_batch_loses_and_repeats_nothing_whatever_became_of_the_file() {
        use Meanwhile::{Nothing, Renamed, RenamedAndCreated};
        let text = "the batch\nthat was under way\n";
        for name in ["out.ndjson", "out.ndjson.gz", "out.ndjson.zst"] {
            let compression = compression_of(Path::new(name));
            let whole = compression.compressed(text.into());
            for cut in 0..=whole.len() {
                for meanwhile in [Nothing, Renamed, RenamedAndCreated] {
                    let world = world_of(name);
                    let mut sink = writer(&world.config);
                    let (position, _) = deliver(&mut sink, "old\n", 0).await;
                    drop(sink);
                    world.append(name, &whole[..cut]);
                    if meanwhile != Nothing {
                        world.rename(name, "1");
                        // A name that the sink cannot guess.
                        world.rename("1", &format!("a-{name}"));
                    }
                    if meanwhile == RenamedAndCreated {
                        world.write(name, "");
                    }
                    let (mut sink, position, has_it) = world.recovered(&position, &manifest(&[text])).await;
                    assert_eq!(has_it, cut == whole.len(), "{name}, {cut} bytes, {meanwhile:?}");
                    if !has_it {
                        deliver(&mut sink, text, 0).await;
                    } else {
                        sink.go_to(&lane(&position)).unwrap();
                    }
                    deliver(&mut sink, "next\n", 0).await;
                    let renamed = format!("a-{name}");
                    let files = [&*renamed, name];
                    assert_eq!(world.all(&files), format!("old\n{text}next\n"), "{name}, {cut} bytes, {meanwhile:?}");
                    let is_new = !world.is_there(&renamed) || world.text(name).ends_with("next\n");
                    assert!(is_new, "{name}, {cut} bytes, {meanwhile:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_torn_member_that_cannot_be_completed_is_cut_off() {
        let text = "the batch that was under way\n".repeat(100);
        for name in ["out.gz", "out.zst"] {
            // A program with another library, or another level, compresses to other bytes.
            let whole = match compression_of(Path::new(name)) {
                Compression::Zstd => zstd::encode_all(text.as_bytes(), 19).unwrap(),
                _ => {
                    let level = flate2::Compression::new(1);
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                    encoder.write_all(text.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                }
            };
            assert_ne!(whole, compression_of(Path::new(name)).compressed(text.clone().into()));
            for renamed in [false, true] {
                for made_again in [false, true] {
                    for cut in [1, whole.len() / 2, whole.len() - 1] {
                        let world = world_of(name);
                        let (position, _) = deliver(&mut writer(&world.config), "old\n", 0).await;
                        world.append(name, &whole[..cut]);
                        if renamed {
                            world.rename(name, "renamed.gz.zst");
                            world.rename("renamed.gz.zst", &format!("a-{name}"));
                        }
                        let sealed = manifest(&[&text]);
                        let (mut sink, _, has_it) = world.recovered(&position, &sealed).await;
                        assert!(!has_it);
                        let expected = if made_again {
                            deliver(&mut sink, &text, 0).await;
                            format!("old\n{text}next\n")
                        } else {
                            while sink.take_back(&sealed, 0).await.unwrap().is_some() {}
                            "old\nnext\n".to_owned()
                        };
                        deliver(&mut sink, "next\n", 0).await;
                        assert_eq!(world.all(&[&format!("a-{name}"), name]), expected, "{name}, {cut} bytes");
                    }
                }
            }
            // A whole member is recognised although its bytes differ from what this program would write.
            let world = world_of(name);
            let (position, _) = deliver(&mut writer(&world.config), "old\n", 0).await;
            world.append(name, &whole);
            assert!(world.recovered(&position, &manifest(&[&text])).await.2);
        }
    }

    #[tokio::test]
    async fn members_of_somebody_else_are_kept_and_what_is_no_member_ends_the_file() {
        for (name, numbered) in [("out.gz", "out.1.gz"), ("out.zst", "out.1.zst")] {
            let compression = compression_of(Path::new(name));
            let world = world_of(name);
            let mut sink = writer(&world.config);
            let (before, _) = deliver(&mut sink, "one\n", 0).await;
            let foreign = compression.compressed(b"foreign\n".to_vec());
            world.append(name, &foreign);
            let (position, moves) = deliver(&mut sink, "two\n", 0).await;
            assert_eq!(
                moves,
                [(
                    Position { len: before.len + foreign.len() as u64, ..before.clone() },
                    Why::Foreign { bytes: foreign.len() as u64 }
                )]
            );
            assert_eq!(world.text(name), "one\nforeign\ntwo\n");
            // A reader would stop at a line between two members.
            world.append(name, b"no member\n");
            let (_, moves) = deliver(&mut sink, "three\n", 0).await;
            assert_eq!(moves, [(world.at(2, 0), Why::Foreign { bytes: 10 })]);
            assert_eq!(world.text(name), "three\n");
            let ended = std::fs::read(world.directory.path().join(numbered)).unwrap();
            assert_eq!(ended.len() as u64, position.len + 10);
            assert!(ended.ends_with(b"no member\n"), "what is not ours is kept");
        }
    }

    #[tokio::test]
    async fn without_its_state_a_sink_keeps_the_whole_members_and_cuts_a_torn_one() {
        for name in ["out.gz", "out.zst"] {
            let compression = compression_of(Path::new(name));
            let world = world_of(name);
            let mut sink = writer(&world.config);
            let (position, _) = deliver(&mut sink, "one\n", 0).await;
            drop(sink);
            world.append(name, &compression.compressed(b"two\n".to_vec())[..9]);
            let mut sink = writer(&world.config);
            let (begun, _) = moves(&mut sink, &Position::default(), &[]).await;
            let (adopted, why) = moves(&mut sink, &begun, &[]).await;
            assert_eq!((why, adopted.len), (Why::Foreign { bytes: position.len }, position.len));
            deliver(&mut sink, "two\n", 0).await;
            assert_eq!(world.text(name), "one\ntwo\n");
        }
    }

    #[tokio::test]
    async fn a_reopened_sink_leaves_a_renamed_file_and_creates_the_next() {
        let world = world();
        let mut sink = writer(&world.config);
        assert_eq!(sink.reopen().await.unwrap(), None, "nothing was begun yet");
        deliver(&mut sink, "one\n", 0).await;
        assert_eq!(sink.reopen().await.unwrap(), None);
        world.rename("out.ndjson", "out.ndjson.1");
        // A batch under way keeps the file open.
        world.append("out.ndjson.1", b"tw");
        assert_eq!(sink.reopen().await.unwrap(), None);
        assert!(!world.is_there("out.ndjson"));
        deliver(&mut sink, "two\n", 0).await;
        let moved = sink.reopen().await.unwrap().unwrap();
        assert_eq!(went(&moved), (world.at(2, 0), Why::Renamed));
        assert_eq!(sink.reopen().await.unwrap(), None);
        assert_eq!((world.text("out.ndjson.1"), world.text("out.ndjson")), ("one\ntwo\n".into(), String::new()));
        let renamed = std::fs::File::open(world.directory.path().join("out.ndjson.1")).unwrap();
        assert!(renamed.try_lock().is_ok(), "the renamed file is closed");
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
        let numbered = Position { file: world.id("out.ndjson.4"), ..world.at(4, 4) };
        assert_eq!(moves, [(numbered, Why::Numbered), (world.at(5, 0), Why::Rotated)]);
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
        // Each process dies after one step. Its move is stored, or the process died before that.
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
        /// The same sink in the next process, after its path was changed to `new.ndjson`.
        fn elsewhere(&self) -> Writer {
            writer(&FileConfig { path: self.directory.path().join("new.ndjson"), ..self.config.clone() })
        }

        /// The move to the beginning of the file at the new path.
        fn begun(&self) -> (Position, Why) {
            let file = self.directory.path().join("new.ndjson");
            let (path, id) = (Some(file.clone()), self.id("new.ndjson"));
            let position = Position { path, file: id, ..self.at(1, 0) };
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

    /// Writes one line with these additional keys, and returns the mode of the file.
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
}
