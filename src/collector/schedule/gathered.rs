//! Takes over what jobs leave with sinks that gather for long, and clears the backlog of what those have had.

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
    /// Whether a sink's position in the object is open: records of it are on their way there.
    pub(super) fn is_held(&self, sink: SinkId, object: &ObjectId) -> bool {
        self.gathering.has(sink, object) || self.services.workers[sink].holds(object)
    }

    /// The object changed, and a sink that gathers records of it is to get it after those. Returns whether it is so.
    pub(super) fn comes_later(&mut self, sink: SinkId, object: &ObjectId, etag: Option<&str>) -> bool {
        self.gathering.changed(sink, object, etag);
        self.services.workers[sink].gathers && self.is_held(sink, object)
    }

    /// A job left these with their sinks.
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

    /// Sinks have had what they gathered: what they have all of leaves their backlogs, and its messages are settled.
    pub(super) async fn gathered(&mut self, ends: Vec<Result<Had, JoinError>>) -> Result<(), StoreError> {
        let mut had: BTreeMap<SinkId, Vec<ObjectId>> = BTreeMap::new();
        for end in ends {
            let Had { sink, object, result } =
                end.map_err(|panic| StoreError::Failed(format!("what was gathered ended in a panic: {panic}")))?;
            let has_changed = self.gathering.remove(sink, &object);
            match result {
                Ok(true) if !has_changed => had.entry(sink).or_default().push(object),
                // It is read again out of the backlog.
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
