//! The content of a file that is decoded: lines, whatever they are compressed with, or rows.

use std::fs::File;
use std::io::{self, Read};

use crate::family::Family;
use crate::notification::ObjectId;
use crate::object::compression::InflateLimits;
use crate::object::inflate::Inflate;
use crate::records::Framing;
use crate::records::elements::Elements;
use crate::records::rows::{self, Rows};

/// As the daemon's limits by default.
const INFLATE_LIMITS: InflateLimits = InflateLimits { inflated_bytes_max: 16 << 30, ratio_max: 1000 };

/// Enough to tell what a file is.
const BEGINNING_BYTES: usize = 4;

/// Where the bytes come from.
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

/// The content cannot be had at all, for the reason that the error holds.
pub(super) struct Refused(pub(super) io::Error);

/// The content in lines, and whether these are rows of a Parquet file.
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
        // Parquet begins at its end.
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
