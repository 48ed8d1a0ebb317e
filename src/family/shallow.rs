//! Records whose JSON is nested deeper than the reader allows. Without what lies too deep, they are records like any
//! other.

use crate::family::marks::Marks;

/// How deep objects and lists may be nested. Less than the reader allows, since the record may stand inside others.
const DEPTH_MAX: usize = 100;

/// Replaces a value that lies too deep, as JSON.
const LEFT_OUT: &[u8] = b"\"...\"";

/// The record with a text in place of each value that lies too deep. `None` if there is no such value.
pub(super) fn shallow(record: &[u8]) -> Option<Vec<u8>> {
    let (mut depth, mut is_in_text) = (0_usize, false);
    // The next byte to look at, the start of the value to leave out, and the end of what is copied or left out.
    let (mut at, mut begin, mut copied) = (0, 0, 0);
    let mut out = Vec::new();
    for found in Marks::of([b'"', b'\\', b'{', b'[', b'}', b']'], record) {
        if found < at {
            continue;
        }
        match record[found] {
            b'\\' => at = found + 2,
            b'"' => is_in_text = !is_in_text,
            _ if is_in_text => {}
            b'{' | b'[' => {
                depth += 1;
                if depth == DEPTH_MAX + 1 {
                    begin = found;
                }
            }
            _ => {
                if depth == DEPTH_MAX + 1 {
                    out.extend_from_slice(&record[copied..begin]);
                    out.extend_from_slice(LEFT_OUT);
                    copied = found + 1;
                }
                depth = depth.saturating_sub(1);
            }
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&record[copied..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_too_deep_is_left_out_and_nothing_else() {
        let nested = |depth: usize, inside: &str| {
            format!(r#"{{"a":"\"[[{{","b":{}{inside}{},"c":[1]}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(shallow(nested(99, "1").as_bytes()), None);
        assert_eq!(shallow(nested(100, "{\"]\":2},[]").as_bytes()).map(text), Some(nested(99, "\"...\"")));
        assert_eq!(shallow(nested(5000, "1").as_bytes()).map(text), Some(nested(99, "\"...\"")));
        assert_eq!(shallow("[".repeat(5000).as_bytes()), None);
    }
}
