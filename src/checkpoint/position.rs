//! Where an object stands, and each sink with it.

use std::sync::Arc;

use super::{CheckpointStore, StoreError, rows};
use crate::delta::Progress;
use crate::notification::ObjectId;

/// What the store knows of an object, and how much of it some sinks have had.
#[derive(Clone, Debug)]
pub struct ObjectPosition {
    /// Whether the object is known at all.
    pub known: bool,
    /// As which family it was last read to its end, where that is known.
    pub family: Option<Box<str>>,
    pub progress: Progress,
    /// How many bytes of its content were split into lines before, in the longest version read to its end.
    pub framed_bytes: u64,
    /// The entity tag of the last version, where it was read to its end.
    pub etag: Option<Box<str>>,
    /// The last version, where it could not be read and is quarantined.
    pub unreadable: Option<UnreadableVersion>,
    /// How many accepted records each of the sinks asked for has had, in the order asked.
    pub cursors: Vec<u64>,
}

/// A version that is in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableVersion {
    pub etag: Box<str>,
    /// It can be read once it is restored, and then has the same entity tag.
    pub is_archived: bool,
}

impl ObjectPosition {
    /// Whether every sink asked for has had all of the last version read.
    pub fn is_settled(&self) -> bool {
        self.etag.is_some() && self.cursors.iter().all(|&cursor| cursor == self.progress.accepted)
    }

    /// Whether it was read as another family than this one: what was accepted then says nothing now.
    pub fn is_of_another(&self, family: &str) -> bool {
        self.family.as_deref().is_some_and(|read_as| read_as != family)
    }
}

impl CheckpointStore {
    /// What is known of an object, and how much of it each of `sinks` has had.
    pub fn position(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Result<ObjectPosition, StoreError> {
        self.read(|connection| {
            let Some(row) = rows::ObjectRow::find(connection, object)? else {
                return Ok(ObjectPosition {
                    known: false,
                    family: None,
                    progress: Progress::default(),
                    framed_bytes: 0,
                    etag: None,
                    unreadable: None,
                    cursors: vec![0; sinks.len()],
                });
            };
            let cursors = sinks.iter().map(|sink| rows::cursor(connection, row.id, sink)).collect::<Result<_, _>>()?;
            let etag: Option<Box<str>> = row.etag.map(Into::into);
            let (etag, unreadable) = match (row.state.as_str(), etag) {
                ("whole", etag) => (etag, None),
                ("damaged", Some(etag)) => (None, Some(UnreadableVersion { etag, is_archived: row.is_archived })),
                _ => (None, None),
            };
            Ok(ObjectPosition {
                known: true,
                family: row.family.map(Into::into),
                progress: row.progress,
                framed_bytes: rows::framed_bytes(connection, row.id)?,
                etag,
                unreadable,
                cursors,
            })
        })
    }
}
