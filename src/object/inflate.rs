//! Inflates an object's bytes as they stream by, under limits, whatever their compression, and converts text to UTF-8.

use std::io::{self, Read};

use crate::object::compression::{Compression, InflateError, InflateLimits};
use crate::object::format::{self, BEGINNING_BYTES, Utf16};
use crate::object::frame;
use crate::object::layer::{Layer, UNJUDGED_BYTES};
use crate::room::Room;

/// How many bytes are inflated at a time if nothing is kept, and how many are decoded at a time from UTF-16.
const SCRATCH_BYTES: usize = 64 << 10;

/// The memory for the outer of two layers, in bytes. An xz decoder takes more than its window: 33 MiB for 32 (`xz -8`).
const OUTER_BYTES_MAX: usize = frame::MEMORY_BYTES_MAX + (1 << 20);

/// The memory for the inner layer, in bytes. Larger windows only come from levels that are slow and must be asked for
/// (`--ultra`, `--long`, `xz -7`).
const INNER_BYTES_MAX: usize = 10 << 20;

/// The most memory for inflating one object, in bytes.
pub(crate) const MEMORY_BYTES_MAX: usize = OUTER_BYTES_MAX + INNER_BYTES_MAX;

/// The result of inflating an object once, from its first byte to its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Proof {
    pub inflated_bytes: u64,
    /// Whether bytes that belong to no member or frame follow the last one. They are not returned as content.
    pub trailing_garbage: bool,
}

/// Inflates a whole source and keeps nothing. Content that passes can be delivered: it will not turn out to be readable
/// only in part.
pub(crate) struct Prover<R: Read> {
    inflate: Inflate<R>,
    scratch: Box<[u8]>,
}

impl<R: Read> Prover<R> {
    pub(crate) fn new(source: R, limits: InflateLimits, room: Room) -> Self {
        Self { inflate: Inflate::new(source, limits).in_room(room), scratch: vec![0; SCRATCH_BYTES].into() }
    }

    /// Inflates to the end. If the source returns `WouldBlock`, nothing is lost: call again.
    ///
    /// # Errors
    /// As [`InflateError`] says.
    pub(crate) fn prove(&mut self) -> Result<Proof, InflateError> {
        while self.inflate.advance(&mut self.scratch)? > 0 {}
        let (inflated_bytes, trailing_garbage) = (self.inflate.given_bytes, self.inflate.trailing_garbage());
        Ok(Proof { inflated_bytes, trailing_garbage })
    }
}

/// A reader of the content of `source`: inflated, twice if it was compressed twice; converted to UTF-8 if it is UTF-16
/// with a byte order mark; otherwise unchanged. A source without bytes is empty content, whatever the object's name
/// promises.
///
/// Bytes after the last whole member or frame that do not begin another one are left out, and `trailing_garbage`
/// reports them. A cut exactly between two members cannot be noticed here; the stored size can tell. Errors are
/// [`InflateError`]s inside an [`io::Error`] (see [`InflateError::from_read`]), except that the source's own errors are
/// returned unchanged.
pub struct Inflate<R: Read> {
    layers: Layers<R>,
    limits: InflateLimits,
    room: Room,
    /// The content's first bytes, from when they are judged until they are returned.
    beginning: Vec<u8>,
    is_judged: bool,
    utf16: Option<Utf16Decoder>,
    given_bytes: u64,
    /// Whether all bytes so far are null.
    is_empty: bool,
}

enum Layers<R: Read> {
    One(Box<Layer<R>>),
    /// The outer layer is the source of the inner one.
    Two(Box<Layer<Layer<R>>>),
    Ended,
}

impl<R: Read> Inflate<R> {
    /// Does not read yet.
    pub fn new(source: R, limits: InflateLimits) -> Self {
        Self {
            layers: Layers::One(Box::new(Layer::new(source, limits, OUTER_BYTES_MAX))),
            limits,
            room: Room::default(),
            beginning: Vec::new(),
            is_judged: false,
            utf16: None,
            given_bytes: 0,
            is_empty: true,
        }
    }

    /// The decoders' windows take their memory from this room, and wait until they get it.
    pub fn in_room(self, room: Room) -> Self {
        let layers = match self.layers {
            Layers::One(layer) => Layers::One(Box::new(layer.in_room(room.clone()))),
            layers => layers,
        };
        Self { layers, room, ..self }
    }

    /// Whether the content ended before the stored bytes did. Only known at the end of the content.
    pub fn trailing_garbage(&self) -> bool {
        match &self.layers {
            Layers::One(layer) => layer.trailing_garbage(),
            Layers::Two(inner) => inner.trailing_garbage() || inner.source().is_some_and(Layer::trailing_garbage),
            Layers::Ended => false,
        }
    }

    /// Returns content; 0 bytes at its end. After an error the content has ended, unless the source only has no bytes
    /// yet.
    fn advance(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        let outcome = self.step(into);
        match &outcome {
            Err(InflateError::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.layers = Layers::Ended,
            Ok(count) => self.given_bytes += *count as u64,
        }
        outcome
    }

    fn step(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        if into.is_empty() {
            return Ok(0);
        }
        if !self.is_judged {
            self.begin()?;
        }
        let count = match &mut self.utf16 {
            None => self.inflated(into)?,
            Some(_) => self.decoded(into)?,
        };
        if self.is_empty {
            self.is_empty = into[..count].iter().all(|byte| *byte == 0);
            if count == 0 && self.given_bytes > 0 && self.is_empty {
                return Err(InflateError::Foreign { what: "nothing but null bytes" });
            }
        }
        Ok(count)
    }

    /// Opens the layers, and judges the first bytes inside.
    fn begin(&mut self) -> Result<(), InflateError> {
        if let Layers::One(layer) = &mut self.layers
            && layer.begin()? != Compression::None
            && let Layers::One(outer) = std::mem::replace(&mut self.layers, Layers::Ended)
        {
            let inner = Layer::new(*outer, self.limits, INNER_BYTES_MAX).in_room(self.room.clone());
            self.layers = Layers::Two(Box::new(inner));
        }
        let mut room = [0; BEGINNING_BYTES];
        while self.beginning.len() < BEGINNING_BYTES {
            let count = self.layers.advance(&mut room[..BEGINNING_BYTES - self.beginning.len()], self.limits)?;
            if count == 0 {
                break;
            }
            self.beginning.extend_from_slice(&room[..count]);
        }
        if let Some(what) = format::foreign(&self.beginning) {
            return Err(InflateError::Foreign { what });
        }
        self.utf16 = format::utf16(&self.beginning).map(Utf16Decoder::new);
        self.is_judged = true;
        Ok(())
    }

    /// The content inside the layers, before conversion.
    fn inflated(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        if self.beginning.is_empty() {
            return self.layers.advance(into, self.limits);
        }
        let count = self.beginning.len().min(into.len());
        into[..count].copy_from_slice(&self.beginning[..count]);
        self.beginning.drain(..count);
        Ok(count)
    }

    /// The content converted to UTF-8.
    fn decoded(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        let Some(mut decoder) = self.utf16.take() else { return Ok(0) };
        let mut room = std::mem::take(&mut decoder.room);
        room.resize(SCRATCH_BYTES, 0);
        let outcome = loop {
            let given = decoder.give(into);
            if given > 0 {
                break Ok(given);
            }
            match self.inflated(&mut room) {
                // Half a character at the end is left out: it may still be being written.
                Ok(0) => break Ok(0),
                Ok(count) => decoder.take(&room[..count]),
                Err(error) => break Err(error),
            }
        };
        decoder.room = room;
        self.utf16 = Some(decoder);
        outcome
    }
}

impl<R: Read> Layers<R> {
    fn advance(&mut self, into: &mut [u8], limits: InflateLimits) -> Result<usize, InflateError> {
        let inner = match self {
            Self::One(layer) => return layer.advance(into),
            Self::Two(inner) => inner,
            Self::Ended => return Ok(0),
        };
        // An error of the outer layer arrives as an error of the inner layer's source.
        let count = inner.advance(into).map_err(|error| match error {
            InflateError::Source(source) => InflateError::from_read(source),
            error => error,
        })?;
        let stored_bytes = inner.source().map(Layer::stored_bytes);
        let InflateLimits { ratio_max, .. } = limits;
        let is_too_high = |stored: u64| inner.inflated_bytes() > stored.saturating_mul(ratio_max);
        if inner.inflated_bytes() > UNJUDGED_BYTES && stored_bytes.is_some_and(is_too_high) {
            return Err(InflateError::RatioTooHigh { ratio_max });
        }
        Ok(count)
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

/// Converts UTF-16 to UTF-8. A lone surrogate becomes U+FFFD.
struct Utf16Decoder {
    form: Utf16,
    /// The bytes of a code unit or surrogate pair that is not complete yet.
    rest: Vec<u8>,
    text: Vec<u8>,
    given: usize,
    /// The buffer for the input.
    room: Vec<u8>,
}

impl Utf16Decoder {
    const fn new(form: Utf16) -> Self {
        Self { form, rest: Vec::new(), text: Vec::new(), given: 0, room: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.text.clear();
        self.given = 0;
        self.rest.extend_from_slice(bytes);
        let unit = |pair: &[u8]| match self.form {
            Utf16::LittleEndian => u16::from_le_bytes([pair[0], pair[1]]),
            Utf16::BigEndian => u16::from_be_bytes([pair[0], pair[1]]),
        };
        let mut units: Vec<u16> = self.rest.chunks_exact(2).map(unit).collect();
        // The other half of the pair has not arrived.
        units.pop_if(|last| matches!(*last, 0xd800..0xdc00));
        let mut room = [0; 4];
        for character in char::decode_utf16(units.iter().copied()) {
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.text.extend_from_slice(character.encode_utf8(&mut room).as_bytes());
        }
        self.rest.drain(..units.len() * 2);
    }

    fn give(&mut self, into: &mut [u8]) -> usize {
        let rest = &self.text[self.given..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        count
    }
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

    fn bzip2(content: &[u8]) -> Vec<u8> {
        let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(content: &[u8]) -> Vec<u8> {
        xz_with(content, 6)
    }

    fn xz_with(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), level);
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    type Compress = fn(&[u8]) -> Vec<u8>;

    const ALL: [(Compression, Compress); 4] =
        [(Compression::Gzip, gzip), (Compression::Zstd, zstd), (Compression::Bzip2, bzip2), (Compression::Xz, xz)];

    /// Content that compresses, but not far.
    fn content(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefghijklmnop"[(state >> 28) as usize]
        };
        (0..bytes).map(|_| next()).collect()
    }

    /// Returns its bytes a few at a time, then ends or fails.
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
        }
        Ok(all)
    }

    /// Returns `WouldBlock` before each single byte, and once before its end.
    struct Late<'a> {
        bytes: &'a [u8],
        is_ready: bool,
        has_ended: bool,
    }

    impl Read for Late<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.is_ready = !self.is_ready || self.has_ended;
            if !self.is_ready {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.has_ended = self.bytes.is_empty();
            Drip { bytes: self.bytes, piece: 1, fails: false }
                .read(into)
                .inspect(|count| self.bytes = &self.bytes[*count..])
        }
    }

    /// Calls again as long as the source has no bytes yet.
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
        let late = |stored| Late { bytes: stored, is_ready: true, has_ended: false };
        let is_late = |error: &InflateError| matches!(error, InflateError::Source(error) if error.kind() == io::ErrorKind::WouldBlock);
        let streams = [
            content(600),
            [gzip(&content(600)), gzip(b""), gzip(&content(7)), b"garbage".to_vec()].concat(),
            [zstd(&content(600)), zstd(b""), zstd(&content(7))].concat(),
            gzip(&content(600))[..100].to_vec(),
            zstd(&content(600))[..100].to_vec(),
            [bzip2(&content(600)), bzip2(b""), bzip2(&content(7))].concat(),
            [xz(&content(600)), vec![0; 8], xz(&content(7)), b"garbage".to_vec()].concat(),
            bzip2(&content(600))[..100].to_vec(),
            xz(&content(600))[..100].to_vec(),
            gzip(&[zstd(&content(600)), b"garbage".to_vec()].concat()),
            xz(&content(600)),
            xz(&bzip2(&content(600))),
            gzip(&gzip(&content(600))[..100]),
            utf16(&"{\"a\":\"\u{e9}\u{1f600}\"}\n".repeat(50), u16::to_be_bytes),
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
            // Keeps what a cut stream returned before its error.
            let _ = Inflate::new(&stored[..], LIMITS).read_to_end(&mut whole);
            assert_eq!(all, whole);
        }
    }

    #[test]
    fn plain_bytes_pass_as_they_are() {
        for stored in [&b""[..], b"{", b"\x1f", b"\x28\xb5\x2f", b"{\"a\":1}\n{\"a\":2}\n"] {
            assert_eq!(inflated(stored).unwrap(), stored);
        }
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
        for (_, compress) in &ALL[2..] {
            let members = [compress(&first), compress(&second), compress(b""), compress(&first)].concat();
            assert_eq!(inflated(&members).unwrap(), whole);
        }
        let padded = [xz(&first), vec![0; 4], xz(&second), xz(&first), vec![0; 8]].concat();
        assert_eq!(inflated(&padded).unwrap(), whole);
    }

    #[test]
    fn what_was_compressed_twice_is_inflated_twice_and_no_more() {
        let text = content(3000);
        for (_, outer) in ALL {
            for (_, inner) in ALL {
                let twice = outer(&[inner(&text), inner(&text)].concat());
                assert_eq!(inflated(&twice).unwrap(), [&text[..], &text].concat());
                let proof = proved(&outer(&[inner(b"{}"), b"garbage".to_vec()].concat())[..], LIMITS).unwrap();
                assert_eq!((proof.inflated_bytes, proof.trailing_garbage), (2, true));
                let outside = [outer(&inner(b"{}")), b"garbage".to_vec()].concat();
                assert!(proved(&outside[..], LIMITS).unwrap().trailing_garbage);
                let error = inflated(&outer(&inner(&gzip(&text)))).unwrap_err();
                assert_eq!(error.to_string(), "it is compressed more than twice, which is not read");
            }
        }
    }

    #[test]
    fn a_bomb_in_a_bomb_is_judged_by_what_is_stored() {
        let bomb = vec![b'a'; 17 << 20];
        let layer = [gzip(&content(200_000)), gzip(&bomb)].concat();
        assert!(proved(&gzip(&layer)[..], LIMITS).is_ok(), "each and all of it stay below");
        // The ratio to the first layer is low enough, but not the ratio to the stored bytes.
        let mut inside = Vec::new();
        for _ in 0..20 {
            inside.extend(gzip(&bomb[..1 << 20]));
        }
        let refused = proved(&gzip(&inside)[..], InflateLimits { ratio_max: 2000, ..LIMITS });
        assert!(matches!(refused, Err(InflateError::RatioTooHigh { ratio_max: 2000 })), "{refused:?}");
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn utf_16_is_read_by_its_mark() {
        let text = "{\"a\":\"\u{e9}\u{1f600}\"}\n".repeat(300);
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let stored = utf16(&text, bytes);
            let read = inflated(&stored).unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), format!("\u{feff}{text}"));
            assert_eq!(inflated(&gzip(&stored)).unwrap(), format!("\u{feff}{text}").into_bytes());
            // Half a character at the end is left out.
            for cut in 1..8 {
                let read = String::from_utf8(inflated(&stored[..stored.len() - cut]).unwrap()).unwrap();
                assert!(format!("\u{feff}{text}").starts_with(&read), "{cut}");
            }
            let lone = [&utf16("a", bytes)[..], &bytes(0xdc00), &bytes(u16::from(b'b'))].concat();
            assert_eq!(inflated(&lone).unwrap(), "\u{feff}a\u{fffd}b".as_bytes());
        }
    }

    #[test]
    fn what_is_not_read_is_refused_with_what_it_is() {
        let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
        for (stored, what) in [
            (&b"PK\x03\x04\x14\0"[..], "a zip archive"),
            (&tar, "a tar archive"),
            (&[0; 10_000], "nothing but null bytes"),
            (b"PAR1\x15", "a Parquet file (compressed once more, or of a family whose objects are lines)"),
        ] {
            for stored in [stored.to_vec(), gzip(stored)] {
                let error = inflated(&stored).unwrap_err();
                assert_eq!(error.to_string(), format!("it is {what}, which is not read"));
            }
        }
        assert_eq!(inflated(b"\0\0{}").unwrap(), b"\0\0{}");
    }

    #[test]
    fn an_xz_window_waits_for_its_memory_and_one_too_large_is_refused() {
        let stored = xz(&content(100_000));
        let (room, left) = Purse::of(0);
        let mut inflate = Inflate::new(&stored[..], LIMITS).in_room(room.clone());
        let mut into = vec![0; 200_000];
        let mut granted = 0;
        while let Err(error) = inflate.read(&mut into) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            let wanted = room.wanted().unwrap();
            granted += wanted;
            room.grant(wanted);
        }
        assert!((8 << 20..=16 << 20).contains(&granted), "its window has 8 MiB: {granted}");
        drop(inflate);
        assert_eq!(*left.lock().unwrap(), granted);
        assert_eq!(inflated(&xz_with(&content(1000), 8)).unwrap(), content(1000));
        assert!(matches!(
            inflated(&xz_with(&content(1000), 9)),
            Err(InflateError::Damaged { compression: Compression::Xz, .. })
        ));
    }

    #[test]
    fn a_cut_stream_is_truncated_wherever_it_is_cut() {
        for (compression, compress) in ALL {
            let stored = compress(&content(5000));
            // More bytes than the magic number are needed to recognize bzip2.
            let told = if compression == Compression::Bzip2 { 5 } else { compression.magic().len() };
            for cut in told..stored.len() {
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
        assert_eq!(inflated(&[&member[..], &member].concat()[..member.len()]).unwrap(), b"{}\n");
    }

    #[test]
    fn a_flipped_bit_is_damage() {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(&content(5000)).unwrap();
        for stored in [gzip(&content(5000)), encoder.finish().unwrap(), bzip2(&content(5000)), xz(&content(5000))] {
            for at in [stored.len() / 2, stored.len() - 3] {
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
            assert!(!proved(&stored[..], LIMITS).unwrap().trailing_garbage);
        }
    }

    #[test]
    fn an_object_that_inflates_past_the_size_limit_is_refused() {
        let limits = InflateLimits { inflated_bytes_max: 1000, ..LIMITS };
        for (_, compress) in ALL {
            assert!(proved(&compress(&content(1000))[..], limits).is_ok());
            let refused = proved(&compress(&content(1001))[..], limits);
            assert!(matches!(refused, Err(InflateError::TooLarge { bytes_max: 1000 })));
        }
        assert!(proved(&content(1001)[..], limits).is_ok());
    }

    #[test]
    fn a_bomb_is_refused_and_a_short_run_of_equal_lines_is_not() {
        let limits = InflateLimits { ratio_max: 100, ..LIMITS };
        for (_, compress) in ALL {
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
        let compressed = ALL.map(|(_, compress)| compress(&content(200_000)));
        for stored in compressed.into_iter().chain([content(200_000), gzip(&zstd(&content(200_000)))]) {
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
