//! An object's bytes as they are stored, buffered, with a look ahead and a count.

use std::io::{self, BufRead, Read};

/// How many stored bytes are read at a time.
const STORED_BLOCK_BYTES: usize = 64 << 10;

/// The stored bytes, buffered, with a look ahead and a count.
pub(super) struct Stored<R> {
    pub(super) source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    pub(super) used_bytes: u64,
    /// The error that the source returned, kept while a decoder passes on an error of its own.
    pub(super) failure: Option<io::Error>,
}

impl<R: Read> Stored<R> {
    pub(super) fn new(source: R) -> Self {
        let buffer = vec![0; STORED_BLOCK_BYTES].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, used_bytes: 0, failure: None }
    }

    /// Bytes that were read and not used yet.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The next `count` bytes without using them, or all that are left.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < count && self.fill()? > 0 {}
        }
        let end = self.end.min(self.start + count);
        Ok(&self.buffer[self.start..end])
    }

    fn fill(&mut self) -> io::Result<usize> {
        let count = read_uninterrupted(&mut self.source, &mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// Keeps the source's error and returns one of the same kind.
    fn set_aside(&mut self, failure: io::Error) -> io::Error {
        let kind = failure.kind();
        self.failure.get_or_insert(failure);
        kind.into()
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && into.len() >= self.buffer.len() {
            // A large read needs no buffer.
            let count = read_uninterrupted(&mut self.source, into).map_err(|failure| self.set_aside(failure))?;
            self.used_bytes += count as u64;
            return Ok(count);
        }
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Stored<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if let Err(failure) = self.fill() {
                return Err(self.set_aside(failure));
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.used_bytes += count as u64;
    }
}

fn read_uninterrupted(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
