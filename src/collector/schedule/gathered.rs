//! Tracks the parts that jobs leave with gathering sinks, and clears the sinks' backlogs once they have had them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinError;

use super::Dispatcher;
use crate::checkpoint::StoreError;
use crate::collector::ids::SinkId;
use crate::collector::job::gathered::Gathered;
use crate::collector::schedule::gathering::Had;
use crate::notification::ObjectId;

impl Dispatcher {
    /// Whether records of the object are on their way to the sink, so that its position is not settled.
    pub(super) fn is_held(&self, sink: SinkId, object: &ObjectId) -> bool {
        self.gathering.has(sink, object) || self.services.workers[sink].holds(object)
    }

    /// Notes that the object changed. Returns whether a gathering sink must get the change later, after the records
    /// that it gathers already.
    pub(super) fn comes_later(&mut self, sink: SinkId, object: &ObjectId, etag: Option<&str>) -> bool {
        self.gathering.changed(sink, object, etag);
        self.services.workers[sink].gathers && self.is_held(sink, object)
    }

    /// Takes over the parts that a job left with gathering sinks.
    pub(super) fn gathers(&mut self, object: &ObjectId, gathered: Vec<Gathered>) {
        for one in gathered {
            let (services, sink, object) = (Arc::clone(&self.services), one.sink, object.clone());
            let etag = one.etag().map(Into::into);
            self.gathering.add(sink, object.clone(), etag, async move {
                let result = one.had(&services).await;
                Had { sink, object, result }
            });
        }
    }

    /// Handles sinks that have had what they gathered. Objects that they have completely leave their backlogs, and the
    /// messages are settled.
    pub(super) async fn gathered(&mut self, ends: Vec<Result<Had, JoinError>>) -> Result<(), StoreError> {
        let mut had: BTreeMap<SinkId, Vec<ObjectId>> = BTreeMap::new();
        for end in ends {
            let Had { sink, object, result } =
                end.map_err(|panic| StoreError::Failed(format!("what was gathered ended in a panic: {panic}")))?;
            let has_changed = self.gathering.remove(sink, &object);
            match result {
                Ok(true) if !has_changed => had.entry(sink).or_default().push(object),
                // The object stays in the backlog, and is read again from there.
                Ok(_) => {}
                Err(StoreError::Full) if !self.once => self.services.reporter.store_is_full(),
                Err(error) => return Err(error),
            }
        }
        for (sink, objects) in had {
            self.had(sink, &objects).await?;
            for object in objects.iter().filter(|object| !self.running.contains_key(object)).collect::<Vec<_>>() {
                self.settle(object, None).await?;
            }
        }
        Ok(())
    }
}
