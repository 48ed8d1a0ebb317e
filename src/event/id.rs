//! The id of an event, made only of what was read, never of when or how.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::delta::RecordHash;
use crate::notification::ObjectId;

/// The permanent id of an event: `metadata.uid`, written as a UUID (version 8).
///
/// The first 128 bits of SHA-256 over `auditferry/1`, the family, the scope, the record's hash, its occurrence (or, for
/// families written once, its ordinal) and the event's index in the record. It depends on nothing else: not time, host,
/// entity tag, byte offset, batch or decoder version. Where one line holds several records, the hash of each record
/// after the first is derived from the line's ([`part_hash`](crate::family::part_hash)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EventId(pub [u8; 16]);

/// Whether equal records in different objects are the same event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope<'a> {
    /// Equal records in different objects are different events.
    Object(&'a ObjectId),
    /// Equal records are the same event, whichever objects hold them.
    Record,
}

impl EventId {
    pub fn new(family: &str, scope: Scope<'_>, hash: &RecordHash, occurrence: u64, index: u32) -> Self {
        Namespace::new(family, scope).event(hash, occurrence, index)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&hyphenated(self)).unwrap_or_default())
    }
}

/// The part of an id that all events of one object share, hashed once.
#[derive(Clone, Debug)]
pub struct Namespace(Sha256);

impl Namespace {
    pub fn new(family: &str, scope: Scope<'_>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"auditferry/1\0");
        hasher.update(family.as_bytes());
        hasher.update(b"\0");
        if let Scope::Object(object) = scope {
            hasher.update(object.bucket.as_bytes());
            hasher.update(b"\0");
            hasher.update(object.key.as_bytes());
        }
        hasher.update(b"\0");
        Self(hasher)
    }

    /// The id of event number `index` of the record.
    pub fn event(&self, hash: &RecordHash, occurrence: u64, index: u32) -> EventId {
        let mut rest = [0; 44];
        rest[..32].copy_from_slice(&hash.0);
        rest[32..40].copy_from_slice(&occurrence.to_be_bytes());
        rest[40..].copy_from_slice(&index.to_be_bytes());
        let digest: [u8; 32] = self.0.clone().chain_update(rest).finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        // RFC 9562: version 8, variant 10.
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        EventId(id)
    }
}

/// Formats `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub(crate) fn hyphenated(id: &EventId) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut text = [b'-'; 36];
    for (byte, at) in id.0.into_iter().zip(PLACES) {
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected ids were computed with `sha256sum` over the bytes that the definition lists.
    #[test]
    fn an_identity_is_what_its_definition_says() {
        let object = ObjectId::new("b", "k");
        let hash = RecordHash([7; 32]);
        let scoped = EventId::new("databricks", Scope::Object(&object), &hash, 1, 2);
        let unscoped = EventId::new("databricks", Scope::Record, &hash, 1, 2);
        assert_eq!(scoped.to_string(), "cd0b1e09-fff2-8f5c-ad19-dc67b8a26bac");
        assert_eq!(unscoped.to_string(), "098a01c2-42cd-8be7-81c4-9084c7aafd2b");
    }

    #[test]
    fn each_part_of_an_identity_tells_events_apart() {
        let object = ObjectId::new("b", "k");
        let other = ObjectId::new("b", "l");
        let (hash, other_hash) = (RecordHash([7; 32]), RecordHash([8; 32]));
        let ids = [
            EventId::new("databricks", Scope::Object(&object), &hash, 0, 0),
            EventId::new("lakefs", Scope::Object(&object), &hash, 0, 0),
            EventId::new("databricks", Scope::Object(&other), &hash, 0, 0),
            EventId::new("databricks", Scope::Record, &hash, 0, 0),
            EventId::new("databricks", Scope::Object(&object), &other_hash, 0, 0),
            EventId::new("databricks", Scope::Object(&object), &hash, 1, 0),
            EventId::new("databricks", Scope::Object(&object), &hash, 0, 1),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
