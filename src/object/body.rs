//! The bytes of one version as they come, whichever place holds them.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::object::directory::body::FileBody;
use crate::object::s3::body::S3Body;
use crate::object::version::{ReadError, Version};

/// One version of one object, and its bytes as they come.
#[derive(Debug)]
pub struct Snapshot {
    pub version: Version,
    pub body: Body,
}

/// The bytes of one version, in order, as stored. Reads no further ahead than a few chunks.
#[derive(Debug)]
pub enum Body {
    S3(Box<S3Body>),
    File(Box<FileBody>),
    /// Bytes that are there already; for tests and generated objects.
    Memory(VecDeque<Result<Bytes, ReadError>>),
}

impl Body {
    /// A body out of memory: its chunks, an error among them if wanted.
    pub fn of(chunks: impl IntoIterator<Item = Result<Bytes, ReadError>>) -> Self {
        Self::Memory(chunks.into_iter().collect())
    }

    /// The next bytes, at least 1 and at most `CHUNK_BYTES_MAX`; `None` when every byte of the version was given, never
    /// sooner. After an error or `None` there is nothing more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        match self {
            Self::S3(body) => body.next().await,
            Self::File(body) => body.next().await,
            Self::Memory(chunks) => chunks.pop_front(),
        }
    }
}
