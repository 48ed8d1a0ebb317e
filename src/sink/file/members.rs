//! Reads what a file holds from an offset on. In a compressed file each batch is one member: a gzip member or a zstd
//! frame.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek as _, SeekFrom};

use flate2::bufread::GzDecoder;

use crate::batch::PieceMark;
use crate::sink::http::body::Compression;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b, 0x08];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The largest window of a zstd frame that is inflated, as a power of two: 32 MiB. This sink writes frames with 2 MiB.
const WINDOW_LOG_MAX: u32 = 25;

/// The end of a file is inflated to at most this many bytes, plus this many for each stored byte. Deflate reaches
/// 1,032.
const INFLATED_BYTES_MIN: u64 = 16 << 20;
const INFLATED_RATIO_MAX: u64 = 1100;

/// What a compressed file holds from an offset on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tail {
    /// Where the last whole member ends; the offset itself if there is no whole member.
    pub(super) whole_to: u64,
    pub(super) rest: Rest,
}

/// What follows the last whole member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rest {
    Nothing,
    /// The beginning of a member. Its writer was stopped.
    Torn,
    /// Bytes that are not a member.
    Foreign,
}

/// Inflates the file from `from` on, member by member.
///
/// # Errors
/// The file cannot be read. Unexpected content is no error.
pub(super) fn tail(file: &File, compression: Compression, from: u64) -> io::Result<Tail> {
    let stored = file.metadata()?.len().saturating_sub(from);
    let mut inflates_to = INFLATED_BYTES_MIN.saturating_add(stored.saturating_mul(INFLATED_RATIO_MAX));
    let mut source = source(file, from)?;
    let mut whole_to = from;
    let rest = loop {
        match begins(&mut source, compression)? {
            Rest::Torn => {}
            rest => break rest,
        }
        let mut member = content(compression, &mut source)?.take(inflates_to);
        match io::copy(&mut member, &mut io::sink()) {
            Ok(_) if member.limit() == 0 => break Rest::Foreign,
            Ok(inflated) => inflates_to -= inflated,
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break Rest::Torn,
            Err(_) => break Rest::Foreign,
        }
        drop(member);
        whole_to = source.stream_position()?;
    };
    Ok(Tail { whole_to, rest })
}

/// If a whole batch of these pieces begins at `from`, returns where it ends; else `None`.
///
/// # Errors
/// The file cannot be read.
pub(super) fn end_of_batch<'p>(
    file: &File,
    compression: Compression,
    from: u64,
    pieces: impl Iterator<Item = &'p PieceMark>,
) -> io::Result<Option<u64>> {
    let mut source = source(file, from)?;
    let mut member = content(compression, &mut source)?;
    match holds(&mut member, compression, pieces) {
        Ok(true) => {
            drop(member);
            source.stream_position().map(Some)
        }
        Ok(false) => Ok(None),
        Err(error) if error.raw_os_error().is_some() => Err(error),
        Err(_) => Ok(None),
    }
}

fn holds<'p>(
    content: &mut dyn Read,
    compression: Compression,
    pieces: impl Iterator<Item = &'p PieceMark>,
) -> io::Result<bool> {
    for piece in pieces {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut content.take(piece.bytes), &mut hasher)?;
        if hasher.count() != piece.bytes || *hasher.finalize().as_bytes() != piece.hash {
            return Ok(false);
        }
    }
    // Read on to the end of the member, where its checksum is verified.
    Ok(compression == Compression::None || content.read(&mut [0])? == 0)
}

fn source(file: &File, from: u64) -> io::Result<BufReader<&File>> {
    let mut source = BufReader::new(file);
    source.seek(SeekFrom::Start(from))?;
    Ok(source)
}

/// The inflated text of the member that begins here. Without compression, everything that follows.
fn content<'s, R: BufRead>(compression: Compression, source: &'s mut R) -> io::Result<Box<dyn Read + 's>> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(GzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(source)?.single_frame();
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// Whether a member begins here, judged by its first bytes. `Torn` means yes: the member may be torn or whole.
fn begins(source: &mut BufReader<&File>, compression: Compression) -> io::Result<Rest> {
    let magic = match compression {
        Compression::None => return Ok(Rest::Nothing),
        Compression::Gzip => GZIP_MAGIC,
        Compression::Zstd => ZSTD_MAGIC,
    };
    let at = source.stream_position()?;
    let mut head = Vec::new();
    source.by_ref().take(magic.len() as u64).read_to_end(&mut head)?;
    source.seek(SeekFrom::Start(at))?;
    Ok(match head {
        head if head.is_empty() => Rest::Nothing,
        head if magic.starts_with(&head) => Rest::Torn,
        _ => Rest::Foreign,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        file
    }

    const COMPRESSIONS: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    fn member(compression: Compression, text: &str) -> Vec<u8> {
        compression.compressed(text.into())
    }

    #[test]
    fn a_member_that_is_cut_anywhere_is_torn_and_those_before_it_are_whole() {
        for compression in COMPRESSIONS {
            let (first, second) = (member(compression, "one\n"), member(compression, &"two\n".repeat(500)));
            let text = [b"elsewhere", &first[..], &second].concat();
            let second_begins = (9 + first.len()) as u64;
            for cut in 1..second.len() {
                let found = tail(&file(&text[..9 + first.len() + cut]), compression, 9).unwrap();
                assert_eq!(found, Tail { whole_to: second_begins, rest: Rest::Torn }, "{compression:?}, {cut} bytes");
            }
            let whole = Tail { whole_to: text.len() as u64, rest: Rest::Nothing };
            assert_eq!(tail(&file(&text), compression, 9).unwrap(), whole);
            assert_eq!(tail(&file(&text), compression, text.len() as u64).unwrap(), whole);
        }
    }

    #[test]
    fn what_is_no_member_is_foreign_however_short() {
        for compression in COMPRESSIONS {
            let first = member(compression, "one\n");
            let mut damaged = member(compression, &"two\n".repeat(500));
            let middle = damaged.len() / 2;
            damaged[middle..].fill(0);
            for rest in [&b"\n"[..], b"foreign\n", &[0; 100], b"a longer line of somebody else\n", &damaged] {
                let found = tail(&file(&[&first, rest].concat()), compression, 0).unwrap();
                assert_eq!(found, Tail { whole_to: first.len() as u64, rest: Rest::Foreign }, "{compression:?}");
            }
        }
    }

    #[test]
    fn a_frame_that_inflates_to_far_more_than_is_stored_is_not_inflated_to_its_end() {
        // 1 GiB of one letter takes some 33 KiB.
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..1024 {
            io::Write::write_all(&mut encoder, &[b'x'; 1 << 20]).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        let found = tail(&file(&bomb), Compression::Zstd, 0).unwrap();
        assert_eq!(found, Tail { whole_to: 0, rest: Rest::Foreign });
    }

    #[test]
    fn a_batch_is_known_by_its_pieces_and_by_a_whole_member() {
        let texts = ["one\n", "two\nthree\n"];
        let mark =
            |text: &str| PieceMark { to: 1, bytes: text.len() as u64, hash: *blake3::hash(text.as_bytes()).as_bytes() };
        let marks = texts.map(mark);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let written = member(compression, &texts.concat());
            let text = [&b"before"[..], &written, &written[..2]].concat();
            let end =
                |text: &[u8], marks: &[PieceMark]| end_of_batch(&file(text), compression, 6, marks.iter()).unwrap();
            assert_eq!(end(&text, &marks), Some((6 + written.len()) as u64), "{compression:?}");
            for cut in 0..written.len() {
                assert_eq!(end(&text[..6 + cut], &marks), None, "{compression:?}, {cut} bytes");
            }
            assert_eq!(end(&text, &[marks[1], marks[0]]), None);
            if compression != Compression::None {
                assert_eq!(end(&text, &marks[..1]), None, "the member has more");
            }
        }
    }
}
