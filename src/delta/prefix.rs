//! Checks, by digest alone, whether content begins with the content accepted last.

use std::io::{self, Read};

use crate::delta::Progress;
use crate::delta::digest::ContentDigest;
use crate::records::lines::{BLOCK_BYTES, Start};

/// The outcome of the check of a content's beginning.
#[derive(Debug)]
pub(crate) enum Prefix {
    /// The content begins with the content accepted last, byte for byte. The source stands right behind it.
    Holds(Held),
    /// The content begins otherwise, or is shorter. The source stands at an unspecified offset: the reading must start
    /// again at the content's beginning.
    Broken,
}

/// An unchanged beginning: where the splitting into lines continues, and the digest up to there.
#[derive(Debug)]
pub(crate) struct Held {
    pub start: Start,
    pub(in crate::delta) digest: Box<ContentDigest>,
}

/// The check of a content's beginning against the content accepted last.
pub(crate) struct PrefixCheck {
    before: Progress,
    digest: Box<ContentDigest>,
    buffer: Box<[u8]>,
    last_byte: u8,
}

impl PrefixCheck {
    /// The check makes sense only if [`Progress::covers_accepted`] is true.
    pub(crate) fn new(before: &Progress) -> Self {
        let buffer = vec![0; BLOCK_BYTES].into();
        Self { before: before.clone(), digest: Box::default(), buffer, last_byte: b'\n' }
    }

    /// Reads as many bytes of `source` as were accepted, and compares their digest with the accepted one's. At the
    /// first call `source` must stand at the content's beginning. After an error, such as `WouldBlock`, call again: no
    /// byte is lost.
    ///
    /// # Errors
    /// Those of `source`.
    pub(crate) fn run(&mut self, source: &mut impl Read) -> io::Result<Prefix> {
        let Progress { content_records, content_bytes, .. } = self.before;
        while self.digest.position() < content_bytes {
            let left = usize::try_from(content_bytes - self.digest.position()).unwrap_or(usize::MAX);
            let wanted = left.min(self.buffer.len());
            match source.read(&mut self.buffer[..wanted]) {
                Ok(0) => return Ok(Prefix::Broken),
                Ok(count) => {
                    self.digest.feed(&self.buffer[..count]);
                    self.last_byte = self.buffer[count - 1];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.digest.value() != self.before.digest {
            return Ok(Prefix::Broken);
        }
        let start = Start::After { content_records, content_bytes, last_byte: self.last_byte };
        Ok(Prefix::Holds(Held { start, digest: std::mem::take(&mut self.digest) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &Progress, source: &mut impl Read) -> io::Result<Prefix> {
        PrefixCheck::new(before).run(source)
    }

    fn progress_over(content: &[u8]) -> Progress {
        Progress {
            accepted: 1,
            content_records: 1,
            content_bytes: content.len() as u64,
            digest: blake3::hash(content).into(),
            in_order: true,
        }
    }

    #[test]
    fn content_that_goes_on_holds_and_the_source_stands_behind_the_known_bytes() {
        for known in [1, 2, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES] {
            let content = vec![b'x'; known + 5];
            let mut source = &content[..];
            let held = check(&progress_over(&content[..known]), &mut source).unwrap();
            let Prefix::Holds(held) = held else { panic!("{known}") };
            assert_eq!(source.len(), 5);
            let start = Start::After { content_records: 1, content_bytes: known as u64, last_byte: b'x' };
            assert_eq!(held.start, start);
            assert_eq!(held.digest.position(), known as u64);
        }
    }

    #[test]
    fn one_other_byte_or_a_missing_one_breaks_it() {
        let content = vec![b'x'; BLOCK_BYTES + 100];
        let before = progress_over(&content);
        for changed in [0, BLOCK_BYTES - 1, BLOCK_BYTES, content.len() - 1] {
            let mut other = content.clone();
            other[changed] = b'y';
            assert!(matches!(check(&before, &mut &other[..]), Ok(Prefix::Broken)));
            assert!(matches!(check(&before, &mut &content[..changed]), Ok(Prefix::Broken)));
        }
    }
}
