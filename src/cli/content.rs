//! The content of a file that `decode` reads: lines, compressed or not, or rows of Parquet.

use std::fs::File;
use std::io::{self, Read};

use crate::family::Family;
use crate::notification::ObjectId;
use crate::object::compression::InflateLimits;
use crate::object::inflate::Inflate;
use crate::records::Framing;
use crate::records::elements::Elements;
use crate::records::rows::{self, Rows};

/// The defaults of the daemon's limits.
const INFLATE_LIMITS: InflateLimits = InflateLimits { inflated_bytes_max: 16 << 30, ratio_max: 1000 };

/// A Parquet file is recognised by its first four bytes.
const BEGINNING_BYTES: usize = 4;

/// The file, or standard input.
pub(super) enum Source {
    Stream(io::Stdin),
    File(File),
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.read(into),
            Self::File(file) => file.read(into),
        }
    }
}

/// The content cannot be read at all, for the reason in the error.
pub(super) struct Refused(pub(super) io::Error);

/// The content as lines, and whether the lines are rows of a Parquet file.
pub(super) fn content(
    family: &Family,
    mut source: Source,
    object: &ObjectId,
) -> Result<(Box<dyn Read>, bool), Refused> {
    let mut beginning = Vec::with_capacity(BEGINNING_BYTES);
    source.by_ref().take(BEGINNING_BYTES as u64).read_to_end(&mut beginning).map_err(Refused)?;
    let reads_rows = matches!(family.framing, Framing::Rows(_));
    if !(reads_rows && rows::are_in(&object.key, &beginning)) {
        let whole = io::Cursor::new(beginning).chain(source);
        return Ok((Box::new(Elements::of(Inflate::new(whole, INFLATE_LIMITS))), false));
    }
    let file = match source {
        Source::File(file) => file,
        // A Parquet file is read from its end, which a stream does not allow.
        Source::Stream(stream) => {
            let mut file = tempfile::tempfile().map_err(Refused)?;
            io::copy(&mut io::Cursor::new(beginning).chain(stream), &mut file).map_err(Refused)?;
            file
        }
    };
    match Rows::open(file, rows::Limits::default()) {
        Ok(rows) => Ok((Box::new(rows), true)),
        Err(error) => Err(Refused(error.into())),
    }
}
