//! Objects whose records wait for a gathering sink's next batch. Their jobs are over, and they are in the sink's
//! backlog until the batch is committed. So no message waits for the batch, and after a crash the objects are read
//! again.

use std::collections::BTreeMap;

use tokio::task::{JoinError, JoinSet};

use crate::checkpoint::StoreError;
use crate::collector::ids::SinkId;
use crate::notification::ObjectId;

/// How many finished objects are cleared from a backlog at once.
const CLEARED_AT_ONCE: usize = 256;

/// The end of gathering one object for a sink: the sink has had the records, or never will.
pub(super) struct Had {
    pub(super) sink: SinkId,
    pub(super) object: ObjectId,
    /// Whether the sink has then had all of the object.
    pub(super) result: Result<bool, StoreError>,
}

/// The objects being gathered, by sink.
#[derive(Default)]
pub(super) struct Gathering {
    ends: JoinSet<Had>,
    /// The version of each object, by its entity tag. `None` once it has changed.
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

    /// Notes that the object was written, as version `etag` if that is known. If this is another version, the object
    /// stays in the sink's backlog after the sink has had what is gathered.
    pub(super) fn changed(&mut self, sink: SinkId, object: &ObjectId, etag: Option<&str>) {
        if let Some(gathered) = self.objects.get_mut(&sink).and_then(|objects| objects.get_mut(object)) {
            *gathered = gathered.take().filter(|gathered| Some(&**gathered) == etag);
        }
    }

    /// Ends gathering of the object. Returns whether it has changed since.
    pub(super) fn remove(&mut self, sink: SinkId, object: &ObjectId) -> bool {
        self.objects.get_mut(&sink).and_then(|objects| objects.remove(object)).flatten().is_none()
    }

    /// Notes that a sink gathers records of this version; `etag` is `None` if the sink lacks more of the object. `end`
    /// waits until the sink has them.
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

    /// Waits for an end, and returns all that have come by then. Cancel-safe.
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
