//! What objects may be compressed with, how far they may inflate, and why one does not.

use std::io;

use crate::object::frame;

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
    /// It is in a format that is not read.
    #[error("it is {what}, which is not read")]
    Foreign { what: &'static str },
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
    Bzip2,
    Xz,
}

impl Compression {
    /// As an object's first bytes say; the first [`MAGIC_BYTES_MAX`](Self::MAGIC_BYTES_MAX) are enough.
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

    /// What must be seen to tell one.
    pub(crate) const MAGIC_BYTES_MAX: usize = 6;

    /// What a member, frame or stream begins with.
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

/// Then a digit, and the first byte of the number of a block, or of a stream without one.
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
