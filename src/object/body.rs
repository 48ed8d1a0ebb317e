//! The bytes of one version as they arrive, from any kind of place.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::pin::Pin;

use bytes::Bytes;

use crate::object::directory::body::FileBody;
use crate::object::s3::body::S3Body;
use crate::object::version::{ReadError, Version};

/// One version of one object, and its bytes as they arrive.
#[derive(Debug)]
pub struct Snapshot {
    pub version: Version,
    pub body: Body,
}

/// An answer that may come late or never.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The bytes of one version as they arrive.
pub trait Chunks: Debug + Send {
    /// As [`Body::next`].
    fn next(&mut self) -> Answer<'_, Option<Result<Bytes, ReadError>>>;
}

/// Bytes that are in memory already.
impl Chunks for VecDeque<Result<Bytes, ReadError>> {
    fn next(&mut self) -> Answer<'_, Option<Result<Bytes, ReadError>>> {
        Box::pin(std::future::ready(self.pop_front()))
    }
}

/// The bytes of one version, in order, as stored. Reads at most a few chunks ahead.
#[derive(Debug)]
pub enum Body {
    S3(Box<S3Body>),
    File(Box<FileBody>),
    Memory(Box<dyn Chunks>),
}

impl Body {
    /// A body in memory. The chunks may include an error.
    pub fn of(chunks: impl IntoIterator<Item = Result<Bytes, ReadError>>) -> Self {
        Self::Memory(Box::new(chunks.into_iter().collect::<VecDeque<_>>()))
    }

    /// The next bytes, at least 1 and at most `CHUNK_BYTES_MAX`. `None` only after the last byte of the version.
    /// Nothing follows an error or `None`. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        match self {
            Self::S3(body) => body.next().await,
            Self::File(body) => body.next().await,
            Self::Memory(chunks) => chunks.next().await,
        }
    }
}
