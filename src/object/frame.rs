//! Reads the header of a zstd frame.

/// RFC 8878, section 3.1.1.
pub(super) const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Skippable frames begin with any of 16 numbers, which differ in the low half of the first byte (RFC 8878, section 3.1.2).
const SKIPPABLE_MAGIC: &[u8] = &[0x50, 0x2a, 0x4d, 0x18];

/// The largest window, as a power of two: 32 MiB of memory. All but the `--ultra` and `--long` levels stay below.
pub(super) const WINDOW_LOG_MAX: u32 = 25;

/// The memory of a decoder besides its window, in bytes: a block as stored, and a block inflated.
const BLOCKS_BYTES: usize = 2 * (128 << 10);

/// The most memory for inflating zstd, in bytes.
pub(super) const MEMORY_BYTES_MAX: usize = (1 << WINDOW_LOG_MAX) + BLOCKS_BYTES;

/// The most bytes of a frame that are needed to know its window.
pub(super) const HEAD_BYTES: usize = 18;

/// Whether a frame begins with these bytes.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
        || bytes.get(..4).is_some_and(|magic| magic[0] & 0xf0 == 0x50 && magic[1..] == SKIPPABLE_MAGIC[1..])
}

/// The memory that the decoder takes for the frame that begins with `head`, in bytes. The decoder refuses frames with
/// larger windows.
pub(super) fn memory_bytes(head: &[u8]) -> usize {
    let window = usize::try_from(window_bytes(head)).unwrap_or(usize::MAX);
    window.min(1 << WINDOW_LOG_MAX) + BLOCKS_BYTES
}

/// The window that the frame needs, in bytes (RFC 8878, section 3.1.1.1). 0 if no such frame begins here, or if its
/// header is cut short.
fn window_bytes(head: &[u8]) -> u64 {
    let Some([descriptor, rest @ ..]) = head.strip_prefix(MAGIC) else { return 0 };
    if descriptor & 0x20 == 0 {
        let window = rest.first().copied().unwrap_or(0);
        let base = 1_u64 << (10 + (window >> 3));
        return base + base / 8 * u64::from(window & 7);
    }
    // The window is the whole content, whose size follows the dictionary's id.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let Some(size) = rest.get(dictionary..dictionary + length) else { return 0 };
    let number = size.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    if length == 2 { number + 256 } else { number }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_frame_tells_its_window() {
        for log in [10, 17, 23, 27] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&[b'x'; 5000]).unwrap();
            assert_eq!(window_bytes(&encoder.finish().unwrap()), 1 << log, "2^{log}");
        }
        for size in [1, 255, 256, 65_791, 65_792, 1_000_000] {
            let frame = zstd::bulk::compress(&vec![b'x'; size], 1).unwrap();
            let told = window_bytes(&frame[..frame.len().min(HEAD_BYTES)]);
            assert!(told >= size as u64 || told >= 512 << 10, "{size} bytes: {told}");
        }
        assert_eq!(memory_bytes(b"\x28\xb5\x2f\xfd\x00\xff"), MEMORY_BYTES_MAX);
        for nothing in [&b""[..], b"{\"a\":1}", &[0x51, 0x2a, 0x4d, 0x18, 1, 0, 0, 0], &[0x28, 0xb5, 0x2f, 0xfd, 0xe0]]
        {
            assert_eq!(window_bytes(nothing), 0);
        }
    }
}
