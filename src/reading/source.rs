//! The content of one version, which can be read from its beginning several times.

use std::io::{self, Read};

use bytes::Bytes;

use crate::object::Version;
use crate::object::compression::{Compression, InflateLimits};
use crate::object::inflate::{Inflate, Prover};
use crate::reading::plan::{Limits, ReadingError};
use crate::reading::supply::{BodyReader, RangeReader, Supply};
use crate::records::elements::Elements;
use crate::records::rows::{self, Rows, Unproved};
use crate::records::{Framing, Role};
use crate::room::Taken;

/// An object up to this size is kept in memory during the reading, so that a second pass needs no second download.
const KEPT_BYTES_MAX: u64 = 4 << 20;

/// How many first bytes are enough to recognize a compression or Parquet.
const BEGINNING_BYTES: usize = Compression::MAGIC_BYTES_MAX;

/// The bytes of one version.
pub(super) struct Source {
    pub(super) supply: Supply,
    version: Version,
    key: Box<str>,
    framing: Framing,
    limits: Limits,
    /// Whether the body that was open at the start has been read. A further pass must reopen it.
    is_used: bool,
    /// The first bytes. `None` until they were asked for.
    beginning: Option<Vec<u8>>,
    kept: Option<Bytes>,
    /// The memory lent for `kept`.
    taken: Option<Taken>,
}

impl Source {
    pub(super) fn new(supply: Supply, version: Version, key: &str, framing: Framing, limits: Limits) -> Self {
        Self {
            supply,
            version,
            key: key.into(),
            framing,
            limits,
            is_used: false,
            beginning: None,
            kept: None,
            taken: None,
        }
    }

    /// The stored bytes from the beginning.
    async fn open(&mut self) -> BodyReader {
        if let Some(kept) = &self.kept {
            return BodyReader::Kept(kept.clone());
        }
        if std::mem::replace(&mut self.is_used, true) {
            self.supply.reopen().await;
        }
        if !self.is_kept() {
            return BodyReader::Open { supply: self.supply.clone(), chunk: Bytes::new() };
        }
        let kept = self.supply.whole().await;
        self.kept = Some(kept.clone());
        BodyReader::Kept(kept)
    }

    /// Whether the object is kept in memory: it is small, and the budget lends the memory.
    fn is_kept(&mut self) -> bool {
        if self.taken.is_none() && self.version.size_bytes <= KEPT_BYTES_MAX {
            self.taken = usize::try_from(self.version.size_bytes).ok().and_then(|size| self.supply.room.try_take(size));
        }
        self.taken.is_some()
    }

    /// The first few bytes, fewer if the object is shorter. Must be called before anything is read.
    async fn beginning(&mut self) -> &[u8] {
        if self.beginning.is_none() {
            self.beginning = Some(self.supply.peek(BEGINNING_BYTES).await);
        }
        self.beginning.as_deref().unwrap_or_default()
    }

    /// The stored bytes by range.
    async fn ranges(&mut self) -> RangeReader {
        if self.is_kept() {
            self.open().await;
        }
        RangeReader { supply: self.supply.clone(), size_bytes: self.version.size_bytes, kept: self.kept.clone() }
    }

    /// Inflates a compressed object once and discards the result, so that nothing of a damaged object is delivered.
    /// Returns whether other bytes follow the compressed ones.
    pub(super) async fn prove(&mut self) -> Result<bool, ReadingError> {
        if Compression::of(self.beginning().await) == Compression::None {
            return Ok(false);
        }
        let mut prover = Prover::new(self.open().await, self.inflate_limits(), self.supply.room.clone());
        let proof = self.supply.fed(|| prover.prove()).await?;
        Ok(proof.trailing_garbage)
    }

    fn inflate_limits(&self) -> InflateLimits {
        InflateLimits { inflated_bytes_max: self.limits.inflated_bytes_max, ratio_max: self.limits.inflate_ratio_max }
    }

    /// The content from its beginning.
    pub(super) async fn content(&mut self) -> Result<Content, ReadingError> {
        if !self.holds_rows().await {
            let inflate = Inflate::new(self.open().await, self.inflate_limits());
            let inflate = inflate.in_room(self.supply.room.clone());
            let lines = ContentLines::Stored(Box::new(Elements::of(inflate)));
            return Ok(Content { lines, supply: self.supply.clone() });
        }
        let (text_bytes_max, ratio_max) = (self.limits.inflated_bytes_max, self.limits.inflate_ratio_max);
        let limits = rows::Limits { text_bytes_max, ratio_max, ..rows::Limits::default() };
        let mut unproved = Unproved::new(self.ranges().await, limits);
        let rows = self.supply.fed(|| unproved.prove()).await?;
        Ok(Content { lines: ContentLines::OfRows(Box::new(rows)), supply: self.supply.clone() })
    }

    /// How to tell the role of each line.
    pub(super) async fn role(&mut self) -> Role {
        let holds_rows = self.holds_rows().await;
        self.framing.role(holds_rows)
    }

    /// Whether the object is read as Parquet rows.
    async fn holds_rows(&mut self) -> bool {
        let is_called_so = self.key.clone();
        self.reads_rows() && rows::are_in(&is_called_so, self.beginning().await)
    }

    /// Whether objects of the family may be Parquet files.
    fn reads_rows(&self) -> bool {
        matches!(self.framing, Framing::Rows(_))
    }
}

/// An object's content as lines. Every byte read is counted in the supply.
pub(super) struct Content {
    lines: ContentLines,
    supply: Supply,
}

enum ContentLines {
    Stored(Box<Elements<Inflate<BodyReader>>>),
    OfRows(Box<Rows<RangeReader>>),
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.lines {
            ContentLines::Stored(content) => content.read(into),
            ContentLines::OfRows(content) => content.read(into),
        }?;
        self.supply.count_content(count);
        Ok(count)
    }
}
