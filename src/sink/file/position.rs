//! A file sink's position, and how it is encoded as the state that the checkpoint store keeps.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sink::State;

/// The layout that this program writes: the version as one byte; the number, the length and the time, each as eight bytes,
/// the lowest first; and the path to the end.
const VERSION: u8 = 1;

/// Where the next batch begins: in which file of the sequence, and after how many bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    /// The file's number in the sequence of rotated files, from 1; 0 while none was begun.
    pub(super) number: u64,
    /// Its committed length in bytes.
    pub(super) len: u64,
    /// When its first event was written, in milliseconds since the epoch.
    pub(super) opened_at_ms: i64,
    /// The file, before it is given its number. What older programs wrote has none: it is the configured one.
    pub(super) path: Option<PathBuf>,
}

impl Position {
    pub(super) fn state(&self) -> State {
        file_state(self.number, self.len, self.opened_at_ms, self.path.as_deref())
    }

    /// The position in a state; nothing where the state is not a file sink's, or a newer program's.
    pub(super) fn of(state: &State) -> Option<Self> {
        let (&version, rest) = state.0.split_first()?;
        let (numbers, path) = rest.split_at_checked(24)?;
        let [number, len, opened] = *numbers.as_chunks().0 else { return None };
        (version == VERSION).then(|| Self {
            number: u64::from_le_bytes(number),
            len: u64::from_le_bytes(len),
            opened_at_ms: i64::from_le_bytes(opened),
            path: (!path.is_empty()).then(|| OsStr::from_bytes(path).into()),
        })
    }
}

/// The state of a file sink that stands there.
pub fn file_state(number: u64, len: u64, opened_at_ms: i64, path: Option<&Path>) -> State {
    let path = path.map_or(&[][..], |path| path.as_os_str().as_bytes());
    let numbers = [number.to_le_bytes(), len.to_le_bytes(), opened_at_ms.to_le_bytes()];
    State([&[VERSION], numbers.as_flattened(), path].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written_and_nothing_else_is_one() {
        let nameless = Position { number: 3, len: 1 << 40, opened_at_ms: -5, path: None };
        let named = Position { path: Some("/var/log/out.ndjson".into()), ..nameless.clone() };
        for position in [nameless, named] {
            assert_eq!(Position::of(&position.state()), Some(position));
        }
        let written = b"\x01\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0/a";
        let expected = Position { number: 2, len: 3, opened_at_ms: 4, path: Some("/a".into()) };
        assert_eq!(Position::of(&State(written[..].into())), Some(expected), "the layout is kept");
        let mut newer = *written;
        newer[0] = 2;
        for other in [&[][..], &[1], &written[..24], &newer] {
            assert_eq!(Position::of(&State(other.into())), None, "{other:?}");
        }
    }
}
