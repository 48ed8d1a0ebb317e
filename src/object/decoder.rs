//! The decoders that work from buffer to buffer: zstd, bzip2 and xz.

use std::io::{self, BufRead as _, Read};

use bzip2::Decompress;
use liblzma::stream::{Action, Error as XzError, Status as XzStatus, Stream as XzStream};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use crate::object::compression::{Compression, InflateError};
use crate::object::frame::WINDOW_LOG_MAX;
use crate::object::stored::Stored;
use crate::room::Taken;

/// The memory for inflating bzip2, in bytes: 100 KiB, and 4 bytes for each of a block's 900,000.
pub(super) const BZIP2_BYTES: usize = 4 << 20;

/// The first memory limit of an xz decoder, in bytes. It is doubled as long as the decoder needs more.
const XZ_BYTES: usize = 1 << 20;

pub(super) enum Decoder {
    Zstd(ZstdDecoder<'static>),
    Bzip2(Decompress),
    Xz(Xz),
}

pub(super) struct Xz {
    stream: XzStream,
    /// The decoder's memory limit, in bytes.
    bytes: usize,
    wants_memory: bool,
}

/// The result of one step.
struct Ran {
    used: usize,
    count: usize,
    has_ended: bool,
}

impl Decoder {
    /// A decoder for zstd, bzip2 or xz.
    pub(super) fn of(compression: Compression, memory_max: usize) -> Result<Self, InflateError> {
        let damaged = |reason: String| InflateError::Damaged { compression, reason };
        match compression {
            Compression::Xz => {
                let bytes = XZ_BYTES.min(memory_max);
                let stream = XzStream::new_stream_decoder(bytes as u64, 0);
                stream
                    .map(|stream| Self::Xz(Xz { stream, bytes, wants_memory: false }))
                    .map_err(|error| damaged(error.to_string()))
            }
            Compression::Bzip2 => Ok(Self::Bzip2(Decompress::new(false))),
            Compression::Zstd | Compression::Gzip | Compression::None => {
                let window_log_max = memory_max.ilog2().min(WINDOW_LOG_MAX);
                let decoder = ZstdDecoder::new().and_then(|mut decoder| {
                    decoder.set_parameter(DParameter::WindowLogMax(window_log_max))?;
                    Ok(decoder)
                });
                decoder.map(Self::Zstd).map_err(|error| damaged(error.to_string()))
            }
        }
    }

    fn compression(&self) -> Compression {
        match self {
            Self::Zstd(_) => Compression::Zstd,
            Self::Bzip2(_) => Compression::Bzip2,
            Self::Xz(_) => Compression::Xz,
        }
    }

    /// Inflates some bytes. Returns how many, and whether the frame or member has ended.
    pub(super) fn run<R: Read>(
        &mut self,
        stored: &mut Stored<R>,
        into: &mut [u8],
        taken: &mut Taken,
        memory_max: usize,
    ) -> Result<(usize, bool), InflateError> {
        let compression = self.compression();
        loop {
            let input_ended = match stored.fill_buf() {
                Ok(input) => input.is_empty(),
                Err(error) => return Err(blame(stored, compression, &error)),
            };
            if self.wants_memory() {
                self.allow_more(taken, memory_max)?;
            }
            let damaged = |reason| InflateError::Damaged { compression, reason };
            let ran = self.step(stored.buffered(), into).map_err(damaged)?;
            stored.consume(ran.used);
            if self.wants_memory() {
                continue;
            }
            if !ran.has_ended && ran.count == 0 && input_ended {
                return Err(InflateError::Truncated { compression });
            }
            return Ok((ran.count, ran.has_ended));
        }
    }

    fn step(&mut self, input: &[u8], into: &mut [u8]) -> Result<Ran, String> {
        match self {
            Self::Zstd(decoder) => {
                let mut source = InBuffer::around(input);
                let mut target = OutBuffer::around(into);
                let outcome = decoder.run(&mut source, &mut target);
                let (used, count) = (source.pos(), target.pos());
                let rest = outcome.map_err(|error| error.to_string())?;
                Ok(Ran { used, count, has_ended: rest == 0 })
            }
            Self::Bzip2(decoder) => {
                let before = (decoder.total_in(), decoder.total_out());
                let status = decoder.decompress(input, into).map_err(|error| error.to_string())?;
                let (used, count) = since(before, (decoder.total_in(), decoder.total_out()));
                Ok(Ran { used, count, has_ended: status == bzip2::Status::StreamEnd })
            }
            Self::Xz(Xz { stream, wants_memory, .. }) => {
                let before = (stream.total_in(), stream.total_out());
                let status = match stream.process(input, into, Action::Run) {
                    // The bytes that the decoder read before this error are used.
                    Err(XzError::MemLimit) => {
                        *wants_memory = true;
                        XzStatus::Ok
                    }
                    status => status.map_err(|error| error.to_string())?,
                };
                let (used, count) = since(before, (stream.total_in(), stream.total_out()));
                Ok(Ran { used, count, has_ended: status == XzStatus::StreamEnd })
            }
        }
    }

    fn wants_memory(&self) -> bool {
        matches!(self, Self::Xz(Xz { wants_memory: true, .. }))
    }

    /// Raises the memory limit of an xz decoder until it can go on.
    fn allow_more(&mut self, taken: &mut Taken, memory_max: usize) -> Result<(), InflateError> {
        let Self::Xz(Xz { stream, bytes, wants_memory }) = self else { return Ok(()) };
        while *bytes < memory_max {
            let more = (*bytes * 2).min(memory_max);
            taken.grow_to(more).map_err(InflateError::Source)?;
            *bytes = more;
            if stream.set_memlimit(more as u64).is_ok() {
                *wants_memory = false;
                return Ok(());
            }
        }
        let reason = format!("it wants more than {memory_max} bytes of memory");
        Err(InflateError::Damaged { compression: Compression::Xz, reason })
    }
}

fn since(before: (u64, u64), now: (u64, u64)) -> (usize, usize) {
    let difference = |before: u64, now: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
    (difference(before.0, now.0), difference(before.1, now.1))
}

/// The meaning of a decoder's error: the source's failure, if there was one, or else a fault of the stream.
pub(super) fn blame<R>(stored: &mut Stored<R>, compression: Compression, error: &io::Error) -> InflateError {
    if let Some(failure) = stored.failure.take() {
        return InflateError::Source(failure);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => InflateError::Truncated { compression },
        _ => InflateError::Damaged { compression, reason: error.to_string() },
    }
}
