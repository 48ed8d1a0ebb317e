//! Inflates an object's bytes as they stream by, under limits, whatever they were compressed with.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use crate::object::frame::{self, WINDOW_LOG_MAX};
use crate::object::stored::Stored;
use crate::room::{Room, Taken};

/// RFC 1952, section 2.3.1.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// The first bytes of the inflated content that are kept.
const BEGINNING_BYTES: usize = 4;

/// Inflated at once where nothing is kept.
const SCRATCH_BYTES: usize = 64 << 10;

/// The ratio is judged only past so many inflated bytes: a short log of equal lines compresses well and does no harm.
const UNJUDGED_BYTES: u64 = 16 << 20;

/// How far an object may inflate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InflateLimits {
    /// The most a compressed object may inflate to, in bytes. What is stored plain is not limited by it.
    pub inflated_bytes_max: u64,
    /// The highest ratio of inflated to stored bytes, judged past the first 16 MiB inflated.
    pub ratio_max: u64,
}

/// Why stored bytes do not inflate. All but `Source` are for ever: the same version never reads better.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// The compressed stream ends before its end: the object was cut, or is still being written by a copier.
    #[error("the {compression} stream is cut short")]
    Truncated { compression: Compression },
    /// The compressed stream contradicts itself or its checksum, or wants more memory than it may have.
    #[error("the {compression} stream is damaged: {reason}")]
    Damaged { compression: Compression, reason: String },
    #[error("inflates to more than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("inflates to more than {ratio_max} times its size")]
    RatioTooHigh { ratio_max: u64 },
    /// The stored bytes could not be read. They may be sound.
    #[error("the stored bytes could not be read")]
    Source(#[source] io::Error),
}

impl InflateError {
    /// The inflate error inside an error that [`Inflate`] returned as a reader; any other error is the source's.
    pub fn from_read(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Source)
    }
}

/// What an object's bytes are compressed with, told by their first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// As an object's first bytes say; the first four are enough.
    pub fn of(first: &[u8]) -> Self {
        if first.starts_with(GZIP_MAGIC) {
            Self::Gzip
        } else if frame::begins(first) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// What inflating an object once, from its first byte to its last, showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Proof {
    pub compression: Compression,
    /// Stored bytes up to the end of the last whole member or frame.
    pub stored_bytes: u64,
    pub inflated_bytes: u64,
    /// The first bytes inflated; zeros where there are fewer.
    pub beginning: [u8; BEGINNING_BYTES],
    /// Whether bytes that belong to no member or frame follow the last one. They are not delivered.
    pub trailing_garbage: bool,
}

/// Inflates the whole of a source and keeps nothing. Content that is proved so can then be delivered: it will not turn out
/// to be readable in part only.
pub(crate) struct Prover<R> {
    inflate: Inflate<R>,
    scratch: Box<[u8]>,
    beginning: [u8; BEGINNING_BYTES],
    known: usize,
}

impl<R: Read> Prover<R> {
    pub(crate) fn new(source: R, limits: InflateLimits, room: Room) -> Self {
        let inflate = Inflate::new(source, limits).in_room(room);
        Self { inflate, scratch: vec![0; SCRATCH_BYTES].into(), beginning: [0; BEGINNING_BYTES], known: 0 }
    }

    /// Inflates to the end. Where the source returns `WouldBlock`, nothing is lost: call again.
    ///
    /// # Errors
    /// As [`InflateError`] says.
    pub(crate) fn prove(&mut self) -> Result<Proof, InflateError> {
        loop {
            let inflated = self.inflate.advance(&mut self.scratch)?;
            if inflated == 0 {
                break;
            }
            let taken = inflated.min(BEGINNING_BYTES - self.known);
            self.beginning[self.known..self.known + taken].copy_from_slice(&self.scratch[..taken]);
            self.known += taken;
        }
        Ok(Proof {
            beginning: self.beginning,
            compression: self.inflate.compression,
            stored_bytes: self.inflate.stored_bytes(),
            inflated_bytes: self.inflate.inflated_bytes,
            trailing_garbage: self.inflate.trailing_garbage,
        })
    }
}

/// The inflated content of `source`, as a reader: all members of a gzip file, all frames of a zstd file, anything else
/// as it is. No bytes at all are empty content, whatever the object's name promises.
///
/// Bytes behind the last whole member or frame that begin no other are left out, and `trailing_garbage` tells so.
/// A cut exactly between two members cannot be noticed here; the stored size can tell.
/// Errors are [`InflateError`]s inside an [`io::Error`] (see [`InflateError::from_read`]), except that the source's own
/// come through as they are.
pub struct Inflate<R> {
    stage: Stage<R>,
    limits: InflateLimits,
    compression: Compression,
    inflated_bytes: u64,
    /// Stored bytes used once the stage that counted them is gone.
    ended_stored_bytes: u64,
    trailing_garbage: bool,
    /// The memory of the window.
    taken: Taken,
}

enum Stage<R> {
    Unread(Stored<R>),
    Plain(Stored<R>),
    /// Inside a gzip member.
    Gzip(Box<GzDecoder<Stored<R>>>),
    /// Inside a zstd frame.
    Zstd(ZstdDecoder<'static>, Stored<R>),
    /// After a whole member.
    Member(Stored<R>),
    /// After a whole frame.
    Frame(ZstdDecoder<'static>, Stored<R>),
    Ended,
}

impl<R: Read> Inflate<R> {
    /// Reads nothing yet.
    pub fn new(source: R, limits: InflateLimits) -> Self {
        Self {
            stage: Stage::Unread(Stored::new(source)),
            limits,
            compression: Compression::None,
            inflated_bytes: 0,
            ended_stored_bytes: 0,
            trailing_garbage: false,
            taken: Taken::default(),
        }
    }

    /// A window waits for memory of this room.
    pub fn in_room(self, room: Room) -> Self {
        Self { taken: room.nothing(), ..self }
    }

    /// What the content is compressed with; `None` until the first read.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether the content ended before the stored bytes did. Known once the content has been read to its end.
    pub fn trailing_garbage(&self) -> bool {
        self.trailing_garbage
    }

    /// Stored bytes used so far.
    pub fn stored_bytes(&self) -> u64 {
        match &self.stage {
            Stage::Unread(stored) | Stage::Plain(stored) | Stage::Member(stored) => stored.used_bytes,
            Stage::Zstd(_, stored) | Stage::Frame(_, stored) => stored.used_bytes,
            Stage::Gzip(decoder) => decoder.get_ref().used_bytes,
            Stage::Ended => self.ended_stored_bytes,
        }
    }

    /// Inflates into `into`; 0 at the end of the content. After an error the content has ended, unless the source only has
    /// no bytes yet.
    fn advance(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        let outcome = self.step(into);
        match &outcome {
            Err(InflateError::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.stage = Stage::Ended,
            Ok(_) => {}
        }
        outcome
    }

    fn step(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        while !into.is_empty() {
            let count = match &mut self.stage {
                Stage::Ended => break,
                Stage::Unread(_) | Stage::Member(_) | Stage::Frame(..) => {
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
                Stage::Zstd(decoder, stored) => {
                    let (count, frame_ended) = unzstd(decoder, stored, into)?;
                    if frame_ended {
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

    /// The stream at hand has come to its end: what follows is looked at next.
    fn leave(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Gzip(decoder) => Stage::Member(decoder.into_inner()),
            Stage::Zstd(decoder, stored) => Stage::Frame(decoder, stored),
            Stage::Plain(stored) => self.end(&stored),
            stage => stage,
        };
    }

    /// Looks at what begins here, and turns to it.
    fn turn(&mut self) -> Result<(), InflateError> {
        let (Stage::Unread(stored) | Stage::Member(stored) | Stage::Frame(_, stored)) = &mut self.stage else {
            return Ok(());
        };
        let follows = Compression::of(stored.peek(frame::MAGIC.len()).map_err(InflateError::Source)?);
        if follows == Compression::Zstd {
            let head = stored.peek(frame::HEAD_BYTES).map_err(InflateError::Source)?;
            self.taken.grow_to(frame::memory_bytes(head)).map_err(InflateError::Source)?;
        }
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Ended), follows) {
            (Stage::Unread(stored), follows) => {
                self.compression = follows;
                match follows {
                    Compression::Gzip => Stage::Gzip(Box::new(GzDecoder::new(stored))),
                    Compression::Zstd => Stage::Zstd(zstd_decoder()?, stored),
                    Compression::None => Stage::Plain(stored),
                }
            }
            (Stage::Member(stored), Compression::Gzip) => Stage::Gzip(Box::new(GzDecoder::new(stored))),
            (Stage::Frame(decoder, stored), Compression::Zstd) => Stage::Zstd(decoder, stored),
            (Stage::Member(stored), _) => self.end_or_garbage(stored, Compression::Gzip)?,
            (Stage::Frame(_, stored), _) => self.end_or_garbage(stored, Compression::Zstd)?,
            (stage, _) => stage,
        };
        Ok(())
    }

    /// After a whole member or frame that no other follows. A piece of a magic number is another one cut short.
    fn end_or_garbage(&mut self, stored: Stored<R>, compression: Compression) -> Result<Stage<R>, InflateError> {
        let magic = if compression == Compression::Gzip { GZIP_MAGIC } else { frame::MAGIC };
        let rest = stored.buffered();
        if !rest.is_empty() && rest.len() < magic.len() && magic.starts_with(rest) {
            return Err(InflateError::Truncated { compression });
        }
        self.trailing_garbage = !rest.is_empty();
        Ok(self.end(&stored))
    }

    fn end(&mut self, stored: &Stored<R>) -> Stage<R> {
        self.ended_stored_bytes = stored.used_bytes;
        Stage::Ended
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
            self.stage = Stage::Ended;
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

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.advance(into).map_err(|error| match error {
            InflateError::Source(source) => source,
            error => io::Error::other(error),
        })
    }
}

/// What a decoder's error means: the source's failure if there was one, else the stream's fault.
fn blame<R>(stored: &mut Stored<R>, compression: Compression, error: &io::Error) -> InflateError {
    if let Some(failure) = stored.failure.take() {
        return InflateError::Source(failure);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => InflateError::Truncated { compression },
        _ => InflateError::Damaged { compression, reason: error.to_string() },
    }
}

/// Inflates some of a zstd frame. Returns how many bytes, and whether the frame has come to its end.
fn unzstd<R: Read>(
    decoder: &mut ZstdDecoder<'static>,
    stored: &mut Stored<R>,
    into: &mut [u8],
) -> Result<(usize, bool), InflateError> {
    let input_ended = match stored.fill_buf() {
        Ok(input) => input.is_empty(),
        Err(error) => return Err(blame(stored, Compression::Zstd, &error)),
    };
    let mut source = InBuffer::around(stored.buffered());
    let mut target = OutBuffer::around(into);
    let outcome = decoder.run(&mut source, &mut target);
    let (used, count) = (source.pos(), target.pos());
    stored.consume(used);
    match outcome {
        Ok(0) => Ok((count, true)),
        Ok(_) if input_ended && count == 0 => Err(InflateError::Truncated { compression: Compression::Zstd }),
        Ok(_) => Ok((count, false)),
        Err(error) => Err(blame(stored, Compression::Zstd, &error)),
    }
}

fn zstd_decoder() -> Result<ZstdDecoder<'static>, InflateError> {
    let damaged =
        |error: io::Error| InflateError::Damaged { compression: Compression::Zstd, reason: error.to_string() };
    let mut decoder = ZstdDecoder::new().map_err(damaged)?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(damaged)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression as Level;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::room::{BASE_BYTES, Purse};

    const LIMITS: InflateLimits = InflateLimits { inflated_bytes_max: 1 << 40, ratio_max: 1000 };

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ::zstd::encode_all(content, 3).unwrap()
    }

    /// Content that compresses, but not far.
    fn content(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefghijklmnop"[(state >> 28) as usize]
        };
        (0..bytes).map(|_| next()).collect()
    }

    /// Gives its bytes a few at a time, then ends or fails.
    struct Drip<'a> {
        bytes: &'a [u8],
        piece: usize,
        fails: bool,
    }

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.bytes.is_empty() && self.fails {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset by the receiver of this test"));
            }
            let count = self.bytes.len().min(self.piece).min(into.len());
            into[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes = &self.bytes[count..];
            Ok(count)
        }
    }

    fn proved(source: impl Read, limits: InflateLimits) -> Result<Proof, InflateError> {
        Prover::new(source, limits, Room::default()).prove()
    }

    fn inflated(stored: &[u8]) -> Result<Vec<u8>, InflateError> {
        let proof = proved(stored, LIMITS)?;
        let mut all = Vec::new();
        Inflate::new(stored, LIMITS).read_to_end(&mut all).map_err(InflateError::from_read)?;
        assert_eq!(proof.inflated_bytes, all.len() as u64);
        for piece in [1, 3, 4096] {
            let mut dripped = Vec::new();
            let mut inflate = Inflate::new(Drip { bytes: stored, piece, fails: false }, LIMITS);
            inflate.read_to_end(&mut dripped).map_err(InflateError::from_read)?;
            assert_eq!(dripped, all);
            assert_eq!(inflate.trailing_garbage(), proof.trailing_garbage);
            assert_eq!(inflate.stored_bytes(), proof.stored_bytes);
        }
        Ok(all)
    }

    /// Has no bytes yet each time that it is asked, then one.
    struct Late<'a> {
        bytes: &'a [u8],
        is_ready: bool,
    }

    impl Read for Late<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.is_ready = !self.is_ready;
            if !self.is_ready {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Drip { bytes: self.bytes, piece: 1, fails: false }
                .read(into)
                .inspect(|count| self.bytes = &self.bytes[*count..])
        }
    }

    /// Calls again for as long as the source has no bytes yet.
    fn patiently<T, E>(mut what: impl FnMut() -> Result<T, E>, is_late: impl Fn(&E) -> bool) -> Result<T, E> {
        loop {
            match what() {
                Err(error) if is_late(&error) => {}
                outcome => return outcome,
            }
        }
    }

    #[test]
    fn a_window_waits_for_its_memory() {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(23).unwrap();
        encoder.write_all(&content(100_000)).unwrap();
        let stored = encoder.finish().unwrap();
        let (room, left) = Purse::of(0);
        let mut inflate = Inflate::new(&stored[..], LIMITS).in_room(room.clone());
        let mut into = vec![0; 200_000];
        for _ in 0..2 {
            assert_eq!(inflate.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        let wanted = room.wanted().unwrap();
        assert_eq!(wanted, frame::memory_bytes(&stored) - BASE_BYTES);
        room.grant(wanted);
        let mut all = Vec::new();
        inflate.read_to_end(&mut all).unwrap();
        assert_eq!(all, content(100_000));
        drop(inflate);
        assert_eq!(*left.lock().unwrap(), wanted);
    }

    #[test]
    fn a_source_without_bytes_yet_loses_nothing_wherever_it_stops() {
        let late = |stored| Late { bytes: stored, is_ready: true };
        let is_late = |error: &InflateError| matches!(error, InflateError::Source(error) if error.kind() == io::ErrorKind::WouldBlock);
        let streams = [
            content(3000),
            [gzip(&content(3000)), gzip(b""), gzip(&content(7)), b"garbage".to_vec()].concat(),
            [zstd(&content(3000)), zstd(b""), zstd(&content(7))].concat(),
            gzip(&content(3000))[..100].to_vec(),
            zstd(&content(3000))[..100].to_vec(),
        ];
        for stored in &streams {
            let mut prover = Prover::new(late(stored), LIMITS, Room::default());
            let proof = patiently(|| prover.prove(), is_late).map_err(|error| error.to_string());
            assert_eq!(proof, proved(&stored[..], LIMITS).map_err(|error| error.to_string()));
            let mut inflate = Inflate::new(late(stored), LIMITS);
            let mut all = Vec::new();
            let mut piece = [0; 64];
            while let Ok(count @ 1..) =
                patiently(|| inflate.read(&mut piece), |error| error.kind() == io::ErrorKind::WouldBlock)
            {
                all.extend_from_slice(&piece[..count]);
            }
            let mut whole = Vec::new();
            // What a cut stream gave before its end.
            let _ = Inflate::new(&stored[..], LIMITS).read_to_end(&mut whole);
            assert_eq!(all, whole);
        }
    }

    #[test]
    fn plain_bytes_pass_as_they_are() {
        for stored in [&b""[..], b"{", b"\x1f", b"\x28\xb5\x2f", b"{\"a\":1}\n{\"a\":2}\n"] {
            assert_eq!(inflated(stored).unwrap(), stored);
        }
        assert_eq!(proved(&b"{}"[..], LIMITS).unwrap().compression, Compression::None);
    }

    #[test]
    fn no_bytes_at_all_are_empty_content() {
        let proof = proved(&b""[..], LIMITS).unwrap();
        assert_eq!((proof.inflated_bytes, proof.trailing_garbage), (0, false));
    }

    #[test]
    fn every_member_and_every_frame_is_read() {
        let (first, second) = (content(300_000), content(7));
        let whole = [&first[..], &second, &first].concat();
        assert_eq!(inflated(&[gzip(&first), gzip(&second), gzip(b""), gzip(&first)].concat()).unwrap(), whole);
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let frames = [zstd(&first), skippable, zstd(&second), zstd(b""), zstd(&first)].concat();
        assert_eq!(inflated(&frames).unwrap(), whole);
    }

    #[test]
    fn a_cut_stream_is_truncated_wherever_it_is_cut() {
        for (stored, compression, magic) in
            [(gzip(&content(5000)), Compression::Gzip, 2), (zstd(&content(5000)), Compression::Zstd, 4)]
        {
            for cut in magic..stored.len() {
                let error = inflated(&stored[..cut]).unwrap_err();
                let InflateError::Truncated { compression: told } = error else { panic!("{cut}: {error}") };
                assert_eq!(told, compression);
            }
            let second = [&stored[..], &stored[..stored.len() / 2]].concat();
            assert!(matches!(inflated(&second), Err(InflateError::Truncated { .. })));
            let piece_of_magic = [&stored[..], &stored[..1]].concat();
            assert!(matches!(inflated(&piece_of_magic), Err(InflateError::Truncated { .. })));
        }
    }

    #[test]
    fn a_cut_between_two_members_cannot_be_seen() {
        let member = gzip(b"{}\n");
        assert_eq!(inflated(&member).unwrap(), b"{}\n");
        let proof = proved(&[&member[..], &member].concat()[..member.len()], LIMITS).unwrap();
        assert_eq!(proof.stored_bytes, member.len() as u64);
    }

    #[test]
    fn a_flipped_bit_is_damage() {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(&content(5000)).unwrap();
        for stored in [gzip(&content(5000)), encoder.finish().unwrap()] {
            for at in [stored.len() / 2, stored.len() - 1] {
                let mut flipped = stored.clone();
                flipped[at] ^= 0x10;
                assert!(matches!(inflated(&flipped), Err(InflateError::Damaged { .. })), "{at}");
            }
        }
    }

    #[test]
    fn bytes_after_the_last_member_are_left_out_and_told() {
        for (stored, garbage) in [(gzip(b"{}\n"), &b"\0\0\0"[..]), (zstd(b"{}\n"), b"<html>"), (gzip(b"{}\n"), b"x")] {
            let with_garbage = [&stored[..], garbage].concat();
            assert_eq!(inflated(&with_garbage).unwrap(), b"{}\n");
            let proof = proved(&with_garbage[..], LIMITS).unwrap();
            assert!(proof.trailing_garbage);
            assert_eq!(proof.stored_bytes, stored.len() as u64);
            assert!(!proved(&stored[..], LIMITS).unwrap().trailing_garbage);
        }
    }

    #[test]
    fn an_object_that_inflates_past_the_size_limit_is_refused() {
        let limits = InflateLimits { inflated_bytes_max: 1000, ..LIMITS };
        for compress in [gzip, zstd] {
            assert!(proved(&compress(&content(1000))[..], limits).is_ok());
            let refused = proved(&compress(&content(1001))[..], limits);
            assert!(matches!(refused, Err(InflateError::TooLarge { bytes_max: 1000 })));
        }
        assert!(proved(&content(1001)[..], limits).is_ok());
    }

    #[test]
    fn a_bomb_is_refused_and_a_short_run_of_equal_lines_is_not() {
        let limits = InflateLimits { ratio_max: 100, ..LIMITS };
        for compress in [gzip, zstd] {
            assert!(proved(&compress(&vec![b'a'; 16 << 20])[..], limits).is_ok());
            let refused = proved(&compress(&vec![b'a'; 17 << 20])[..], limits);
            assert!(matches!(refused, Err(InflateError::RatioTooHigh { ratio_max: 100 })));
        }
    }

    #[test]
    fn a_window_that_wants_too_much_memory_is_refused() {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"{}").unwrap();
        let stored = encoder.finish().unwrap();
        assert!(matches!(inflated(&stored), Err(InflateError::Damaged { compression: Compression::Zstd, .. })));
    }

    #[test]
    fn a_failing_source_is_never_called_damage() {
        for stored in [gzip(&content(200_000)), zstd(&content(200_000)), content(200_000)] {
            for cut in [0, 1, 5, 12, 70_000] {
                let broken = Drip { bytes: &stored[..cut], piece: 100, fails: true };
                let error = proved(broken, LIMITS).unwrap_err();
                let InflateError::Source(source) = error else { panic!("{cut}: {error}") };
                assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
            }
        }
    }

    #[test]
    fn an_empty_buffer_reads_nothing_and_ends_nothing() {
        let stored = gzip(b"{}");
        let mut inflate = Inflate::new(&stored[..], LIMITS);
        assert_eq!(inflate.read(&mut []).unwrap(), 0);
        let mut all = String::new();
        inflate.read_to_string(&mut all).unwrap();
        assert_eq!(all, "{}");
    }
}
