//! Objects whose records wait for the next batch of a sink that gathers for long. Their jobs are over, and they are in the
//! sink's backlog until the batch is committed: no message waits for it, and after a crash they are read again.

use std::collections::BTreeMap;

use tokio::task::{JoinError, JoinSet};

use crate::checkpoint::StoreError;
use crate::collector::ids::SinkId;
use crate::notification::ObjectId;

/// How many objects that a sink has had are cleared from its backlog at once.
const CLEARED_AT_ONCE: usize = 256;

/// A sink has had what was gathered of an object, or never will have.
pub(super) struct Had {
    pub(super) sink: SinkId,
    pub(super) object: ObjectId,
    /// Whether that was all there is of it.
    pub(super) result: Result<bool, StoreError>,
}

/// What is gathered, and by which sink.
#[derive(Default)]
pub(super) struct Gathering {
    ends: JoinSet<Had>,
    /// Of each object the version; none once it has changed.
    objects: BTreeMap<SinkId, BTreeMap<ObjectId, Option<Box<str>>>>,
}

impl Gathering {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many objects a sink gathers records of.
    pub(super) fn len(&self, sink: SinkId) -> u64 {
        self.objects.get(&sink).map_or(0, |objects| objects.len() as u64)
    }

    pub(super) fn has(&self, sink: SinkId, object: &ObjectId) -> bool {
        self.objects.get(&sink).is_some_and(|objects| objects.contains_key(object))
    }

    /// The object was written, as this version where that is known: if it is another, the object stays in the sink's backlog
    /// once the sink has had what is gathered.
    pub(super) fn changed(&mut self, sink: SinkId, object: &ObjectId, etag: Option<&str>) {
        if let Some(gathered) = self.objects.get_mut(&sink).and_then(|objects| objects.get_mut(object)) {
            *gathered = gathered.take().filter(|gathered| Some(&**gathered) == etag);
        }
    }

    /// Returns whether the object has changed since.
    pub(super) fn remove(&mut self, sink: SinkId, object: &ObjectId) -> bool {
        self.objects.get_mut(&sink).and_then(|objects| objects.remove(object)).flatten().is_none()
    }

    /// A sink gathers records of this version, which is none where more is to be read for it. `end` waits until it has them.
    pub(super) fn add(
        &mut self,
        sink: SinkId,
        object: ObjectId,
        etag: Option<Box<str>>,
        end: impl Future<Output = Had> + Send + 'static,
    ) {
        self.objects.entry(sink).or_default().insert(object, etag);
        self.ends.spawn(end);
    }

    /// What sinks have had by now, once there is something. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<Result<Had, JoinError>> {
        let mut had: Vec<_> = self.ends.join_next().await.into_iter().collect();
        while had.len() < CLEARED_AT_ONCE
            && let Some(next) = self.ends.try_join_next()
        {
            had.push(next);
        }
        had
    }
}
