//! A file sink's position, and its encoding as the state that the checkpoint store keeps.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::identity::FileId;
use crate::sink::State;

/// The layout that this program writes. One byte holds this version. The number, the length, the time, the file's inode
/// and its birth follow, each as eight bytes in little-endian order. The rest is the path.
const VERSION: u8 = 2;

/// The layout of older programs, without inode and birth.
const VERSION_WITHOUT_ID: u8 = 1;

/// Where the next batch begins: in which file of the sequence, and at which offset.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    /// The file's number in the sequence of rotated files, from 1. 0 if no file was begun yet.
    pub(super) number: u64,
    /// The committed length in bytes.
    pub(super) len: u64,
    /// When its first event was written, in milliseconds since the epoch.
    pub(super) opened_at_ms: i64,
    /// Finds the file after it was renamed. `None` in positions that older programs wrote.
    pub(super) file: Option<FileId>,
    /// The path of the file before it gets its number. `None` in positions that older programs wrote, which means the
    /// configured path.
    pub(super) path: Option<PathBuf>,
}

impl Position {
    pub(super) fn state(&self) -> State {
        let Self { number, len, opened_at_ms, file, path } = self;
        let path = path.as_ref().map_or(&[][..], |path| path.as_os_str().as_bytes());
        let FileId { inode, born_ns } = file.unwrap_or_default();
        let numbers = [*number, *len, opened_at_ms.cast_unsigned(), inode, born_ns].map(u64::to_le_bytes);
        State([&[VERSION], numbers.as_flattened(), path].concat().into())
    }

    /// Decodes a state. `None` if no file sink wrote it, or a newer program.
    pub(super) fn of(state: &State) -> Option<Self> {
        let (&version, rest) = state.0.split_first()?;
        let numbers_bytes = match version {
            VERSION => 40,
            VERSION_WITHOUT_ID => 24,
            _ => return None,
        };
        let (numbers, path) = rest.split_at_checked(numbers_bytes)?;
        let numbers: Vec<u64> = numbers.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let [number, len, opened, ref id @ ..] = numbers[..] else { return None };
        let file = match *id {
            [inode, born_ns] if inode > 0 => Some(FileId { inode, born_ns }),
            _ => None,
        };
        let path = (!path.is_empty()).then(|| OsStr::from_bytes(path).into());
        Some(Self { number, len, opened_at_ms: opened.cast_signed(), file, path })
    }
}

/// The state of a file sink at this position, without the file's identity, as older programs wrote it.
pub(crate) fn file_state(number: u64, len: u64, opened_at_ms: i64, path: Option<&Path>) -> State {
    Position { number, len, opened_at_ms, file: None, path: path.map(Path::to_owned) }.state()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written_and_nothing_else_is_one() {
        let nameless = Position { number: 3, len: 1 << 40, opened_at_ms: -5, file: None, path: None };
        let named = Position {
            file: Some(FileId { inode: 7, born_ns: 8 }),
            path: Some("/var/log/out.ndjson".into()),
            ..nameless.clone()
        };
        for position in [nameless, named] {
            assert_eq!(Position::of(&position.state()), Some(position));
        }
        let before = b"\x01\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0/a";
        let without_id = Position { number: 2, len: 3, opened_at_ms: 4, file: None, path: Some("/a".into()) };
        let written =
            b"\x02\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0/a";
        let expected = Position { file: Some(FileId { inode: 5, born_ns: 6 }), ..without_id.clone() };
        assert_eq!(Position::of(&State(before[..].into())), Some(without_id), "the layout before is read");
        assert_eq!(Position::of(&State(written[..].into())), Some(expected), "the layout is kept");
        let mut newer = *written;
        newer[0] = 3;
        for other in [&[][..], &[1], &[2], &before[..24], &written[..40], &newer] {
            assert_eq!(Position::of(&State(other.into())), None, "{other:?}");
        }
    }
}
