//! Buffers that events are encoded into. A buffer is used again once every sink has finished with its part.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// The capacity of a buffer: a part, and one event that exceeds it.
pub(crate) const BUFFER_BYTES: usize = 768 << 10;

/// The most idle buffers that are kept.
const IDLE_MAX: usize = 32;

/// The idle buffers of all readings, to be used by any thread. Without this pool, memory that one thread frees would
/// stay reserved for the thread that allocated it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer, out of the pool or new.
    pub fn empty(&self) -> Vec<u8> {
        self.idle().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// The written bytes, in about as much memory as they take.
    pub fn keep(&self, written: Vec<u8>) -> Bytes {
        if written.len() >= BUFFER_BYTES / 2 {
            return Bytes::from_owner(Used { written, buffers: self.clone() });
        }
        let kept = Bytes::copy_from_slice(&written);
        self.put_back(written);
        kept
    }

    fn put_back(&self, mut buffer: Vec<u8>) {
        // A buffer that has grown for a long event is freed.
        if buffer.capacity() == BUFFER_BYTES {
            buffer.clear();
            let mut idle = self.idle();
            if idle.len() < IDLE_MAX {
                idle.push(buffer);
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that returns to the pool when it is dropped.
struct Used {
    written: Vec<u8>,
    buffers: Buffers,
}

impl AsRef<[u8]> for Used {
    fn as_ref(&self) -> &[u8] {
        &self.written
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.buffers.put_back(std::mem::take(&mut self.written));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_has_its_bytes() {
        let buffers = Buffers::default();
        let mut first = buffers.empty();
        first.resize(BUFFER_BYTES - 1, b'x');
        let place = first.as_ptr();
        let kept = buffers.keep(first);
        let shared = kept.clone();
        drop(kept);
        let other = buffers.empty();
        assert_ne!(other.as_ptr(), place);
        assert_eq!(shared.len(), BUFFER_BYTES - 1);
        drop(shared);
        let again = buffers.empty();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn little_takes_little_and_what_is_long_is_not_kept() {
        let buffers = Buffers::default();
        let mut little = buffers.empty();
        little.push(b'x');
        let place = little.as_ptr();
        let kept = buffers.keep(little);
        let again = buffers.empty();
        assert_eq!((&kept[..], again.as_ptr()), (&b"x"[..], place));
        drop(buffers.keep(vec![b'x'; 2 * BUFFER_BYTES]));
        assert!(buffers.idle().is_empty());
        let many: Vec<Bytes> = (0..2 * IDLE_MAX)
            .map(|_| {
                let mut buffer = buffers.empty();
                buffer.resize(BUFFER_BYTES, b'x');
                buffers.keep(buffer)
            })
            .collect();
        drop(many);
        assert_eq!(buffers.idle().len(), IDLE_MAX);
    }
}
