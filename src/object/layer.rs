//! One layer of compression around an object's content, in any format, under limits.

use std::io::{self, BufRead as _, Read};

use flate2::bufread::GzDecoder;

use crate::object::compression::{Compression, InflateError, InflateLimits};
use crate::object::decoder::{BZIP2_BYTES, Decoder, blame};
use crate::object::frame;
use crate::object::stored::Stored;
use crate::room::{Room, Taken};

/// The ratio is judged only after this many inflated bytes: a short log of equal lines compresses well and does no
/// harm.
pub(super) const UNJUDGED_BYTES: u64 = 16 << 20;

/// A reader of the inflated content of `source`: all members of a gzip, bzip2 or xz file, all frames of a zstd file,
/// other content unchanged. A source without bytes is empty content, whatever the object's name promises.
///
/// Bytes after the last whole member or frame that do not begin another one are left out, and `trailing_garbage`
/// reports them. A cut exactly between two members cannot be noticed here; the stored size can tell. Errors are
/// [`InflateError`]s inside an [`io::Error`] (see [`InflateError::from_read`]), except that the source's own errors are
/// returned unchanged.
pub(super) struct Layer<R> {
    stage: Stage<R>,
    limits: InflateLimits,
    memory_max: usize,
    compression: Compression,
    inflated_bytes: u64,
    trailing_garbage: bool,
    /// The memory of the window.
    taken: Taken,
}

enum Stage<R> {
    Unread(Stored<R>),
    Plain(Stored<R>),
    /// Inside a gzip member.
    Gzip(Box<GzDecoder<Stored<R>>>),
    /// Inside a zstd frame, or a bzip2 or xz member.
    Coded(Decoder, Stored<R>),
    /// After a whole member or frame.
    Between(Option<Decoder>, Stored<R>),
    Ended(Option<Stored<R>>),
}

impl<R: Read> Layer<R> {
    /// Does not read yet. A window of more than `memory_max` bytes is refused.
    pub(super) fn new(source: R, limits: InflateLimits, memory_max: usize) -> Self {
        Self {
            stage: Stage::Unread(Stored::new(source)),
            limits,
            memory_max,
            compression: Compression::None,
            inflated_bytes: 0,
            trailing_garbage: false,
            taken: Taken::default(),
        }
    }

    /// The decoder's window takes its memory from this room, and waits until it gets it.
    pub(super) fn in_room(self, room: Room) -> Self {
        Self { taken: room.nothing(), ..self }
    }

    /// Whether the content ended before the stored bytes did. Only known at the end of the content.
    pub(super) fn trailing_garbage(&self) -> bool {
        self.trailing_garbage
    }

    /// How many stored bytes were used so far.
    pub(super) fn stored_bytes(&self) -> u64 {
        match &self.stage {
            Stage::Unread(stored) | Stage::Plain(stored) => stored.used_bytes,
            Stage::Coded(_, stored) | Stage::Between(_, stored) => stored.used_bytes,
            Stage::Gzip(decoder) => decoder.get_ref().used_bytes,
            Stage::Ended(stored) => stored.as_ref().map_or(0, |stored| stored.used_bytes),
        }
    }

    pub(super) const fn inflated_bytes(&self) -> u64 {
        self.inflated_bytes
    }

    /// The source that is inflated. `None` after an error.
    pub(super) fn source(&self) -> Option<&R> {
        match &self.stage {
            Stage::Unread(stored) | Stage::Plain(stored) => Some(&stored.source),
            Stage::Coded(_, stored) | Stage::Between(_, stored) => Some(&stored.source),
            Stage::Gzip(decoder) => Some(&decoder.get_ref().source),
            Stage::Ended(stored) => stored.as_ref().map(|stored| &stored.source),
        }
    }

    /// Looks at the first bytes, which show the compression.
    pub(super) fn begin(&mut self) -> Result<Compression, InflateError> {
        if matches!(self.stage, Stage::Unread(_)) {
            self.turn()?;
        }
        Ok(self.compression)
    }

    /// Inflates into `into`. Returns 0 at the end of the content. After an error the content has ended, unless the
    /// source only has no bytes yet.
    pub(super) fn advance(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        let outcome = self.step(into);
        match &outcome {
            Err(InflateError::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.stage = Stage::Ended(None),
            Ok(_) => {}
        }
        outcome
    }

    fn step(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        while !into.is_empty() {
            let count = match &mut self.stage {
                Stage::Ended(_) => break,
                Stage::Unread(_) | Stage::Between(..) => {
                    self.turn()?;
                    continue;
                }
                Stage::Plain(stored) => {
                    let read = stored.read(into);
                    read.map_err(|error| blame(stored, Compression::None, &error))?
                }
                Stage::Gzip(decoder) => {
                    let read = decoder.read(into);
                    read.map_err(|error| blame(decoder.get_mut(), Compression::Gzip, &error))?
                }
                Stage::Coded(decoder, stored) => {
                    let (count, has_ended) = decoder.run(stored, into, &mut self.taken, self.memory_max)?;
                    if has_ended {
                        self.leave();
                    }
                    self.inflated_bytes += count as u64;
                    if count == 0 {
                        continue;
                    }
                    self.judge()?;
                    return Ok(count);
                }
            };
            if count == 0 {
                self.leave();
                continue;
            }
            self.inflated_bytes += count as u64;
            self.judge()?;
            return Ok(count);
        }
        Ok(0)
    }

    /// Leaves a member or frame that has ended, so that the bytes after it are looked at next.
    fn leave(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended(None)) {
            Stage::Gzip(decoder) => Stage::Between(None, decoder.into_inner()),
            Stage::Coded(decoder, stored) => Stage::Between(Some(decoder), stored),
            Stage::Plain(stored) => Stage::Ended(Some(stored)),
            stage => stage,
        };
    }

    /// Looks at what begins here, and goes on to read it.
    fn turn(&mut self) -> Result<(), InflateError> {
        let (Stage::Unread(stored) | Stage::Between(_, stored)) = &mut self.stage else { return Ok(()) };
        if self.compression == Compression::Xz {
            skip_padding(stored)?;
        }
        let first = stored.peek(Compression::MAGIC_BYTES_MAX).map_err(InflateError::Source)?;
        let follows = Compression::of(first);
        if follows == Compression::Zstd {
            let head = stored.peek(frame::HEAD_BYTES).map_err(InflateError::Source)?;
            self.taken.grow_to(frame::memory_bytes(head).min(self.memory_max)).map_err(InflateError::Source)?;
        }
        if follows == Compression::Bzip2 {
            self.taken.grow_to(BZIP2_BYTES).map_err(InflateError::Source)?;
        }
        let is_first = matches!(self.stage, Stage::Unread(_));
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended(None)) {
            Stage::Unread(stored) if follows == Compression::None => Stage::Plain(stored),
            Stage::Between(_, stored) if follows != self.compression => self.end_or_garbage(stored)?,
            Stage::Unread(stored) | Stage::Between(None, stored) if follows == Compression::Gzip => {
                Stage::Gzip(Box::new(GzDecoder::new(stored)))
            }
            // The decoder's memory is used again for the next frame.
            Stage::Between(Some(decoder), stored) if follows == Compression::Zstd => Stage::Coded(decoder, stored),
            Stage::Unread(stored) | Stage::Between(_, stored) => {
                Stage::Coded(Decoder::of(follows, self.memory_max)?, stored)
            }
            stage => stage,
        };
        if is_first {
            self.compression = follows;
        }
        Ok(())
    }

    /// What follows the last whole member or frame. A part of a magic number is another member, cut short.
    fn end_or_garbage(&mut self, stored: Stored<R>) -> Result<Stage<R>, InflateError> {
        let (compression, rest) = (self.compression, stored.buffered());
        let magic = compression.magic();
        if !rest.is_empty() && rest.len() < magic.len() && magic.starts_with(rest) {
            return Err(InflateError::Truncated { compression });
        }
        self.trailing_garbage = !rest.is_empty();
        Ok(Stage::Ended(Some(stored)))
    }

    fn judge(&mut self) -> Result<(), InflateError> {
        if self.compression == Compression::None {
            return Ok(());
        }
        let InflateLimits { inflated_bytes_max, ratio_max } = self.limits;
        let too_large = self.inflated_bytes > inflated_bytes_max;
        let allowed = self.stored_bytes().saturating_mul(ratio_max);
        let ratio_too_high = self.inflated_bytes > UNJUDGED_BYTES && self.inflated_bytes > allowed;
        if too_large || ratio_too_high {
            self.stage = Stage::Ended(None);
        }
        if too_large {
            return Err(InflateError::TooLarge { bytes_max: inflated_bytes_max });
        }
        if ratio_too_high {
            return Err(InflateError::RatioTooHigh { ratio_max });
        }
        Ok(())
    }
}

impl<R: Read> Read for Layer<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.advance(into).map_err(|error| match error {
            InflateError::Source(source) => source,
            error => io::Error::other(error),
        })
    }
}

/// Groups of four null bytes may follow an xz stream (the .xz file format, section 2.2).
fn skip_padding<R: Read>(stored: &mut Stored<R>) -> Result<(), InflateError> {
    while stored.peek(4).map_err(InflateError::Source)? == [0; 4] {
        stored.consume(4);
    }
    Ok(())
}
