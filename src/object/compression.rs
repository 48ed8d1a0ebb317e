//! The compression of objects, the limits of inflating, and why an object does not inflate.

use std::io;

use crate::object::frame;

/// The limits of inflating an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InflateLimits {
    /// The most that a compressed object may inflate to, in bytes. Does not limit uncompressed objects.
    pub inflated_bytes_max: u64,
    /// The highest ratio of inflated to stored bytes. Judged only after the first 16 MiB inflated.
    pub ratio_max: u64,
}

/// Why stored bytes do not inflate. All but `Source` are permanent: the same version never reads better.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// The compressed stream breaks off: the object was cut, or a copier is still writing it.
    #[error("the {compression} stream is cut short")]
    Truncated { compression: Compression },
    /// The compressed stream contradicts itself or its checksum, or needs more memory than allowed.
    #[error("the {compression} stream is damaged: {reason}")]
    Damaged { compression: Compression, reason: String },
    #[error("inflates to more than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("inflates to more than {ratio_max} times its size")]
    RatioTooHigh { ratio_max: u64 },
    /// The object is in a format that is not read.
    #[error("it is {what}, which is not read")]
    Foreign { what: &'static str },
    /// The stored bytes could not be read. They may be intact.
    #[error("the stored bytes could not be read")]
    Source(#[source] io::Error),
}

impl InflateError {
    /// The [`InflateError`] inside an error that a reader of inflated bytes returned. Any other error is the source's.
    pub fn from_read(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Source)
    }
}

/// How an object's bytes are compressed, recognized by their first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// The compression that an object's first bytes show. [`MAGIC_BYTES_MAX`](Self::MAGIC_BYTES_MAX) bytes are enough.
    pub fn of(first: &[u8]) -> Self {
        let is_bzip2 =
            || first.starts_with(BZIP2_MAGIC) && matches!(first.get(3..), Some([b'1'..=b'9', 0x31 | 0x17, ..]));
        if first.starts_with(GZIP_MAGIC) {
            Self::Gzip
        } else if frame::begins(first) {
            Self::Zstd
        } else if first.starts_with(XZ_MAGIC) {
            Self::Xz
        } else if is_bzip2() {
            Self::Bzip2
        } else {
            Self::None
        }
    }

    /// The most first bytes that are needed to recognize a compression.
    pub(crate) const MAGIC_BYTES_MAX: usize = 6;

    /// The first bytes of each member, frame or stream.
    pub(super) const fn magic(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::Gzip => GZIP_MAGIC,
            Self::Zstd => frame::MAGIC,
            Self::Bzip2 => BZIP2_MAGIC,
            Self::Xz => XZ_MAGIC,
        }
    }
}

/// RFC 1952, section 2.3.1.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// A digit follows, and the first byte of a block's magic number, or of the one that ends a stream without blocks.
const BZIP2_MAGIC: &[u8] = b"BZh";

/// The .xz file format, section 2.1.1.1.
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}
